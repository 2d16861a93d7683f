"""The text files beside the images: 3x3 intrinsics, KITTI projection matrices and poses, each checked as it is read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from glnet_tf.errors import DataError


def read_numbers(file: Path) -> list[list[float]]:
    """Returns the numbers of a text file, line by line, without empty lines and comments (from # on).

    Raises:
      DataError: the file cannot be read, or a word is not a number.
    """
    rows = []
    for number, line in enumerate(read_lines(file), start=1):
        try:
            row = [float(word) for word in line.partition("#")[0].replace(",", " ").split()]
        except ValueError:
            raise DataError(
                f"{file}:{number}: {line.strip()[:60]!r}: expected numbers only; correct the line"
            ) from None
        if row:
            rows.append(row)
    return rows


def read_lines(file: Path) -> list[str]:
    """Returns the lines of a text file.

    Raises:
      DataError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: expected a readable text file; restore it") from None


class Camera(NamedTuple):
    """A calibrated camera.

    Attributes:
      intrinsics: [3, 3] K in pixels; None: unknown.
      distortion: [5] k1 k2 p1 p2 k3 as OpenCV has them, which `undistort` takes out; None: a pinhole camera.
    """

    intrinsics: np.ndarray | None = None
    distortion: np.ndarray | None = None


UNKNOWN = Camera()


def read_camera(file: Path) -> Camera:
    """Returns the camera of a file: nine numbers in three rows, and if it distorts, k1 k2 p1 p2 and k3 in a fourth."""
    rows = read_numbers(file)
    lengths = [len(row) for row in rows]
    if lengths[:3] != [3, 3, 3] or lengths[3:] not in ([], [4], [5]):
        found = "+".join(map(str, lengths)) or "no"
        raise DataError(
            f"{file}: has {found} numbers: expected a 3x3 matrix, three rows of three, and in a fourth the distortion "
            "k1 k2 p1 p2 k3, if any; write K in pixels there"
        )
    distortion = np.array([*rows[3], 0.0][:5]) if lengths[3:] else None
    if distortion is not None and not np.isfinite(distortion).all():
        raise DataError(f"{file}: distortion {rows[3]}: expected finite numbers; correct them")
    return Camera(check_intrinsics(np.array(rows[:3]), file), distortion)


def undistort(image: np.ndarray, camera: Camera) -> np.ndarray:
    """Returns an image, [H, W, C], as the pinhole camera of the same K would have seen it."""
    if camera.distortion is None or camera.intrinsics is None:
        return image
    key = camera.intrinsics.astype(np.float64).tobytes(), camera.distortion.astype(np.float64).tobytes()
    return cv2.remap(image, *_undistortion(*key, image.shape[:2]), cv2.INTER_LINEAR)


@lru_cache(maxsize=16)
def _undistortion(intrinsics: bytes, distortion: bytes, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    K, coefficients = np.frombuffer(intrinsics).reshape(3, 3), np.frombuffer(distortion)
    return cv2.initUndistortRectifyMap(K, coefficients, np.eye(3), K, size[::-1], cv2.CV_16SC2)


def check_fit(intrinsics: np.ndarray, size: tuple[int, int], name: str) -> None:
    """Checks that the principal point of K is inside of its images, (height, width).

    Raises:
      DataError: it is not.
    """
    cx, cy = intrinsics[:2, 2]
    if not (0 <= cx < size[1] and 0 <= cy < size[0]):
        raise DataError(
            f"{name}: principal point ({cx:g}, {cy:g}) is outside of its {size[1]}x{size[0]} images: expected K "
            "in pixels of these images; scale it by their size over the size that it was calibrated for"
        )


def read_projection(file: Path, key: str) -> np.ndarray:
    """Returns the projection P = K [I | t], [3, 4] in pixels, in the line `key: ...` of a KITTI calibration file."""
    projection = np.reshape(read_calibration_numbers(file, key, 12), (3, 4))
    check_intrinsics(projection[:, :3], file)
    return projection


def read_calibration_numbers(file: Path, key: str, count: int) -> list[float]:
    """Returns the numbers in the line `key: ...` of a KITTI calibration file.

    Raises:
      DataError: there is no such line, or it does not hold `count` finite numbers.
    """
    if not file.is_file():
        raise DataError(
            f"{file}: is missing: expected the calibration with a line {key}; copy it from the KITTI download"
        )
    for line in read_lines(file):
        name, _, values = line.partition(":")
        if name.strip() != key:
            continue
        try:
            numbers = [float(word) for word in values.split()]
        except ValueError:
            numbers = []
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise DataError(
                f"{file}: {line.strip()[:60]!r}: expected {key}: and {count} numbers; copy it from the KITTI download"
            )
        return numbers
    raise DataError(f"{file}: has no line {key}: expected it with {count} numbers; copy the file from the download")


def check_intrinsics(intrinsics: np.ndarray, file: Path) -> np.ndarray:
    """Returns K, [3, 3], unchanged if it is a pinhole camera in pixels.

    Raises:
      DataError: it is not.
    """
    fx, fy = intrinsics[0, 0], intrinsics[1, 1]
    if not np.isfinite(intrinsics).all() or min(fx, fy) <= 0:
        raise DataError(f"{file}: focal lengths ({fx:g}, {fy:g}): expected finite positive pixels; correct K")
    if min(fx, fy) < 2:
        raise DataError(
            f"{file}: focal lengths ({fx:g}, {fy:g}) look normalised: expected K in pixels of the images; "
            "multiply its first row by their width and its second by their height"
        )
    if not np.allclose(intrinsics[[1, 2, 2, 2], [0, 0, 1, 2]], (0, 0, 0, 1)):
        raise DataError(f"{file}: {intrinsics.tolist()}: expected rows fx 0 cx, 0 fy cy, 0 0 1; correct K")
    return intrinsics


def read_poses(file: Path, frames: int) -> np.ndarray:
    """Returns poses, [frames, 4, 4] camera to world in metres, of a file with a row of 12 numbers (3x4) per frame.

    Raises:
      DataError: a row is not 12 finite numbers, or there is not one row per frame.
    """
    rows = read_numbers(file)
    for number, row in enumerate(rows, start=1):
        if len(row) != 12 or not np.isfinite(row).all():
            raise DataError(
                f"{file}: row {number} has {len(row)} numbers: expected 12 finite ones, a 3x4 pose; correct it"
            )
    if len(rows) != frames:
        raise DataError(f"{file}: has {len(rows)} rows: expected {frames}, one per image; complete it, or remove it")
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3] = np.reshape(rows, (frames, 3, 4))
    check_rotations(poses[:, :3, :3], file)
    return poses


@np.errstate(over="ignore", invalid="ignore")
def check_rotations(rotations: np.ndarray, file: Path) -> None:
    """Checks that matrices, [N, 3, 3], are rotations.

    Raises:
      DataError: one is not.
    """
    unit = np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3)).max(axis=(-2, -1)) < 1e-2
    bad = np.flatnonzero(~(unit & (np.linalg.det(rotations) > 0)))
    if len(bad):
        raise DataError(
            f"{file}: row {bad[0] + 1} has {rotations[bad[0]].round(3).tolist()} as its rotation: expected orthonormal "
            "rows of a camera-to-world pose; correct it"
        )
