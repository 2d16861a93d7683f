"""What stands and drives in a synthetic street: buildings, parked and moving vehicles, trees, hedges, fences.

Everything is a box of quads placed in street coordinates (s along the centre line, d to its right); see street_path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from glnet_tf.street.path import Path, place
from glnet_tf.street.render import Quads
from glnet_tf.street.textures import BAY, FACADES, KERB, LANE, PARKING, TEXELS_PER_METRE, Tile

SIDES = ("front", "back", "right", "left", "top")
CORNICE = 0.3  # metres of wall above the topmost storey
CAR_TINTS = np.array(
    [
        [0.95, 0.95, 0.95],
        [0.32, 0.33, 0.36],
        [0.62, 0.65, 0.7],
        [0.85, 0.18, 0.15],
        [0.2, 0.35, 0.75],
        [0.15, 0.17, 0.2],
    ]
    + [[0.25, 0.5, 0.35], [0.9, 0.7, 0.25], [0.55, 0.42, 0.33]]
)


class Pose(NamedTuple):
    """A place on the ground: x, z (metres) and heading (radians from z towards x)."""

    x: float
    z: float
    heading: float


class Builder:
    """Collects the boxes of one rigid body."""

    def __init__(self, sun: np.ndarray, ambient: float) -> None:
        """Starts empty, lit by a sun in direction `sun` [3] (towards it) and by `ambient` light (0 to 1)."""
        self._sun, self._ambient = sun, ambient
        self._quads: list[tuple[np.ndarray, int, tuple[float, ...], np.ndarray]] = []

    def face(self, shape: np.ndarray, tile: int, texels: tuple[float, ...], tint: np.ndarray) -> None:
        """Adds a parallelogram: shape [3, 3] rows o, u, v, its texture (u0, v0, du, dv) and tint [3]."""
        inward = np.cross(shape[1], shape[2])
        facing = max(float(-inward @ self._sun) / float(np.linalg.norm(inward)), 0.0)
        self._quads.append((shape, int(tile), texels, tint * (self._ambient + (1 - self._ambient) * facing)))

    def box(
        self,
        at: Pose,
        size: tuple[float, float, float],
        skin: Mapping[str, int],
        tint: np.ndarray,
        *,
        centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
        fitted: bool = False,
        texel: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Adds an upright box.

        Args:
          at: place and heading of the body.
          size: (width across, height, length along the heading), metres.
          skin: texture of each side in SIDES that is drawn.
          tint: [3] colour factor.
          centre: middle of the box's base relative to `at`: right, up, ahead, metres.
          fitted: the texture covers each side once, instead of TEXELS_PER_METRE.
          texel: first texel of a tiled texture; its row is that of the box's lower edge.
        """
        right = np.array([np.cos(at.heading), 0, -np.sin(at.heading)])
        ahead = np.array([np.sin(at.heading), 0, np.cos(at.heading)])
        down = np.array([0.0, 1.0, 0.0])
        width, height, length = size
        base = np.array([at.x, 0, at.z]) + centre[0] * right - centre[1] * down + centre[2] * ahead
        top = base - height * down
        rows = {
            "front": (top + (length * ahead + width * right) / 2, -width * right, height * down),
            "back": (top - (length * ahead + width * right) / 2, width * right, height * down),
            "right": (top + (width * right - length * ahead) / 2, length * ahead, height * down),
            "left": (top - (width * right - length * ahead) / 2, -length * ahead, height * down),
            "top": (top + (length * ahead - width * right) / 2, width * right, -length * ahead),
        }
        for side, tile in skin.items():
            o, u, v = rows[side]
            du, dv = (float(np.linalg.norm(edge)) * TEXELS_PER_METRE for edge in (u, v))
            texels = (0.0, 0.0, *FITTED_SIZE[Tile(tile)]) if fitted else (texel[0], texel[1] - dv, du, dv)
            self.face(np.stack([o, u, v]), tile, texels, tint)

    def quads(self) -> Quads:
        """All faces added so far."""
        shape, tile, texels, gain = zip(*self._quads)
        return Quads(np.stack(shape), np.array(tile), np.array(texels, np.float32), np.array(gain, np.float32))


