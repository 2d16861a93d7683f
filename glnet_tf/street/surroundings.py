"""The ground, the distance and the countryside around a synthetic street, and the vehicles that drive on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glnet_tf.street.layout import Builder, Pose, add_car, add_tree, all_sides, chord, pose_at
from glnet_tf.street.path import Drive, Path, place
from glnet_tf.street.render import Quads
from glnet_tf.street.textures import Tile

_HORIZON_DISTANCE = 260.0  # metres from the street to the outermost ring of woods or houses


class Vehicle(NamedTuple):
    """A moving vehicle.

    Attributes:
      quads: its surfaces around its own origin, z ahead.
      pose: [frames, 4, 4] vehicle to world.
    """

    quads: Quads
    pose: np.ndarray


def _reach(path: Path) -> tuple[float, float, float]:
    """Middle of the street and the radius that holds it."""
    x, z = (path.x.min() + path.x.max()) / 2, (path.z.min() + path.z.max()) / 2
    return float(x), float(z), float(np.hypot(path.x - x, path.z - z).max())


def add_ground(builder: Builder, path: Path) -> None:
    """Adds the ground; its texture follows street coordinates, so the quad's own texture coordinates are unused."""
    x, z, radius = _reach(path)
    half = radius + 2 * _HORIZON_DISTANCE
    shape = np.array([[x - half, 0, z + half], [2 * half, 0, 0], [0, 0, -2 * half]])
    builder.face(shape, Tile.ROAD, (0.0, 0.0, 1.0, 1.0), np.ones(3))


def _clearance(path: Path, x: float, z: float) -> float:
    return float(np.hypot(path.x - x, path.z - z).min())


def add_distance(rng: np.random.Generator, builder: Builder, path: Path, style: str) -> None:
    """Adds scattered blocks or copses behind the street and a ring that closes the horizon."""
    for s in np.arange(path.s[0], path.s[-1] + 60, 9.0):
        x, z, _ = place(path, s, rng.choice([-1, 1]) * rng.uniform(26, 75))
        if _clearance(path, float(x), float(z)) < 24:
            continue
        height = rng.uniform(9, 22) if style == "town" else rng.uniform(4, 9)
        size = (rng.uniform(8, 15), height, rng.uniform(8, 15))
        tile, tint = (
            (Tile.HORIZON, rng.uniform(0.7, 1.1, 1)) if style == "town" else (Tile.FOLIAGE, rng.uniform(0.6, 1, 1))
        )
        builder.box(Pose(float(x), float(z), rng.uniform(0, 6)), size, all_sides(tile), np.repeat(tint, 3))
    middle_x, middle_z, radius = _reach(path)
    corners = np.linspace(0, 2 * np.pi, 61)
    for start, stop in zip(corners[:-1], corners[1:]):
        here, there = (
            (radius + _HORIZON_DISTANCE) * np.array([np.sin(angle), 0, np.cos(angle)]) for angle in (start, stop)
        )
        height = rng.uniform(8, 26) if style == "town" else rng.uniform(7, 15)
        o = here + np.array([middle_x, -height, middle_z])
        shape = np.stack([o, there - here, np.array([0, height, 0])])
        width = float(np.linalg.norm(there - here))
        texels = (float(rng.uniform(0, 256)), 0.0, 5 * width, 5 * height)
        builder.face(shape, Tile.HORIZON, texels, rng.uniform(0.8, 1.1) * np.ones(3))


def add_countryside(rng: np.random.Generator, builder: Builder, path: Path, side: float) -> None:
    """Adds hedges, fences, trees and bales along one side of a country road."""
    s, end = float(path.s[0]) + 2, float(path.s[-1]) - 15
    while s < end:
        stop = min(s + rng.uniform(14, 34), end + 1)
        kind = rng.choice(["hedge", "fence", "open"], p=[0.5, 0.35, 0.15])
        if kind == "hedge":
            s = _add_hedge(rng, builder, path, side, s, stop)
        elif kind == "fence":
            s = _add_fence(rng, builder, path, side, s, stop)
        else:
            s = stop
    for s in np.arange(path.s[0], path.s[-1], 5.0):
        at = pose_at(path, s + rng.uniform(0, 4), side * rng.uniform(8, 13))
        if _clearance(path, at.x, at.z) > 7 and rng.random() < 0.45:
            add_tree(rng, builder, at, rng.uniform(1.6, 3), rng.uniform(2.2, 4))
        field = pose_at(path, s, side * rng.uniform(14, 30))
        if _clearance(path, field.x, field.z) > 12 and rng.random() < 0.5:
            turned = field._replace(heading=rng.uniform(0, 6))
            builder.box(turned, (1.5, 1.3, rng.uniform(1.5, 2.5)), all_sides(Tile.VERGE), np.array([1.25, 1.1, 0.75]))


