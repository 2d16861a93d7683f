"""The field's array files: optical flow, depth and LiDAR points, each checked before it is believed.

Every reader looks at the size that a file declares before it makes room for it.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from glnet_tf.data.files.images import MAX_SIDE, PNG_HEAD, check_png_size, decoded
from glnet_tf.errors import DataError
from glnet_tf.files import read_bytes, write_bytes

FLO_MAGIC = b"PIEH"  # 202021.25 as float32
FLO_UNKNOWN = 1e9
KITTI_FLOW_SCALE = 64.0
KITTI_FLOW_ZERO = 2**15


def read_flo(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the optical flow of a Middlebury .flo file.

    Returns:
      flow: [H, W, 2] float32 (u, v) in pixels, 0 where it is unknown.
      valid: [H, W] bool, False where a component is NaN or beyond 1e9, as the format marks unknown flow.

    Raises:
      DataError: the magic number or the size is wrong.
    """
    content = read_bytes(file)
    if len(content) < 12 or content[:4] != FLO_MAGIC:
        raise DataError(f"{file}: begins with {content[:4]!r}: expected {FLO_MAGIC!r} of a Middlebury .flo; replace it")
    width, height = struct.unpack("<2i", content[4:12])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE) or len(content) != 12 + 8 * width * height:
        raise DataError(
            f"{file}: has {len(content)} bytes and a size of {width}x{height}: expected sides of 1 to {MAX_SIDE} and "
            "12 bytes plus 8 per pixel; copy the file again"
        )
    flow = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
    valid = (np.abs(flow) <= FLO_UNKNOWN).all(axis=-1)
    return np.where(valid[..., np.newaxis], flow, np.float32(0)), valid


def write_flo(file: Path, flow: np.ndarray, valid: np.ndarray | None = None) -> None:
    """Writes a Middlebury .flo file.

    Args:
      file: its path.
      flow: [H, W, 2] (u, v) in pixels.
      valid: [H, W] bool, False where the flow is to be marked as unknown; None: known everywhere.
    """
    height, width = flow.shape[:2]
    marked = flow if valid is None else np.where(valid[..., np.newaxis], flow, 10 * FLO_UNKNOWN)
    write_bytes(file, FLO_MAGIC + struct.pack("<2i", width, height) + marked.astype("<f4").tobytes())


def read_kitti_flow(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the optical flow of a KITTI PNG: 16 bits, three channels u, v, valid; flow = (value - 2^15) / 64.

    Returns:
      flow: [H, W, 2] float32 (u, v) in pixels, 0 where it is not valid.
      valid: [H, W] bool.

    Raises:
      DataError: it is not such a PNG.
    """
    pixels = _read_png16(file, channels=3)
    valid = pixels[..., 0] > 0  # OpenCV reverses the channels
    flow = (pixels[..., :0:-1].astype(np.float32) - KITTI_FLOW_ZERO) / KITTI_FLOW_SCALE
    return np.where(valid[..., np.newaxis], flow, np.float32(0)), valid


def write_kitti_flow(file: Path, flow: np.ndarray, valid: np.ndarray | None = None) -> None:
    """Writes a KITTI flow PNG, rounded to 1/64 pixel.

    Args:
      file: its path.
      flow: [H, W, 2] (u, v) in pixels.
      valid: [H, W] bool; None: valid everywhere.

    Raises:
      DataError: a valid flow is beyond the format's -512 to 511.98 pixels.
    """
    known = np.ones(flow.shape[:2], bool) if valid is None else valid.astype(bool)
    values = np.where(known[..., np.newaxis], np.round(flow * KITTI_FLOW_SCALE) + KITTI_FLOW_ZERO, 0)
    outside = ~((values >= 0) & (values <= 65535))
    if outside.any():
        raise DataError(
            f"{file}: flow of {flow[outside][0]:g} px: expected -512 to 511.98, all that KITTI's PNG holds; "
            "write a .flo instead, or mark the pixel as not valid"
        )
    _write_png16(file, np.concatenate([known[..., np.newaxis], values[..., ::-1]], axis=-1))


def read_depth_png(file: Path, scale: float, invalid: int = 0) -> np.ndarray:
    """Returns the depth of a 16-bit PNG of one channel, metres = value / scale.

    Args:
      file: its path.
      scale: 256 for KITTI, 1000 for millimetres as in 7-Scenes.
      invalid: the value that means no depth, besides 0; 65535 in 7-Scenes.

    Returns:
      [H, W] float32 metres, 0 where there is none.

    Raises:
      DataError: it is not such a PNG.
    """
    pixels = _read_png16(file, channels=1)
    return np.where(pixels == invalid, 0, pixels).astype(np.float32) / np.float32(scale)


def write_depth_png(file: Path, depth: np.ndarray, scale: float) -> None:
    """Writes depth as a 16-bit PNG of one channel, value = metres * scale, rounded.

    Args:
      file: its path.
      depth: [H, W] metres, 0 where there is none.
      scale: see read_depth_png.

    Raises:
      DataError: a depth is negative, not finite, or beyond 65535 / scale.
    """
    values = np.round(np.asarray(depth, np.float64) * scale)
    outside = ~((values >= 0) & (values <= 65535))
    if outside.any():
        raise DataError(
            f"{file}: depth of {depth[outside][0]:g} m: expected 0 to {65535 / scale:g}, all that 16 bits hold at "
            f"{scale:g} per metre; clip the depth, or choose a smaller scale"
        )
    _write_png16(file, values)


def _read_png16(file: Path, channels: int) -> np.ndarray:
    """The pixels of a 16-bit PNG, [H, W] or [H, W, 3] uint16 in OpenCV's order, of a size checked before decoding."""
    content = read_bytes(file)
    try:
        width, height, bits, found = check_png_size(content[:PNG_HEAD], len(content))
    except DataError as error:
        raise DataError(f"{file}: {error}: expected a PNG; replace it") from None
    if bits != 16 or found != channels:
        raise DataError(
            f"{file}: has {found} channel(s) of {bits} bits: expected {channels} of 16; "
            "use the file as published, and do not convert it"
        )
    try:
        pixels = decoded(content, cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        pixels = None
    expected = (height, width) if channels == 1 else (height, width, channels)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape != expected:
        raise DataError(f"{file}: cannot be decoded: expected an intact PNG; copy the file again")
    return pixels


def _write_png16(file: Path, values: np.ndarray) -> None:
    _, content = cv2.imencode(".png", values.astype(np.uint16))
    write_bytes(file, content.tobytes())


def read_velodyne(file: Path) -> np.ndarray:
    """Returns the points of a Velodyne scan (.bin as in KITTI).

    Returns:
      [N, 4] float32: x (forward), y (left), z (up) in metres, and reflectance.

    Raises:
      DataError: it does not consist of four finite numbers per point.
    """
    content = read_bytes(file)
    if not content or len(content) % 16:
        raise DataError(f"{file}: has {len(content)} bytes: expected a positive multiple of 16; copy the file again")
    points = np.frombuffer(content, "<f4").reshape(-1, 4).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=-1))
    if len(bad):
        raise DataError(
            f"{file}: point {bad[0]} is {points[bad[0]].tolist()}: expected finite numbers; copy the file again"
        )
    return points
