"""Trajectories as text files: rows of a 3x4 pose as in KITTI, or `t x y z qx qy qz qw` as in the TUM benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glnet_tf.data.files.calibration import check_rotations, read_numbers
from glnet_tf.errors import DataError
from glnet_tf.files import write_bytes

KITTI_ROW, TUM_ROW = 12, 8


def read_trajectory(file: Path, stamps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a trajectory; the length of its rows tells the format.

    Args:
      file: its path.
      stamps: whether the file must have time stamps.

    Returns:
      poses: [N, 4, 4] float64 camera to world, metres.
      times: [N] float64 seconds, or None for KITTI's format, which has none.

    Raises:
      DataError: the file has no rows, or rows that are not poses, or no time stamps where they are needed.
    """
    rows = read_numbers(file)
    length = len(rows[0]) if rows else 0
    if length not in ((TUM_ROW,) if stamps else (KITTI_ROW, TUM_ROW)):
        wanted = "" if stamps else f"{KITTI_ROW} (a 3x4 pose) or "
        raise DataError(
            f"{file}: row 1 has {length} numbers: expected {wanted}{TUM_ROW} (t x y z qx qy qz qw); convert the file"
        )
    for number, row in enumerate(rows, start=1):
        if len(row) != length or not np.isfinite(row).all():
            raise DataError(
                f"{file}: row {number} has {len(row)} numbers: expected {length} finite ones as in row 1; correct it"
            )
    table = np.array(rows)
    poses = np.tile(np.eye(4), (len(table), 1, 1))
    if length == KITTI_ROW:
        poses[:, :3] = table.reshape(-1, 3, 4)
        times = None
    else:
        times, poses[:, :3, 3] = table[:, 0], table[:, 1:4]
        poses[:, :3, :3] = rotations(table[:, 4:], file)
    check_rotations(poses[:, :3, :3], file)
    return poses, times


def write_kitti_trajectory(file: Path, poses: np.ndarray) -> None:
    """Writes a row of 12 numbers, the upper 3x4 of the pose, for every frame.

    Args:
      file: its path.
      poses: [N, 4, 4] camera to world, metres.
    """
    _write_rows(file, np.asarray(poses, np.float64)[:, :3].reshape(-1, KITTI_ROW))


def write_tum_trajectory(file: Path, poses: np.ndarray, times: np.ndarray) -> None:
    """Writes a row `t x y z qx qy qz qw` for every frame.

    Args:
      file: its path.
      poses: [N, 4, 4] camera to world, metres.
      times: [N] seconds.
    """
    poses = np.asarray(poses, np.float64)
    _write_rows(file, np.column_stack([times, poses[:, :3, 3], quaternions(poses[:, :3, :3])]))


def _write_rows(file: Path, rows: np.ndarray) -> None:
    """One line for every row, in the fewest digits from which the same float64 is read again."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=-1))
    if len(bad):
        raise DataError(f"{file}: pose {bad[0]} is not finite: expected numbers; predict the trajectory again")
    write_bytes(file, "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist()).encode())


@np.errstate(over="ignore")
def rotations(quaternions: np.ndarray, file: Path) -> np.ndarray:
    """Returns rotations, [N, 3, 3], of quaternions of a file, [N, 4] (x, y, z, w) of any length but 0.

    Raises:
      DataError: one has none.
    """
    norms = np.linalg.norm(quaternions, axis=-1)
    bad = np.flatnonzero((norms < 1e-6) | (norms > 1e6))
    if len(bad):
        raise DataError(
            f"{file}: row {bad[0] + 1} has a quaternion of length {norms[bad[0]]:g}: expected a unit one; correct it"
        )
    x, y, z, w = quaternions.T / norms
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Returns unit quaternions, [N, 4] (x, y, z, w) with w >= 0, of rotations, [N, 3, 3].

    The eigenvector of the largest eigenvalue of a symmetric matrix, good for every angle: Bar-Itzhack, "New method for
    extracting the quaternion from a rotation matrix", 2000.
    """
    transposed = np.swapaxes(rotations, -1, -2)
    trace = np.trace(rotations, axis1=-2, axis2=-1)[:, np.newaxis, np.newaxis]
    matrix = np.empty((len(rotations), 4, 4))
    matrix[:, :3, :3] = rotations + transposed - trace * np.eye(3)
    odd = rotations - transposed
    matrix[:, :3, 3] = matrix[:, 3, :3] = np.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], axis=-1)
    matrix[:, 3, 3] = trace[:, 0, 0]
    found = np.linalg.eigh(matrix)[1][:, :, -1]
    return np.where(found[:, 3:] < 0, -found, found)
