"""The curved centre line of a synthetic street, and the camera's drive along it.

World axes: x right, y down, z forward at the start of the street; the ground is y = 0. A place on the street is (s, d):
arc length along the centre line and offset to its right, metres.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

STEP = 0.25  # metres between the samples of the centre line
BEHIND = 20.0  # metres of straight street behind the start
AHEAD = 110.0  # metres of street beyond the last camera
TOP_SPEED = 0.45  # metres per frame: flow as long, relative to the image, as in driving videos at 10 frames a second
_MAP_MARGIN = 16.0  # metres around the centre line in which (s, d) is known
_MAP_CELL = 0.5


class Path(NamedTuple):
    """A centre line sampled every STEP metres.

    Attributes:
      s: [N] arc length, 0 where the camera starts.
      x, z: [N] position, metres.
      heading: [N] angle from z towards x, radians.
      curvature: [N] change of heading, radians per metre.
      nearest: [rows, columns] int32 index of the sample nearest to each cell of the ground.
      corner: (x, z) of the first cell's centre.
    """

    s: np.ndarray
    x: np.ndarray
    z: np.ndarray
    heading: np.ndarray
    curvature: np.ndarray
    nearest: np.ndarray
    corner: tuple[float, float]


def _curvature(rng: np.random.Generator, count: int) -> np.ndarray:
    """Straights and turns to alternate sides, smoothly joined; the heading stays within a radian of the start's."""
    curvature = np.zeros(count)
    at, heading, side = int((BEHIND + rng.uniform(1, 4)) / STEP), 0.0, rng.choice([-1.0, 1.0])
    while at < count:
        bend = np.deg2rad(rng.uniform(1.5, 2.6)) / 0.62
        length = min(rng.uniform(10, 15), (0.9 - side * heading) / bend)
        steps = max(int(length / STEP), 1)
        curvature[at : at + steps] = side * bend
        heading += side * bend * steps * STEP
        at += steps + int(rng.uniform(4, 9) / STEP)
        side = -side
    kernel = np.hanning(int(4 / STEP) + 2)
    return np.convolve(curvature, kernel / kernel.sum(), mode="same")


def make_path(rng: np.random.Generator, frames: int, pace: float = 1.0) -> Path:
    """A random centre line, long enough for a drive.

    Args:
      rng: source of the turns.
      frames: frames of the drive.
      pace: its speed, relative to TOP_SPEED; turns are as much wider.

    Returns:
      The path.
    """
    count = int((BEHIND + frames * pace * TOP_SPEED + AHEAD) / STEP)
    s = np.arange(count) * STEP - BEHIND
    curvature = _curvature(rng, count) / pace
    heading = np.cumsum(curvature) * STEP
    x, z = np.cumsum(np.sin(heading)) * STEP, np.cumsum(np.cos(heading)) * STEP
    start = int(BEHIND / STEP)
    x, z = x - x[start], z - z[start]
    return Path(s, x, z, heading, curvature, *_nearest(x, z))


