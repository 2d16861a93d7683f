"""K of a video, and where it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from glnet_tf.data.files.calibration import UNKNOWN, Camera, check_fit, read_camera, undistort
from glnet_tf.data.files.image_names import image_files
from glnet_tf.data.files.images import opened
from glnet_tf.data.frames import Frame
from glnet_tf.errors import DataError
from glnet_tf.geometry.camera import intrinsics_from_field_of_view, resize_intrinsics
from glnet_tf.inference.focal_length import estimate_focal_length
from glnet_tf.models.glnet import GLNet

CAMERA_FILE = "cam.txt"
EXIF, FOCAL_LENGTH_35MM = 0x8769, 0xA405
# Diagonal of 35 mm film, to which such focal lengths refer.
FILM_DIAGONAL = 43.27
# Millimetres, of the lenses that there are.
MIN_FILM, MAX_FILM = 1.0, 10_000.0


class Calibration(NamedTuple):
    """A camera, where it comes from, and the size at which its images are used.

    Attributes:
      camera: its `intrinsics` are None where the model has a K of its own, or assumes one.
      source: in words.
      max_side: longer side, pixels, of the images that are used; 0: their own.
      size: (H, W) of the images that the camera belongs to; None: of all.
    """

    camera: Camera
    source: str
    max_side: int = 0
    size: tuple[int, int] | None = None

    def used(self, image: np.ndarray) -> np.ndarray:
        """Returns an image, [H, W, 3], without its distortion and at the size at which it is used."""
        image = undistort(image, self.camera)
        size = self._size(image.shape[0], image.shape[1])
        return image if size == image.shape[:2] else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)

    def intrinsics(self, size: tuple[int, int] | None) -> np.ndarray | None:
        """Returns K, [3, 3], of images of an (H, W), as they are used; None: of another shape than K's, or unknown."""
        K = self.camera.intrinsics
        if K is None or size is None:
            return K
        if self.size is not None and self.size != size:
            if abs(self.size[0] * size[1] - self.size[1] * size[0]) > max(self.size):
                return None
            K = np.asarray(resize_intrinsics(np.float32(K), self.size, size))
        return np.asarray(resize_intrinsics(np.float32(K), size, self._size(*size)))

    def _size(self, height: int, width: int) -> tuple[int, int]:
        share = min(self.max_side / max(height, width), 1.0) if self.max_side else 1.0
        return max(round(share * height), 1), max(round(share * width), 1)


def find_calibration(
    place: str,
    size: tuple[int, int] | None,
    model: GLNet,
    intrinsics_file: str = "",
    field_of_view: float = 0.0,
    frames: Iterable[Frame] = (),
    count: int | None = None,
) -> Calibration:
    """Returns the first of: what a flag says, cam.txt beside the frames, EXIF, the motion, what the model assumes.

    Args:
      place: of the input, see data.frames.Frames.
      size: (H, W) of its frames, if it is known beforehand.
      model: one that has a K of its own takes no other.
      intrinsics_file: see calibration.read_camera.
      field_of_view: along the longer side, degrees; 0: unknown.
      frames, count: see focal_length.estimate_focal_length; they are read only where nothing else is known.

    Raises:
      DataError: a file is damaged, or does not belong to frames of this size.
    """
    assumed = f"assumed: a field of view of {model.field_of_view:g} degrees"
    if model.source_of_intrinsics != "given":
        own = f"{model.source_of_intrinsics} by the model"
        return Calibration(UNKNOWN, assumed if model.source_of_intrinsics == "fov" else own)
    path = Path(place)
    beside = path / CAMERA_FILE if path.is_dir() else path.with_name(f"{path.stem}.{CAMERA_FILE}")
    if not beside.exists() and path.is_file():
        beside = path.with_name(CAMERA_FILE)
    file = Path(intrinsics_file) if intrinsics_file else beside
    if intrinsics_file or beside.exists() and not field_of_view:
        camera = read_camera(file)
        if size is not None and camera.intrinsics is not None:
            check_fit(camera.intrinsics, size, str(file))
        return Calibration(camera, f"given by {file.name}")
    if size is not None and not field_of_view and (focal := _exif_focal_length(path, size)):
        K = np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])
        return Calibration(Camera(K), "by the focal length in the EXIF data")
    if size is not None and field_of_view:
        return Calibration(Camera(intrinsics_from_field_of_view(field_of_view, *size).numpy()), "by --field_of_view")
    found = None if size is None else estimate_focal_length(model, frames, count)
    if size is None or found is None:
        return Calibration(UNKNOWN, assumed)
    if not found.certain:
        return Calibration(UNKNOWN, f"{assumed}; the motion does not determine it")
    focals = [found.focal * math.exp(spreads * found.spread) for spreads in (2, 0, -2)]
    low, degrees, high = (round(2 * math.degrees(math.atan(1 / (2 * focal)))) for focal in focals)
    camera = Camera(intrinsics_from_field_of_view(degrees, *size).numpy())
    return Calibration(camera, f"estimated from the motion: a field of view of {degrees} degrees ({low} to {high})")


def _exif_focal_length(path: Path, size: tuple[int, int]) -> float:
    """The focal length, pixels, that the (first) image knows of its camera; 0 if it does not."""
    try:
        file = image_files(path)[0] if path.is_dir() else str(path)
        with opened(Path(file)) as image:
            film = float(image.getexif().get_ifd(EXIF).get(FOCAL_LENGTH_35MM, 0) or 0)
    except (DataError, IndexError):
        return 0.0
    return film / FILM_DIAGONAL * float(np.hypot(*size)) if MIN_FILM <= film <= MAX_FILM else 0.0
