"""Image files: how they are found, ordered, checked by their headers and decoded in the graph."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from glnet_tf.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def decode(path: tf.Tensor) -> tf.Tensor:
    """Returns the image in a file as [h, w, 3] uint8 RGB: grey is repeated, alpha dropped, 16 bits are cut to 8."""
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def image_files(folder: Path) -> tuple[str, ...]:
    """Returns the images directly in a folder, in natural order (2 before 10).

    Raises:
      DataError: two files bear the same number, as a picture and its depth map would.
    """
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in visible if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    # Names as 000001.left.png and 000001.depth.png are two views of one moment, never two frames of one video.
    moments: dict[tuple[str, ...], str] = {}
    for file in sorted(files):
        digits = tuple(number.lstrip("0") for number in re.findall(r"\d+", file.stem))
        if digits and digits in moments:
            raise DataError(
                f"{file}: has the number of {moments[digits]}: expected one image per frame; "
                "move depth maps, masks and the images of other cameras to another folder"
            )
        moments[digits] = file.name
    return tuple(str(file) for file in sorted(files, key=lambda file: natural_key(file.name)))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Returns a sorting key under which numbers within names compare by value."""
    return [(int(part), "") if part.isdecimal() else (0, part.lower()) for part in re.split(r"(\d+)", name) if part]


def uninterrupted_runs(files: Sequence[str], readable: np.ndarray) -> np.ndarray:
    """Returns the number of the run of consecutive frames that each file belongs to.

    A frame that cannot be read ends a run. So does a gap in the numbering when the names differ in one number only: a
    step that differs from the scene's typical (median) one by half of it or more.

    Args:
      files: [F] paths in temporal order.
      readable: [F] bool.

    Returns:
      [F] int64, non-decreasing.
    """
    breaks = ~readable
    parts = [re.split(r"(\d+)", Path(file).stem) for file in files]
    if len(files) > 1 and len({len(part) for part in parts}) == 1:
        differing = [column for column in zip(*parts) if len(set(column)) > 1]
        if len(differing) == 1 and all(number.isdecimal() for number in differing[0]):
            steps = np.diff([int(number) for number in differing[0]])
            typical = np.sort(steps)[(len(steps) - 1) // 2]
            breaks[1:] |= 2 * np.abs(steps - typical) >= typical
    return np.cumsum(breaks)


def image_sizes(files: Sequence[str]) -> list[tuple[int, int] | None]:
    """Returns (height, width) of every image from its header, None where that cannot be read."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_image_size, files))


def _image_size(file: str) -> tuple[int, int] | None:
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def common_size(files: Sequence[str], sizes: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    """Returns the one (height, width) of a scene's readable images; (0, 0) if there are none.

    Raises:
      DataError: an image differs from the others.
    """
    counts = Counter(size for size in sizes if size is not None)
    if not counts:
        return 0, 0
    expected = counts.most_common(1)[0][0]
    for file, size in zip(files, sizes):
        if size is not None and size != expected:
            raise DataError(
                f"{file}: is {size[1]}x{size[0]} pixels: expected {expected[1]}x{expected[0]} as most of its scene; "
                "resize it, or move it to a scene of its own"
            )
    return expected
