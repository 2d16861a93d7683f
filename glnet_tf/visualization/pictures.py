"""Pictures of images, depth, flow, masks and errors, and sheets of them: uint8 RGB arrays, NumPy in and out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glnet_tf.files import make_folder, replacement

DEPTH_MAP = "magma"
# The share of values, in percent, left to the ends of a scale, so that a few outliers do not flatten all others.
OUTLIERS = 1.0
UNKNOWN = np.array([128, 128, 128], np.uint8)
INVALID = np.array([0, 0, 0], np.uint8)
MASKED = np.array([200, 30, 30], np.uint8)
# Two of the colours of Okabe and Ito, which colour-blind readers tell apart.
RIGID_COLOUR = np.array([230, 159, 0], np.uint8)
FLOW_COLOUR = np.array([86, 180, 233], np.uint8)

# The colour wheel of Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011: red, yellow,
# green, cyan, blue, magenta and red again, apart by as many steps as the eye finds them different.
WHEEL_STEPS = np.cumsum([0, 15, 6, 4, 11, 13, 6])
WHEEL_COLOURS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], np.float64)
BEYOND_SCALE = 0.75
WHEEL_SIZE = 4096

PAPER, INK = 255, (20, 20, 20)
GAP = 4
MIN_TEXT, MAX_TEXT = 9, 32
# Errors of about two grey levels.
JPEG_QUALITY = 95
# A fifth of the time of the usual 6, for a tenth more bytes.
PNG_LEVEL = 2


def image_picture(image: np.ndarray) -> np.ndarray:
    """Returns an image, [H, W, 3] RGB in [0, 1], as a picture, [H, W, 3] uint8."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def depth_picture(disparity: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Returns inverse depth as a picture: near is bright, far is dark, not finite is grey.

    Args:
      disparity: [H, W] inverse depth, of any scale.
      low: inverse depth shown darkest; by default the first percentile.
      high: inverse depth shown brightest; by default the last percentile.

    Returns:
      [H, W, 3] uint8.
    """
    known = disparity[np.isfinite(disparity)]
    if known.size:
        low = np.percentile(known, OUTLIERS) if low is None else low
        high = np.percentile(known, 100 - OUTLIERS) if high is None else high
    return _mapped(disparity, low or 0.0, high or 0.0, DEPTH_MAP)


def _mapped(values: np.ndarray, low: float, high: float, colours: str) -> np.ndarray:
    """Returns values, [H, W], through a colour map that reaches from `low` to `high`; not finite is grey."""
    known = np.isfinite(values)
    span = max(high - low, float(np.finfo(np.float32).tiny))
    shares = np.clip((np.where(known, values, low).astype(np.float32) - np.float32(low)) / np.float32(span), 0, 1)
    table = matplotlib.colormaps[colours](np.arange(256), bytes=True)[:, :3]
    picture = table[np.minimum(shares * 256, 255).astype(np.uint8)]
    picture[~known] = UNKNOWN
    return picture


def flow_scale(*flows: np.ndarray) -> float:
    """Returns the length, in pixels, that deserves full colour in all of several flows, [H, W, 2]: 1 px or more."""
    lengths = np.concatenate([np.linalg.norm(flow, axis=-1).ravel() for flow in flows])
    lengths = lengths[np.isfinite(lengths)]
    # Below a pixel everything stays pale: noise must not look like motion.
    return max(float(np.percentile(lengths, 100 - OUTLIERS)), 1.0) if lengths.size else 1.0


def flow_picture(flow: np.ndarray, max_value: float | None = None) -> np.ndarray:
    """Returns flow by the Middlebury colour wheel: the hue is the direction (right is red), white is no motion.

    Args:
      flow: [H, W, 2] = (u, v) in pixels; not finite is black.
      max_value: length in pixels, above 0, shown in full colour, longer ones are darker; by default `flow_scale`.

    Returns:
      [H, W, 3] uint8.
    """
    max_value = flow_scale(flow) if max_value is None else max_value
    known = np.all(np.isfinite(flow), axis=-1, keepdims=True)
    u, v = np.moveaxis(np.where(known, flow, 0).astype(np.float32), -1, 0)
    length, angle = (x.reshape(u.shape) for x in cv2.cartToPolar(np.ascontiguousarray(u), np.ascontiguousarray(v)))
    hue = _wheel()[(angle * np.float32(WHEEL_SIZE / (2 * np.pi)) + 0.5).astype(np.int32) % WHEEL_SIZE]
    length = length[..., np.newaxis] / np.float32(max_value)
    # Rounding must not push a flow of exactly the largest length off the scale.
    colour = np.where(length <= 1 + 1e-6, 1 - np.minimum(length, 1) * (1 - hue), np.float32(BEYOND_SCALE) * hue)
    picture = (255 * colour + 0.5).astype(np.uint8)
    picture[~known[..., 0]] = INVALID
    return picture


@lru_cache(maxsize=1)
def _wheel() -> np.ndarray:
    """The colours of the wheel at WHEEL_SIZE angles, [WHEEL_SIZE, 3] in [0, 1]."""
    steps = np.arange(WHEEL_SIZE) / WHEEL_SIZE * WHEEL_STEPS[-1]
    return np.stack([np.interp(steps, WHEEL_STEPS, channel) for channel in WHEEL_COLOURS.T], axis=-1).astype(np.float32)


def mask_picture(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Returns a picture where a mask is set, and its shadow in red elsewhere.

    Args:
      mask: [H, W], set where above 0.
      image: [H, W, 3] uint8.

    Returns:
      [H, W, 3] uint8.
    """
    shadow = 0.3 * image.mean(axis=-1, keepdims=True) + 0.7 * MASKED
    return np.where(mask[..., np.newaxis] > 0, image, shadow.astype(np.uint8))