FITTED_SIZE = {
    Tile.CAR_SIDE: (256.0, 64.0),
    Tile.CAR_FRONT: (128.0, 64.0),
    Tile.CAR_REAR: (128.0, 64.0),
    Tile.CABIN: (128.0, 64.0),
    Tile.PAINT: (128.0, 64.0),
}
_BODY = {
    "front": Tile.CAR_FRONT,
    "back": Tile.CAR_REAR,
    "right": Tile.CAR_SIDE,
    "left": Tile.CAR_SIDE,
    "top": Tile.PAINT,
}
_CABIN = {side: Tile.CABIN for side in SIDES[:4]}


def all_sides(tile: int, sides: tuple[str, ...] = SIDES) -> dict[str, int]:
    """A skin of one texture."""
    return {side: tile for side in sides}


def add_car(rng: np.random.Generator, builder: Builder, at: Pose) -> None:
    """Adds a car or, now and then, a van, with its shadow on the ground."""
    tint = CAR_TINTS[rng.integers(len(CAR_TINTS))] * rng.uniform(0.8, 1.1)
    van = rng.random() < 0.2
    width, length = (1.95, rng.uniform(4.8, 5.6)) if van else (rng.uniform(1.65, 1.85), rng.uniform(3.7, 4.5))
    waist, roof = (1.0, rng.uniform(1.0, 1.3)) if van else (rng.uniform(0.75, 0.9), rng.uniform(0.5, 0.65))
    builder.box(at, (width, waist, length), _BODY, tint, fitted=True)
    share, back = (0.86, -0.06) if van else (rng.uniform(0.48, 0.6), rng.uniform(-0.12, -0.04))
    cabin = (width - 0.22, roof, length * share)
    builder.box(at, cabin, _CABIN, tint, centre=(0, waist, back * length), fitted=True)
    builder.box(at, cabin, {"top": Tile.PAINT}, tint, centre=(0, waist, back * length), fitted=True)
    texel = tuple(rng.uniform(0, 256, 2))
    size = (width + 0.35, 0.012, length + 0.35)
    builder.box(at, size, {"top": Tile.WALL}, np.array([0.2, 0.2, 0.22]), texel=texel)


def chord(path: Path, s: float, d: float, width: float) -> tuple[Pose, float]:
    """The straight front of a given width between two points of the line at offset d; also where it ends."""
    ends = np.arange(s + 0.25 * width, s + 4 * width, 0.1)
    x0, z0, _ = place(path, s, d)
    x, z, _ = place(path, ends, d)
    k = int(np.argmax(np.hypot(x - x0, z - z0) >= width))
    heading = float(np.arctan2(x[k] - x0, z[k] - z0))
    return Pose(float(x0 + x[k]) / 2, float(z0 + z[k]) / 2, heading), float(ends[k])


def pose_at(path: Path, s: float, d: float) -> Pose:
    """The place (s, d), heading along the street."""
    return Pose(*(float(value) for value in place(path, s, d)))


def add_buildings(rng: np.random.Generator, builder: Builder, path: Path, side: float) -> None:
    """Adds a row of buildings with gaps along one side (+1 right, -1 left) of a town street."""
    s, end = float(path.s[0]) + 8, float(path.s[-1]) - 40
    front = KERB + rng.uniform(2.2, 3.2)
    while s < end:
        bays, storeys = int(rng.integers(2, 5)), int(rng.integers(2, 5))
        size = (5.0, storeys * 3.2 + CORNICE, bays * 3.2)
        at, s = chord(path, s, side * (front + rng.choice([0.0, 0.0, 0.6, 1.4])), size[2])
        away = side * size[0] / 2
        tint = rng.uniform(0.85, 1.12) * rng.uniform(0.94, 1.06, 3)
        street = "left" if side > 0 else "right"
        facade = {street: Tile.FACADE + int(rng.integers(FACADES))}
        texel = (float(rng.integers(4) * BAY), 512.0)
        builder.box(at, size, facade, tint, centre=(away, 0, 0), texel=texel)
        builder.box(at, size, all_sides(Tile.WALL, ("front", "back")), tint * 0.85, centre=(away, 0, 0), texel=(0, 256))
        _add_roof(rng, builder, at, size, away, side)
        if rng.random() < 0.25:
            s += rng.uniform(1.5, 7)