def _nearest(x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Index of the nearest sample for every cell of a grid over the ground around the path."""
    corner = (float(x.min() - _MAP_MARGIN), float(z.min() - _MAP_MARGIN))
    column, row = (np.rint((v - c) / _MAP_CELL).astype(int) for v, c in zip((x, z), corner))
    margin = int(_MAP_MARGIN / _MAP_CELL)
    empty = np.full((row.max() + margin + 1, column.max() + margin + 1), 255, np.uint8)
    empty[row, column] = 0
    _, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    sample = np.zeros(int(labels.max()) + 1, np.int32)
    sample[labels[row, column]] = np.arange(len(x))
    return sample[labels], corner


def place(path: Path, s: np.ndarray | float, d: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World position and heading of places on the street, which goes on straight beyond both ends.

    Args:
      path: the centre line.
      s: arc length, metres.
      d: offset to the right, metres.

    Returns:
      x, z (metres) and heading (radians), each of the arguments' broadcast shape.
    """
    heading = np.interp(s, path.s, path.heading)
    beyond = s - np.clip(s, path.s[0], path.s[-1])
    x = np.interp(s, path.s, path.x) + beyond * np.sin(heading)
    z = np.interp(s, path.s, path.z) + beyond * np.cos(heading)
    return x + d * np.cos(heading), z - d * np.sin(heading), heading


class Ground(NamedTuple):
    """Street coordinates of points on the ground.

    Attributes:
      s, d: [N] metres.
      heading: [N] of the street there, radians.
      stretch: [N] growth of s per metre along the street, above 1 on the inner side of a turn.
      near: [N] bool, within reach of the street; elsewhere the other fields mean nothing.
    """

    s: np.ndarray
    d: np.ndarray
    heading: np.ndarray
    stretch: np.ndarray
    near: np.ndarray


def street_coordinates(path: Path, x: np.ndarray, z: np.ndarray) -> Ground:
    """Street coordinates (s, d) of points on the ground; meaningful where `near` (within reach of the street).

    Args:
      path: the centre line.
      x, z: [N] world position, metres.
    """
    rows, columns = path.nearest.shape
    column = np.rint((x - path.corner[0]) / _MAP_CELL)
    row = np.rint((z - path.corner[1]) / _MAP_CELL)
    near = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    flat = np.where(near, row * columns + column, 0).astype(np.int64)
    k = path.nearest.ravel()[flat]
    table = np.stack([path.s, path.x, path.z, path.heading, path.curvature, np.cos(path.heading), np.sin(path.heading)])
    s, x0, z0, heading, curvature, cosine, sine = table.T[k].T
    along = (x - x0) * sine + (z - z0) * cosine
    d = (x - x0) * cosine - (z - z0) * sine
    stretch = 1 / np.maximum(1 - curvature * d, 0.2)
    s = s + along * stretch
    near &= np.abs(along) < 2 * STEP + 2 * _MAP_CELL
    return Ground(s, d - 0.5 * curvature * along**2 * stretch, heading + curvature * along * stretch, stretch, near)


class Drive(NamedTuple):
    """The camera's way: s [frames] arc length, pose [frames, 4, 4] camera to world."""

    s: np.ndarray
    pose: np.ndarray


def _oscillation(rng: np.random.Generator, frames: int, amplitude: float, period: float) -> np.ndarray:
    """A sum of three sines of random phase around a period (frames)."""
    i = np.arange(frames)
    waves = [np.sin(2 * np.pi * (i / (period * rng.uniform(0.7, 1.4)) + rng.uniform())) for _ in range(3)]
    return amplitude * np.sum(waves, axis=0) / np.sqrt(3)


def make_drive(rng: np.random.Generator, path: Path, frames: int, lane: float, pace: float = 1.0) -> Drive:
    """A drive along a lane, slower in turns, with small pitch, roll and sway.

    Args:
      rng: source of speed and oscillations.
      path: the centre line.
      frames: number of frames.
      lane: offset of the lane's middle to the right of the centre line, metres.
      pace: its speed, relative to TOP_SPEED.

    Returns:
      The drive.
    """
    base = rng.uniform(0.39, 0.425)
    surge = _oscillation(rng, frames, 0.0125, 40)
    s = np.zeros(frames)
    for i in range(1, frames):
        bend = min(abs(float(np.interp(s[i - 1], path.s, path.curvature))) / 0.06, 1.0)
        s[i] = s[i - 1] + pace * np.clip(base - 0.12 * bend + surge[i], 0.25, TOP_SPEED)
    x, z, yaw = place(path, s, lane + _oscillation(rng, frames, 0.12, 45))
    yaw = yaw + np.deg2rad(_oscillation(rng, frames, 0.3, 22))
    pitch = np.deg2rad(_oscillation(rng, frames, 0.4, 15))
    roll = np.deg2rad(_oscillation(rng, frames, 0.35, 15))
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, :3, :3] = _rotation_y(yaw) @ rotation_x(pitch) @ _rotation_z(roll)
    pose[:, :3, 3] = np.stack([x, rng.uniform(-1.7, -1.5) + _oscillation(rng, frames, 0.02, 13), z], axis=-1)
    return Drive(s, pose)


def _rotation_y(angle: np.ndarray) -> np.ndarray:
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([c, o, s, o, i, o, -s, o, c], axis=-1).reshape(-1, 3, 3)


def rotation_x(angle: np.ndarray) -> np.ndarray:
    """Rotations [N, 3, 3] about the camera's x axis by angles [N], radians; more than 0 looks up."""
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([i, o, o, o, c, -s, o, s, c], axis=-1).reshape(-1, 3, 3)


def _rotation_z(angle: np.ndarray) -> np.ndarray:
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([c, -s, o, s, c, o, o, o, i], axis=-1).reshape(-1, 3, 3)