def branch_picture(rigid: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Returns where the rigid branch (orange) and where the flow branch (blue) won; neither is black.

    Args:
      rigid, flow: [H, W], set where above 0.

    Returns:
      [H, W, 3] uint8.
    """
    rigid, flow = rigid[..., np.newaxis] > 0, flow[..., np.newaxis] > 0
    return np.where(rigid, RIGID_COLOUR, np.where(flow, FLOW_COLOUR, INVALID))


def tile(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[Sequence[str]] | None = None) -> np.ndarray:
    """Returns a sheet of pictures of one size, each below its caption.

    Args:
      rows: pictures, [H, W, 3] uint8; short rows are filled with blank paper.
      captions: one per picture, in the same rows; None: no captions.

    Returns:
      [H', W', 3] uint8.

    Raises:
      ValueError: the pictures differ in size, or the captions do not fit the pictures.
    """
    sizes = {picture.shape for row in rows for picture in row}
    if len(sizes) != 1:
        raise ValueError(f"pictures of one sheet have sizes {sorted(sizes)}: expected a single one")
    if captions is not None and [len(row) for row in rows] != [len(row) for row in captions]:
        raise ValueError("captions and pictures of a sheet differ in number: expected one caption per picture")
    height, width, _ = sizes.pop()
    font = None if captions is None else _font([text for row in captions for text in row], width, height)
    strip = 0 if font is None else sum(font.getmetrics())
    columns = max(len(row) for row in rows)
    shape = (GAP + len(rows) * (strip + height + GAP), GAP + columns * (width + GAP), 3)
    sheet = Image.fromarray(np.full(shape, PAPER, np.uint8))
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            x, y = GAP + j * (width + GAP), GAP + i * (strip + height + GAP)
            sheet.paste(Image.fromarray(picture), (x, y + strip))
            if captions is not None:
                # A strip of its own clips a caption that is too long even in the smallest size.
                caption = Image.new("RGB", (width, strip), (PAPER, PAPER, PAPER))
                ImageDraw.Draw(caption).text((0, 0), captions[i][j], fill=INK, font=font)
                sheet.paste(caption, (x, y))
    return np.asarray(sheet)


def _font(texts: Sequence[str], width: int, height: int) -> ImageFont.FreeTypeFont:
    """Returns the font in which every caption fits above a picture of this size and stays readable."""
    size = int(np.clip(max(width, height) // 24, MIN_TEXT, MAX_TEXT))
    longest = max((_typeface(size).getlength(text) for text in texts), default=0.0)
    return _typeface(size if longest <= width else max(MIN_TEXT, int(size * width / longest)))


def _typeface(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def write_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes a picture, [H, W, 3] uint8, as PNG; its folder is made, and the file is there complete or not at all.

    Raises:
      DataError: the file cannot be written.
    """
    path = Path(path)
    make_folder(path.parent, "output_dir")
    with replacement(path) as part:
        Image.fromarray(picture).save(part, format="PNG", compress_level=PNG_LEVEL)


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    """Writes a picture, [H, W, 3] uint8, as JPEG; the file is there complete or not at all.

    Raises:
      DataError: the file cannot be written.
    """
    with replacement(path) as part:
        Image.fromarray(picture).save(part, format="JPEG", quality=JPEG_QUALITY)
