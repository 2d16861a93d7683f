"""A coloured point cloud of a whole video, of bounded size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glnet_tf.files import write_bytes
from glnet_tf.structures import FramePrediction

MAX_POINTS = 400_000
POINTS_PER_FRAME = 20_000
# Points, and pixels of the view, in which a cloud is turned in a page: of two megabytes.
VIEWED_POINTS, VIEW = 100_000, (1024, 512)
PATH_COLOUR = (220, 30, 30, 255)
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

    def viewer(self, poses: np.ndarray) -> str:
        """Returns a page, one file without a network, in which at most VIEWED_POINTS of the points are turned.

        Empty, if there are none.

        Args:
          poses: [N, 4, 4] camera to world, whose path is drawn; it is seen from behind and above the first.
        """
        import trimesh
        from trimesh.viewer import scene_to_html

        points, colours = self.arrays()
        if not len(points):
            return ""
        chosen = np.random.default_rng(0).permutation(len(points))[:VIEWED_POINTS]
        upright = np.diag([1.0, -1.0, -1.0])  # x right, y up, z towards the viewer
        scene = trimesh.Scene([trimesh.PointCloud(points[chosen] @ upright, colours[chosen])])
        if np.ptp(poses[:, :3, 3]) > 0:
            path = trimesh.load_path(poses[:, :3, 3] @ upright)
            path.colors = [PATH_COLOUR] * len(path.entities)
            scene.add_geometry(path)
        depth = float(np.median(points[:, 2]))
        scene.camera = trimesh.scene.Camera(resolution=VIEW, fov=(60, 30))
        centre = scene.bounds.mean(axis=0)
        place = np.array([centre[0], centre[1] + 0.5 * depth, 0.6 * depth])
        _, down, ahead = place - centre
        tilt = trimesh.transformations.rotation_matrix(-np.arctan2(down, ahead), [1, 0, 0])
        scene.camera_transform = trimesh.transformations.translation_matrix(place) @ tilt
        # A point of one pixel is hardly seen.
        return scene_to_html(scene).replace("new THREE.PointsMaterial()", "new THREE.PointsMaterial({size: 3})")
