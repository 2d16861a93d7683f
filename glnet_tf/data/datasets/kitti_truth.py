"""What KITTI's other sensors know about the frames of a raw drive: depth from its LiDAR, poses from its GPS and IMU."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from glnet_tf.data.datasets.kitti_lidar import lidar_depth, velodyne_projection
from glnet_tf.data.files.arrays import read_velodyne
from glnet_tf.data.files.calibration import (
    check_rotations,
    read_calibration_numbers,
    read_numbers,
    read_projection,
)
from glnet_tf.data.files.images import image_sizes
from glnet_tf.errors import DataError
from glnet_tf.files import read_array, read_bytes, write_bytes

# Units of KITTI's improved depth, per metre.
IMPROVED_SCALE = 256.0
EARTH_RADIUS = 6378137.0


class VelodyneDepth:
    """Depth of a drive's frames from its LiDAR, made when asked for and kept in a folder.

    Args:
      drive: folder of the drive.
      camera: "image_02" or "image_03".
      files: paths of the camera's frames.
      cache_dir: where depth maps are kept, by the content that they are made from; empty: nowhere.
      velodyne_depth: see evaluation.kitti_depth.lidar_depth.
    """

    def __init__(self, drive: Path, camera: str, files: tuple[str, ...], cache_dir: str, velodyne_depth: bool):
        date = drive.parent
        self._velodyne_depth = velodyne_depth
        self._points, self._files = drive / "velodyne_points" / "data", files
        self._cache = Path(cache_dir).expanduser() / "lidar" if cache_dir else None
        self._projection = velodyne_projection(
            *read_transform(date / "calib_velo_to_cam.txt"),
            read_rectification(date / "calib_cam_to_cam.txt"),
            read_projection(date / "calib_cam_to_cam.txt", f"P_rect_{camera[-2:]}"),
        )

    def __call__(self, frame: int) -> np.ndarray | None:
        """Returns [h, w] metres, 0 where no point falls, or None where the frame has no LiDAR sweep."""
        file = self._points / f"{Path(self._files[frame]).stem}.bin"
        size = image_sizes([self._files[frame]])[0]
        if not file.exists() or size is None:
            return None
        if self._cache is None:
            return self._make(file, size)
        digest = hashlib.sha256(
            read_bytes(file) + self._projection.tobytes() + repr((size, self._velodyne_depth)).encode()
        )
        kept = self._cache / f"{digest.hexdigest()}.npz"
        if kept.exists():
            return read_array(kept, "depth")
        depth = self._make(file, size)
        kept.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez_compressed(content, depth=depth)
        write_bytes(kept, content.getvalue())
        return depth

    def _make(self, file: Path, size: tuple[int, int]) -> np.ndarray:
        return lidar_depth(read_velodyne(file), self._projection, *size, self._velodyne_depth)


def read_transform(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns R, [3, 3], and t, [3] metres, of the lines R: and T: of a KITTI calibration file."""
    return _rotation(file, "R"), np.array(read_calibration_numbers(file, "T", 3))


def read_rectification(file: Path) -> np.ndarray:
    """Returns R_rect_00, [3, 3], of a date's calib_cam_to_cam.txt."""
    return _rotation(file, "R_rect_00")


def _rotation(file: Path, key: str) -> np.ndarray:
    rotation = np.reshape(read_calibration_numbers(file, key, 9), (3, 3))
    check_rotations(rotation[np.newaxis], file)
    return rotation


def read_oxts(drive: Path, camera: str, files: tuple[str, ...]) -> np.ndarray:
    """Returns the poses of a rectified colour camera, [F, 4, 4] to the world of its first frame, metres.

    Args:
      drive: folder of the drive, with oxts/data; the calibration files are in its date's folder.
      camera: "image_02" or "image_03".
      files: paths of the camera's frames.

    Raises:
      DataError: a frame has no oxts file, or a file is not as it should be.
    """
    date = drive.parent
    rows = []
    for file in files:
        found = drive / "oxts" / "data" / f"{Path(file).stem}.txt"
        numbers = read_numbers(found)
        if len(numbers) != 1 or len(numbers[0]) < 6 or not np.isfinite(numbers[0]).all() or abs(numbers[0][0]) > 89:
            raise DataError(f"{found}: expected one line of 30 finite numbers, as KITTI's oxts; extract it again")
        rows.append(numbers[0][:6])
    imu_to_world = _mercator_poses(np.array(rows))
    projection = read_projection(date / "calib_cam_to_cam.txt", f"P_rect_{camera[-2:]}")
    rectification = _pose(read_rectification(date / "calib_cam_to_cam.txt"), np.zeros(3))
    # The rectified cameras differ by a shift: P = K [I | t].
    shift = _pose(np.eye(3), np.linalg.solve(projection[:, :3], projection[:, 3]))
    velo_to_camera = shift @ rectification @ _pose(*read_transform(date / "calib_velo_to_cam.txt"))
    imu_to_camera = velo_to_camera @ _pose(*read_transform(date / "calib_imu_to_velo.txt"))
    camera_to_world = imu_to_world @ np.linalg.inv(imu_to_camera)
    return np.linalg.inv(camera_to_world[0]) @ camera_to_world


def _mercator_poses(rows: np.ndarray) -> np.ndarray:
    """Poses [F, 4, 4] of latitude and longitude (degrees), altitude (m), roll, pitch and yaw (radians), [F, 6]."""
    latitude, longitude, altitude, roll, pitch, yaw = rows.T
    scale = np.cos(np.radians(latitude[0]))
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = _turn(yaw, 0, 1) @ _turn(pitch, 2, 0) @ _turn(roll, 1, 2)
    poses[:, 0, 3] = scale * EARTH_RADIUS * np.radians(longitude)
    poses[:, 1, 3] = scale * EARTH_RADIUS * np.log(np.tan(np.radians(90 + latitude) / 2))
    poses[:, 2, 3] = altitude
    return poses


def _turn(angle: np.ndarray, a: int, b: int) -> np.ndarray:
    """Rotations [F, 3, 3] that turn axis a towards axis b."""
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    turn[:, a, a] = turn[:, b, b] = np.cos(angle)
    turn[:, b, a], turn[:, a, b] = np.sin(angle), -np.sin(angle)
    return turn


def _pose(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation
    return pose
