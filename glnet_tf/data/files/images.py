"""Image files: how they are found, ordered, checked by their headers and read."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, ImageFileDirectory_v2

from glnet_tf.errors import DataError
from glnet_tf.parsing import MAX_COMPRESSION

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
# Images of 16 bits whose values use fewer, as those of many cameras, are stretched from the next of these.
USED_BITS = (10, 12, 14, 16)
MAX_VALUE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
# Of what a header may declare: twice the pixels of an 8K frame, which take 270 MB when they are decoded.
MAX_SIDE, MAX_PIXELS = 2**15, 2**26
PNG = b"\x89PNG\r\n\x1a\n"
PNG_HEAD = 33  # bytes, up to its first chunk's end
EXPECTED = f"a whole image ({', '.join(IMAGE_SUFFIXES)})"
ORIENTATION = 0x0112
# How a whole file ends, unless something was put behind it.
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


@contextlib.contextmanager
def opened(file: Path, expected: str = EXPECTED) -> Iterator[Image.Image]:
    """Yields an image, not yet decoded, of a size that can be.

    Args:
      file: its path.
      expected: what it should be, for the message.

    Raises:
      DataError: it is not, its header says more than there can be, or decoding it in the block fails.
    """
    with _told(file, expected), Image.open(file, formats=FORMATS) as image:
        _check_header(file, image)
        yield image


@contextlib.contextmanager
def _told(file: Path, expected: str = EXPECTED) -> Iterator[None]:
    try:
        yield
    # Damaged bytes surface as almost any exception of Pillow and OpenCV.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file}: cannot be decoded ({reason}): expected {expected}; restore it") from None


def _check_header(file: Path, image: Image.Image) -> None:
    check_size(image.size)
    if image.format == "PNG":
        with open(file, "rb") as stream:
            check_png_size(stream.read(PNG_HEAD), os.path.getsize(file))


def check_size(size: tuple[int, int]) -> None:
    """Checks the (width, height) that a header declares before there is made room for it.

    Raises:
      DataError: no camera makes such images; without the file's name.
    """
    if not (min(size) > 0 and max(size) <= MAX_SIDE and size[0] * size[1] <= MAX_PIXELS):
        raise DataError(
            f"declares {size[0]}x{size[1]} pixels, not sides of 1 to {MAX_SIDE} and at most {MAX_PIXELS} pixels"
        )


def check_png_size(head: bytes, length: int) -> tuple[int, int, int, int]:
    """Checks what the header of a PNG declares before there is made room for it.

    Args:
      head: the first PNG_HEAD bytes of the file.
      length: of the whole file.

    Returns:
      width, height, bits and channels (1 of a palette).

    Raises:
      DataError: it is no PNG, too large, or its pixels cannot be in so short a file; without the file's name.
    """
    if len(head) < PNG_HEAD or not head.startswith(PNG) or head[12:16] != b"IHDR":
        raise DataError(f"begins with {head[:8]!r}, not as a PNG")
    width, height, bits, color = struct.unpack(">2I2B", head[16:26])
    channels = {2: 3, 4: 2, 6: 4}.get(color, 1)
    check_size((width, height))
    if width * height * bits * channels > 8 * MAX_COMPRESSION * length:
        raise DataError(f"declares {width}x{height} pixels in {length} bytes, not at most {MAX_COMPRESSION} times more")
    return width, height, bits, channels


def read_image(file: Path) -> np.ndarray:
    """Returns an image as [H, W, 3] uint8 RGB, upright as its EXIF orientation says; see as_rgb for other types.

    Raises:
      DataError: it cannot be decoded, or not as a whole.
    """
    deep = _deep_image(file)
    if deep is not None:
        with _told(file):
            return as_rgb(_stretched(deep))
    with opened(file) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def read_grey(file: Path, flag: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """Returns an image as [H, W] uint8 by OpenCV, whose `flag` may have a JPEG shrunk; raises DataError."""
    with opened(file):
        return decoded(file.read_bytes(), flag)


def used_bits(file: Path) -> int:
    """Returns how many of its bits the values of an image use, by which it is stretched; 8 of most images."""
    deep = _deep_image(file)
    return 8 if deep is None else _bits(deep)


def _deep_image(file: Path) -> np.ndarray | None:
    """An image of more than 8 bits, [H, W] or [H, W, C] RGB; None if it has 8."""
    with _told(file):
        try:
            with Image.open(file, formats=FORMATS) as image:
                _check_header(file, image)
                if not _is_deep(image):
                    return None
        except UnidentifiedImageError:
            if file.suffix.lower() not in (".tif", ".tiff"):
                raise
            check_size(_tiff_size(file))
        array = decoded(file.read_bytes(), cv2.IMREAD_UNCHANGED)
        return array if array.ndim == 2 else array[..., [2, 1, 0]]


def _tiff_size(file: Path) -> tuple[int, int]:
    """The (width, height) that a TIFF declares whose pixels Pillow does not know."""
    with open(file, "rb") as stream:
        tags = ImageFileDirectory_v2(stream.read(8))
        stream.seek(tags.next)
        tags.load(stream)
        return int(tags[IMAGEWIDTH]), int(tags[IMAGELENGTH])


def decoded(content: bytes, flag: int) -> np.ndarray:
    """Returns the pixels of an image file, by OpenCV, whose `flag` says how; raises OSError or cv2.error."""
    intact = not content.startswith(PNG) or _has_intact_chunks(content)
    array = cv2.imdecode(np.frombuffer(content, np.uint8), flag) if intact and content else None
    if array is None:
        raise OSError("damaged, or of an unknown kind")
    return array


def _has_intact_chunks(content: bytes) -> bool:
    """Whether the chunks of a PNG have the lengths and checksums they declare: OpenCV makes room for any length."""
    start = 8
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        if end > len(content) or zlib.crc32(content[start + 4 : end - 4]) != int.from_bytes(
            content[end - 4 : end], "big"
        ):
            return False
        if kind == b"IEND":
            return True
        start = end
    return False


def _is_deep(image: Image.Image) -> bool:
    return image.mode[0] in "IF" or ";16" in str(getattr(image, "tile", ""))


def _bits(image: np.ndarray) -> int:
    if image.dtype != np.uint16:
        return 8
    return next(bits for bits in USED_BITS if image.max() < 2**bits)


def _stretched(image: np.ndarray) -> np.ndarray:
    """An image of 16 bits over the whole range of them."""
    bits = _bits(image)
    return image if bits in (8, 16) else (image.astype(np.float64) * (65535 / (2**bits - 1))).astype(np.uint16)


def as_rgb(image: Any) -> np.ndarray:
    """Returns an image as [H, W, 3] uint8 RGB.

    Args:
      image: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (the transparency is dropped); uint8, uint16 (of 65535), or
        floating-point from 0 to 1.

    Raises:
      DataError: it has another shape, type or range.
    """
    image = np.asarray(image)
    floating = np.issubdtype(image.dtype, np.floating)
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] not in (1, 3, 4):
        raise DataError(f"an image has shape {image.shape}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if not floating and image.dtype not in MAX_VALUE:
        raise DataError(f"an image has type {image.dtype}: expected uint8, uint16, or floating-point from 0 to 1")
    if floating and image.size and not (image.min() >= 0 and image.max() <= 1):
        raise DataError(
            f"a floating-point image has values from {image.min():g} to {image.max():g}: expected 0 to 1; divide by "
            "its range, or give it as uint8"
        )
    image = image[..., np.newaxis] if image.ndim == 2 else image[..., :3]
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    shares = image if floating else image / MAX_VALUE[image.dtype]
    return (shares * 255 + 0.5).astype(np.uint8)


class Header(NamedTuple):
    """What the header of an image says.

    Attributes:
      size: (height, width), upright.
      plain: whether it is a JPEG or PNG of 8 bits that is stored upright, which TensorFlow reads as read_image does.
    """

    size: tuple[int, int]
    plain: bool


def image_headers(files: Sequence[str]) -> list[Header | None]:
    """Returns the header of every image, None of a file that is no image, or not a whole one."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_header, files))


def image_sizes(files: Sequence[str]) -> list[tuple[int, int] | None]:
    """Returns (height, width) of every image, upright, None as in image_headers."""
    return [None if header is None else header.size for header in image_headers(files)]


def _header(file: str) -> Header | None:
    try:
        with opened(Path(file)) as image:
            orientation = image.getexif().get(ORIENTATION, 1)
            size = (image.width, image.height) if orientation >= 5 else (image.height, image.width)
            kind = image.format or ""
            plain = kind in ENDS and orientation == 1 and not _is_deep(image)
        if kind in ENDS and not _ends_with(file, ENDS[kind]):
            read_image(Path(file))  # It may be whole, with something behind it.
    except (DataError, OSError):
        return None
    return Header(size, plain)


def _ends_with(file: str, end: bytes) -> bool:
    with open(file, "rb") as stream:
        stream.seek(-min(len(end), stream.seek(0, 2)), 2)
        return stream.read() == end


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
