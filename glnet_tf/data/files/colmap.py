"""COLMAP's text model, which other programs go on from, and which can be compared with: cameras.txt, images.txt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glnet_tf.data.files.calibration import read_lines
from glnet_tf.data.files.trajectories import quaternions, rotations
from glnet_tf.errors import DataError
from glnet_tf.files import make_folder, write_bytes

MAX_POINTS = 100_000
# Camera models that have one focal length, not two.
ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")


class ColmapModel(NamedTuple):
    """What COLMAP found.

    Attributes:
      names: of the N images, without folder and type, in the order of the names.
      poses: [N, 4, 4] camera to world.
      intrinsics: [N, 3, 3] K in pixels, whose centres are integers; distortion is left out.
      size: (H, W) of the first image.
    """

    names: list[str]
    poses: np.ndarray
    intrinsics: np.ndarray
    size: tuple[int, int]


def read_colmap(folder: Path) -> ColmapModel:
    """Returns the cameras and poses of a text model.

    Raises:
      DataError: a file is missing, or a line is not as COLMAP writes it.
    """
    if not (folder / "images.txt").exists() and (folder / "images.bin").exists():
        raise DataError(f"{folder}: is binary: expected text; convert it: colmap model_converter --output_type TXT")
    cameras = dict(_camera(folder / "cameras.txt", line) for line in _rows(folder / "cameras.txt"))
    # A line of the points seen, which may be empty, follows every image's.
    lines = _rows(folder / "images.txt", blank=True)
    images = sorted((_image(folder / "images.txt", line) for line in lines[::2] if line), key=lambda image: image.name)
    if not images:
        raise DataError(f"{folder / 'images.txt'}: has no image: expected a model with poses; choose another")
    for image in images:
        if image.camera not in cameras:
            raise DataError(f"{folder / 'cameras.txt'}: has no camera {image.camera}: expected that of {image.name}")
    inverse = np.tile(np.eye(4), (len(images), 1, 1))
    inverse[:, :3, :3] = rotations(np.array([image.quaternion for image in images]), folder / "images.txt")
    inverse[:, :3, 3] = [image.translation for image in images]
    found = [cameras[image.camera] for image in images]
    return ColmapModel(
        [Path(image.name).stem for image in images],
        np.linalg.inv(inverse),
        np.stack([K for K, _ in found]),
        found[0][1],
    )


class _Image(NamedTuple):
    name: str
    camera: str
    quaternion: list[float]
    translation: list[float]


def _rows(file: Path, blank: bool = False) -> list[str]:
    return [line.strip() for line in read_lines(file) if line[:1] != "#" and (blank or line.strip())]


def _camera(file: Path, line: str) -> tuple[str, tuple[np.ndarray, tuple[int, int]]]:
    """Number, K and (H, W) in a line `ID MODEL W H PARAMETERS`."""
    try:
        number, kind, width, height, *words = line.split()
        values = [float(word) for word in words]
        fx, fy, cx, cy = (values[0], *values[:3]) if kind in ONE_FOCAL else values[:4]
        size = int(height), int(width)
        if not np.isfinite(values).all() or min(fx, fy, *size) <= 0:
            raise ValueError
    except ValueError:
        raise DataError(
            f"{file}: {line[:60]!r}: expected ID MODEL WIDTH HEIGHT and parameters; export it again"
        ) from None
    return number, (np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]), size)


def _image(file: Path, line: str) -> _Image:
    """What stands in a line `ID QW QX QY QZ TX TY TZ CAMERA NAME`."""
    words = line.split(maxsplit=9)
    try:
        w, x, y, z, *translation = numbers = [float(word) for word in words[1:8]]
        if not np.isfinite(numbers).all():
            raise ValueError
        return _Image(words[9], words[8], [x, y, z, w], translation)
    except (ValueError, IndexError):
        raise DataError(
            f"{file}: {line[:60]!r}: expected ID QW QX QY QZ TX TY TZ CAMERA NAME; export it again"
        ) from None


def write_colmap(
    folder: Path,
    names: Sequence[str],
    poses: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    points: np.ndarray,
    colours: np.ndarray,
) -> None:
    """Writes the model of one camera's frames.

    COLMAP's pixels have their centres at halves, and its poses take points of the world into the camera.

    Args:
      folder: made if need be.
      names: of the F images' files.
      poses: [F, 4, 4] camera to world.
      intrinsics: [3, 3] K in pixels, whose centres are integers.
      size: (H, W) of the images.
      points, colours: [N, 3] in the world, and uint8; evenly chosen ones, where they are more than MAX_POINTS.

    Raises:
      DataError: a file cannot be written.
    """
    make_folder(folder, "output_dir")
    (fx, _, cx), (_, fy, cy), _ = intrinsics
    camera = f"1 PINHOLE {size[1]} {size[0]} {fx:.6f} {fy:.6f} {cx + 0.5:.6f} {cy + 0.5:.6f}"
    inverse = np.linalg.inv(poses)
    images = []
    for number, (name, (x, y, z, w), motion) in enumerate(
        zip(names, quaternions(inverse[:, :3, :3]), inverse), start=1
    ):
        values = " ".join(f"{value:.9g}" for value in (w, x, y, z, *motion[:3, 3]))
        images += [f"{number} {values} 1 {name}", ""]
    every = max(1, -(-len(points) // MAX_POINTS))
    rows = [
        f"{number} {x:.6g} {y:.6g} {z:.6g} {r} {g} {b} -1"
        for number, ((x, y, z), (r, g, b)) in enumerate(zip(points[::every], colours[::every]), start=1)
    ]
    for name, lines in (("cameras", [camera]), ("images", images), ("points3D", rows)):
        write_bytes(folder / f"{name}.txt", "".join(f"{line}\n" for line in lines).encode())