def _add_hedge(rng: np.random.Generator, builder: Builder, path: Path, side: float, start: float, stop: float) -> float:
    """Adds a hedge of short boxes that follow the road; returns where it ends."""
    s, offset, height = start, rng.uniform(5.2, 7), rng.uniform(0.9, 2.0)
    tint = rng.uniform(0.75, 1.15) * rng.uniform(0.92, 1.08, 3)
    while s < stop:
        length = rng.uniform(1.8, 3.6)
        at, s = chord(path, s, side * (offset + rng.uniform(0, 0.25)), length)
        size = (rng.uniform(0.9, 1.3), height * rng.uniform(0.85, 1.15), length + 0.1)
        texel = (float(rng.uniform(0, 256)), float(rng.uniform(0, 256)))
        builder.box(
            at, size, all_sides(Tile.FOLIAGE), tint * rng.uniform(0.9, 1.1), centre=(side * 0.6, 0, 0), texel=texel
        )
    return s


def _add_fence(rng: np.random.Generator, builder: Builder, path: Path, side: float, start: float, stop: float) -> float:
    """Adds posts and two rails; returns where they end."""
    s, offset = start, rng.uniform(4.8, 6)
    tint = np.full(3, rng.uniform(0.9, 1.7))
    while s < stop:
        at, s = chord(path, s, side * offset, 2.6)
        texel = (float(rng.uniform(0, 128)), float(rng.uniform(0, 128)))
        builder.box(at, (0.16, 1.25, 0.16), all_sides(Tile.WOOD), tint, centre=(0, 0, -1.3), texel=texel)
        for height in (0.4, 0.85):
            rail = all_sides(Tile.WOOD, ("right", "left", "top"))
            builder.box(at, (0.07, 0.2, 2.6), rail, tint, centre=(0, height, 0), texel=texel)
    return s


def _vehicle(rng: np.random.Generator, builder: Builder, path: Path, s: np.ndarray, d: float, turned: float) -> Vehicle:
    """A car that follows s [frames] at offset d, its heading turned by an angle from the street's."""
    add_car(rng, builder, Pose(0.0, 0.0, 0.0))
    x, z, heading = place(path, s, d)
    cosine, sine = np.cos(heading + turned), np.sin(heading + turned)
    pose = np.tile(np.eye(4), (len(s), 1, 1))
    pose[:, 0, 0], pose[:, 0, 2], pose[:, 2, 0], pose[:, 2, 2] = cosine, sine, -sine, cosine
    pose[:, 0, 3], pose[:, 2, 3] = x, z
    return Vehicle(builder.quads(), pose)


def make_vehicles(
    rng: np.random.Generator,
    path: Path,
    drive: Drive,
    lane: float,
    sun: np.ndarray,
    ambient: float,
    steady: bool = False,
) -> list[Vehicle]:
    """Traffic: vehicles ahead whose distance to the camera comes and goes, and oncoming ones at one steady speed.

    Args:
      rng: source.
      path: the street.
      drive: the camera's drive.
      lane: offset of the camera's lane, metres.
      sun: [3] direction towards the sun.
      ambient: share of the light that comes from everywhere.
      steady: those ahead keep the camera's speed.

    Returns:
      The vehicles, lit as they stand at the start of the street.
    """
    frames = np.arange(len(drive.s))
    vehicles = []
    gap = rng.uniform(13, 17)
    for _ in range(int(rng.integers(1, 3))):
        swing = rng.uniform(3, 5) * np.sin(2 * np.pi * (frames / rng.uniform(60, 90) + rng.uniform()))
        ahead = drive.s + gap + (0.0 if steady else swing)
        vehicles.append(_vehicle(rng, Builder(sun, ambient), path, ahead, lane, 0.0))
        gap += rng.uniform(15, 24)
    speed = rng.uniform(0.25, 0.45)
    start, last = rng.uniform(12, 26), float(drive.s[-1]) + speed * len(frames) + 70
    while start < last:
        vehicles.append(_vehicle(rng, Builder(sun, ambient), path, start - speed * frames, -lane, np.pi))
        start += rng.uniform(14, 40)
    return vehicles
