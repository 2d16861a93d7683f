"""A coloured point cloud of a whole video, of bounded size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glnet_tf.files import write_bytes
from glnet_tf.structures import FramePrediction

MAX_POINTS = 400_000
POINTS_PER_FRAME = 20_000
# Points farther than this many times the frame's median depth are left out: they are the least certain.
MAX_DEPTH = 4.0


class PointCloud:
    """Collects points of frames; when there are too many, every second one goes, and later frames give half as many.

    Args:
      min_confidence: of the points; a frame of which nothing is proved (the camera stood) gives all of its points.
    """

    def __init__(self, min_confidence: float = 0.0) -> None:
        self._least = min_confidence
        self._points: list[np.ndarray] = []
        self._colours: list[np.ndarray] = []
        self._share = 1
        self._rng = np.random.default_rng(0)

    def add(self, frame: FramePrediction) -> None:
        """Adds a random choice of a frame's pixels; objects that move by themselves are left out."""
        depth = frame.depth
        chosen = depth < MAX_DEPTH * np.median(depth)
        if np.any(frame.confidence >= self._least):
            chosen &= frame.confidence >= self._least
        if frame.moving is not None:
            chosen &= ~frame.moving
        y, x = np.nonzero(chosen)
        picked = self._rng.permutation(len(x))[: POINTS_PER_FRAME // self._share]
        x, y = x[picked], y[picked]
        rays = np.linalg.solve(frame.intrinsics.astype(np.float64), np.stack([x, y, np.ones(len(x))]))
        points = (frame.pose[:3, :3] @ (rays * depth[y, x]) + frame.pose[:3, 3:]).T
        self._points.append(points.astype(np.float32))
        self._colours.append(frame.image[y, x])
        if sum(map(len, self._points)) > MAX_POINTS:
            self._points = [points[::2] for points in self._points]
            self._colours = [colours[::2] for colours in self._colours]
            self._share *= 2

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns points, [N, 3] in the first camera's frame (x right, y down, z ahead), and colours, [N, 3] uint8."""
        if not self._points:
            return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
        return np.concatenate(self._points), np.concatenate(self._colours)

    def write(self, file: Path) -> None:
        """Writes the points as binary PLY, whole or not at all.

        Raises:
          DataError: it cannot be written.
        """
        import trimesh  # half a second, which the first frame need not wait for

        points, colours = self.arrays()
        write_bytes(file, trimesh.PointCloud(points, colours).export(file_type="ply"))