def _add_roof(rng: np.random.Generator, builder: Builder, at: Pose, size: tuple, away: float, side: float) -> None:
    """Adds a cornice, and a set-back attic or chimneys."""
    width, height, length = size
    stone = np.full(3, rng.uniform(0.6, 1.15))
    cornice = (width + 0.5, CORNICE + 0.05, length + 0.06)
    builder.box(
        at,
        cornice,
        all_sides(Tile.WALL),
        stone,
        centre=(away, height - CORNICE, 0),
        texel=tuple(rng.uniform(0, 256, 2)),
    )
    if rng.random() < 0.5:
        attic = (width - 2, rng.uniform(1.4, 2.6), length * rng.uniform(0.7, 0.96))
        builder.box(
            at, attic, all_sides(Tile.ROOF), np.full(3, rng.uniform(0.6, 1.2)), centre=(away + side, height + 0.05, 0)
        )
    for _ in range(int(rng.integers(0, 3))):
        centre = (away, height + 0.05, rng.uniform(-0.42, 0.42) * length)
        builder.box(at, (0.7, rng.uniform(1, 3.2), 0.9), all_sides(Tile.ROOF), np.full(3, 0.8), centre=centre)


def add_street_furniture(rng: np.random.Generator, builder: Builder, path: Path, side: float) -> None:
    """Adds lamp posts and trees along one pavement."""
    s = float(path.s[0]) + rng.uniform(2, 10)
    while s < path.s[-1] - 20:
        at = pose_at(path, s, side * (KERB + 0.55))
        if rng.random() < 0.4:
            add_tree(rng, builder, at, rng.uniform(2.6, 3.4), rng.uniform(1.5, 2.2))
        else:
            builder.box(
                at, (0.14, 5.5, 0.14), all_sides(Tile.WALL), np.full(3, 0.45), texel=tuple(rng.uniform(0, 256, 2))
            )
            arm = (1.1, 0.14, 0.2)
            builder.box(at, arm, all_sides(Tile.WALL), np.full(3, 0.5), centre=(-side * 0.5, 5.4, 0))
        s += rng.uniform(6, 13)


def add_tree(rng: np.random.Generator, builder: Builder, at: Pose, stem: float, crown: float) -> None:
    """Adds a trunk and three overlapping boxes of leaves, turned at random."""
    thick = rng.uniform(0.2, 0.35)
    builder.box(
        at, (thick, stem + 0.5, thick), all_sides(Tile.WOOD), np.full(3, 0.9), texel=tuple(rng.uniform(0, 128, 2))
    )
    tint = rng.uniform(0.7, 1.2) * rng.uniform(0.9, 1.1, 3)
    for level in range(3):
        turned = Pose(at.x, at.z, at.heading + rng.uniform(0, np.pi))
        breadth = crown * (1.0, 1.25, 0.75)[level] * rng.uniform(0.8, 1.15)
        centre = (
            *rng.uniform(-0.15, 0.15, 1) * crown,
            stem + level * crown * 0.5,
            float(rng.uniform(-0.15, 0.15) * crown),
        )
        size = (breadth, crown * rng.uniform(0.6, 0.85), breadth * rng.uniform(0.7, 1.2))
        builder.box(turned, size, all_sides(Tile.FOLIAGE), tint, centre=centre, texel=tuple(rng.uniform(0, 256, 2)))
        _underside(builder, turned, size, centre, tint * 0.5)


def _underside(builder: Builder, at: Pose, size: tuple, centre: tuple, tint: np.ndarray) -> None:
    """Adds the lower face of a raised box of leaves."""
    right = np.array([np.cos(at.heading), 0, -np.sin(at.heading)])
    ahead = np.array([np.sin(at.heading), 0, np.cos(at.heading)])
    base = np.array([at.x, -centre[1], at.z]) + centre[0] * right + centre[2] * ahead
    shape = np.stack([base - (size[0] * right + size[2] * ahead) / 2, size[0] * right, size[2] * ahead])
    texels = (17.0, 31.0, size[0] * TEXELS_PER_METRE, size[2] * TEXELS_PER_METRE)
    builder.face(shape, Tile.FOLIAGE, texels, tint)


def add_parked_cars(rng: np.random.Generator, builder: Builder, path: Path, side: float) -> None:
    """Adds parked cars with gaps along one side of a town street."""
    s = float(path.s[0]) + rng.uniform(0, 8)
    while s < path.s[-1] - 30:
        at = pose_at(path, s, side * ((LANE + PARKING) / 2 + 0.1))
        heading = at.heading + (0.0 if side > 0 or rng.random() < 0.3 else np.pi) + rng.normal(0, 0.015)
        add_car(rng, builder, at._replace(heading=float(heading)))
        s += rng.uniform(6.0, 7.0) if rng.random() < 0.6 else rng.uniform(9, 22)
