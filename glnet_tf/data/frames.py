"""Frames one after the other, from whatever a user has: an image, a folder of images, a video file, a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from glnet_tf.data.files.images import image_files
from glnet_tf.data.files.video import VIDEO_SUFFIXES, opened
from glnet_tf.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# Frames of a stream whose header does not tell.
DEFAULT_FPS = 10.0
MAX_VALUE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


class Frames:
    """Iterates once over (name, [H, W, 3] uint8 RGB) and holds no more than one frame.

    Args:
      place: an image, a folder of images (in natural order of their names), a video file, or the index of a camera.
      max_frames: frames after which to stop; 0: no limit.

    Attributes:
      place, name: of the input, and the last part of it.
      count: how many frames there should be; None where nobody knows.
      fps: frames per second.
      remarks: what went wrong on the way and did not end it: images left out, a video that ends early.

    Raises:
      DataError: there is no such input, or it holds no frame (the latter when iterated).
    """

    def __init__(self, place: str, max_frames: int = 0):
        self.place, self.name = place, Path(place).name or place
        self.remarks: list[str] = []
        self.fps = DEFAULT_FPS
        self._max_frames = max_frames
        path = Path(place)
        if place.isdigit() and not path.exists():
            self.name = f"camera{place}"
            self.count: int | None = None
            self._frames = self._of_video(int(place), f"camera {place}")
        elif path.is_dir():
            files = [Path(file) for file in image_files(path)]
            self.count = len(files)
            self._frames = self._of_files(files)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            with opened(path) as capture:
                self.count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
                self.fps = float(capture.get(cv2.CAP_PROP_FPS)) or DEFAULT_FPS
            self._frames = self._of_video(path, str(path))
        elif path.exists():
            self.count = 1
            self._frames = self._of_files([path])
        else:
            raise DataError(
                f"{place}: not found: expected an image, a folder of images, a video file or the index of a camera; "
                "correct --input"
            )
        if max_frames and self.count is not None:
            self.count = min(self.count, max_frames)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        number = 0
        size: tuple[int, ...] | None = None
        for name, image in self._frames:
            size = size or image.shape
            if image.shape != size:
                self.remarks.append(
                    f"{name}: is {image.shape[1]}x{image.shape[0]}, the first frame {size[1]}x{size[0]}: left out"
                )
                continue
            yield name, image
            number += 1
            if number == self._max_frames:
                return
        if not number:
            reasons = f" ({self.remarks[0]})" if self.remarks else ""
            raise DataError(f"{self.name}: holds no frame that can be decoded{reasons}; give intact images or videos")

    def _of_files(self, files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
        for file in files:
            try:
                yield file.stem, read_image(file)
            except DataError as error:
                if len(files) == 1:
                    raise
                self.remarks.append(f"{error}: left out")

    def _of_video(self, place: Path | int, name: str) -> Iterator[tuple[str, np.ndarray]]:
        number = 0
        with opened(place) as capture:
            while (read := capture.read())[0]:
                yield f"{number:06d}", read[1][..., ::-1]
                number += 1
        if number and self.count is not None and number + 1 < self.count:
            self.remarks.append(f"{name}: ends after {number} of {self.count} frames; the rest is damaged or missing")


def read_image(file: Path) -> np.ndarray:
    """Returns an image as [H, W, 3] uint8 RGB; grey, with transparency (which is dropped) and of 16 bits as well.

    Raises:
      DataError: it cannot be decoded.
    """
    image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise DataError(f"{file}: cannot be decoded: expected an image ({', '.join(IMAGE_SUFFIXES)}); restore it")
    return as_rgb(image[..., ::-1])


def as_rgb(image: Any) -> np.ndarray:
    """Returns an image as [H, W, 3] uint8 RGB.

    Args:
      image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (the transparency is dropped); uint8, uint16 (of 65535), or
        floating-point from 0 to 1.

    Raises:
      DataError: it has another shape or type.
    """
    image = np.asarray(image)
    floating = np.issubdtype(image.dtype, np.floating)
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        raise DataError(f"an image has shape {image.shape}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if not floating and image.dtype not in MAX_VALUE:
        raise DataError(f"an image has type {image.dtype}: expected uint8, uint16, or floating-point from 0 to 1")
    image = image[..., np.newaxis] if image.ndim == 2 else image[..., :3]
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    shares = np.nan_to_num(image) if floating else image / MAX_VALUE[image.dtype]
    return (np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8)
