"""What a metre is: by a factor, a speed, or the camera's height above the ground, whose plane is found in the depth."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from glnet_tf.structures import FramePrediction, rescaled

# The part of the image in which a vehicle's camera sees the road: rows from, columns from and to, shares of the size.
ROWS_FROM, COLUMNS = 0.6, (0.25, 0.75)
SAMPLES, DRAWS = 2000, 200
# Distance from the plane within which a point belongs to it, relative to the height; the normal's largest angle from
# the vertical.
TOLERANCE = 0.05
MAX_TILT = np.deg2rad(20)
# Frames at the start of a video whose ground gives the scale, which then stays.
FIRST_FRAMES = 8
# Mean confidence below the horizon from which the ground's depth counts as proved: 0.7 to 0.85 on KITTI's roads, 0.04
# on a bare highway, where the network's depth of the road and the path are in different scales.
MIN_CONFIDENCE = 0.3


class GroundPlane(NamedTuple):
    """A plane below the camera.

    Attributes:
      height: of the camera above it, in the units of the depth; NaN if none was found.
      share: of the sampled points that lie on it, 0 to 1.
      confidence: mean of the depth there, 0 to 1: whether the motion proves it.
    """

    height: float
    share: float
    confidence: float


def ground_plane(depth: np.ndarray, intrinsics: np.ndarray, confidence: np.ndarray, seed: int = 0) -> GroundPlane:
    """Fits the ground by RANSAC to points in the lower middle of the image, then by least squares to those near it.

    Args:
      depth: [H, W] depth z.
      intrinsics: [3, 3] K in pixels.
      confidence: [H, W] of the depth.
      seed: of the random draws.
    """
    height, width = depth.shape
    rng = np.random.default_rng(seed)
    y = rng.integers(int(ROWS_FROM * height), height, SAMPLES)
    x = rng.integers(int(COLUMNS[0] * width), int(COLUMNS[1] * width), SAMPLES)
    rays = np.linalg.solve(intrinsics.astype(np.float64), np.stack([x, y, np.ones(SAMPLES)]))
    points = (rays * depth[y, x]).T
    proved = float(confidence[y, x].mean())
    best = np.zeros(SAMPLES, bool)
    for _ in range(DRAWS):
        normal = _normal(points[rng.integers(0, SAMPLES, 3)])
        if normal is not None:
            near = _near(points, normal)
            best = near if near.sum() > best.sum() else best
    normal = _normal(points[best]) if best.sum() >= 3 else None
    if normal is None:
        return GroundPlane(float("nan"), 0.0, proved)
    return GroundPlane(float(1 / np.linalg.norm(normal)), float(_near(points, normal).mean()), proved)


def _normal(points: np.ndarray) -> np.ndarray | None:
    """n with n . p = 1 on the plane through points, [K, 3]; None unless it is about level and below the camera."""
    normal, _, rank, _ = np.linalg.lstsq(points, np.ones(len(points)), rcond=None)
    length = np.linalg.norm(normal)
    return normal if rank == 3 and normal[1] > np.cos(MAX_TILT) * length > 0 else None


def _near(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.abs(points @ normal - 1) < TOLERANCE


class Metres:
    """Brings the lengths of a video to metres, where it can be known what a metre is.

    Args:
      scale: metres per unit; 0: unknown.
      camera_height: metres from the ground to the camera; 0: unknown.
      steps: metres from each of the first FIRST_FRAMES frames to the next; empty: unknown.

    Attributes:
      known: whether lengths are metres.
      reason: why they are not, though a height or step was given; empty if they are.
      scale: the factor on lengths.
      planes: the ground of every frame, in metres; none without a camera_height.
    """

    def __init__(self, scale: float = 0.0, camera_height: float = 0.0, steps: Sequence[float] = ()):
        self.known = bool(scale or camera_height or steps)
        self.reason = ""
        self.scale, self._height, self._steps = scale or 1.0, camera_height, steps
        self._begun = False
        self.planes: list[GroundPlane] = []

    def resume(self, scale: float, planes: Sequence[GroundPlane]) -> None:
        """Goes on after frames that were brought to metres before, by that scale."""
        self.scale, self.planes = scale, list(planes)
        self._begun = True
        if self._height:
            self._check_ground(planes[:FIRST_FRAMES])
            # As it was decided then, from frames of which not all need be here.
            self.known = scale != 1.0
            self.reason = "" if self.known else self.reason or "no ground was found in the first frames"
        elif self._steps:
            self._check_steps()

    def applied(self, frames: Iterable[FramePrediction]) -> Iterator[FramePrediction]:
        """Yields the frames in metres; without scale and height, as they are.

        With a height, the median over the first frames of the camera's height in the depth gives the scale; if no
        ground is found in them, or its depth is not proved by the motion, lengths stay up to scale. With steps, the
        median of their ratios to the first motions does.
        """
        frames = iter(frames)
        planes: Iterator[GroundPlane] = iter(())
        first = [] if self._begun else list(itertools.islice(frames, FIRST_FRAMES))
        if first:
            self._begun = True
            frames = itertools.chain(first, frames)
        if first and self._height:
            found = [ground_plane(frame.depth, frame.intrinsics, frame.confidence) for frame in first]
            self._check_ground(found)
            if self.known:
                self.scale = self._height / float(np.nanmedian([plane.height for plane in found]))
            planes = iter([plane._replace(height=plane.height * self.scale) for plane in found])
        elif first and self._steps:
            moved = [0.0 if frame.motion is None else float(np.linalg.norm(frame.motion[:3, 3])) for frame in first]
            ratios = [step / length for step, length in zip(self._steps, moved) if step > 0 and length > 0]
            self.scale = float(np.median(ratios)) if ratios else 1.0
            self._check_steps()
        for frame in frames:
            frame = rescaled(frame, self.scale)
            if self._height:
                self.planes.append(next(planes, None) or ground_plane(frame.depth, frame.intrinsics, frame.confidence))
            yield frame

    def _check_steps(self) -> None:
        """Finds whether the first motions gave metres."""
        self.reason = "the camera does not move in the first frames" if self.scale == 1 else ""
        self.known = not self.reason

    def _check_ground(self, planes: Sequence[GroundPlane]) -> None:
        """Finds whether the ground of the first frames gives metres."""
        confidence = float(np.mean([plane.confidence for plane in planes]))
        if not any(np.isfinite(plane.height) for plane in planes):
            self.reason = "no ground was found in the first frames"
        elif confidence < MIN_CONFIDENCE:
            self.reason = (
                f"the motion does not prove the ground's depth (confidence {confidence:.2f} of {MIN_CONFIDENCE})"
            )
        self.known = not self.reason

    def notes(self) -> dict[str, Any]:
        """Returns unit, scale, and the quality of the ground: height over the whole video, and share of its points."""
        notes: dict[str, Any] = {"unit": "metres" if self.known else "up to scale"}
        if self.known:
            notes["scale"] = self.scale
        if self.reason:
            notes["no_metres"] = self.reason
        if self._height:
            heights = np.array([plane.height for plane in self.planes if np.isfinite(plane.height)])
            notes["ground"] = {
                "frames_with_ground": len(heights),
                "camera_height_median": float(np.median(heights)) if len(heights) else None,
                "camera_height_std": float(np.std(heights)) if len(heights) else None,
                "share_of_points": float(np.mean([plane.share for plane in self.planes])) if self.planes else None,
            }
        return notes
