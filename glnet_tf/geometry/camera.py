"""The pinhole camera: K and what resize, crop, mirror and pyramid do to it; pixels to points and back.

A pixel's centre is at its integer index, x in 0 ... W-1, so image coordinates scale about -0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from glnet_tf.geometry import graphics
from glnet_tf.structures import dimension

MIN_DEPTH = 1e-3


def pixel_grid(height: int | tf.Tensor, width: int | tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Returns the pixel coordinates (x, y) of an image, [H, W, 2]."""
    if isinstance(height, int) and isinstance(width, int):
        return tf.constant(np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1), dtype)
    x, y = tf.meshgrid(tf.range(width), tf.range(height))
    return tf.cast(tf.stack([x, y], axis=-1), dtype)


def build_intrinsics(focal: tf.Tensor, principal_point: tf.Tensor) -> tf.Tensor:
    """Returns K, [..., 3, 3], from focal lengths (fx, fy) and principal point (cx, cy), each [..., 2] in pixels."""
    (fx, fy), (cx, cy) = (tf.unstack(x, 2, axis=-1) for x in (focal, principal_point))
    zero, one = tf.zeros_like(fx), tf.ones_like(fx)
    rows = tf.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], axis=-1)
    return tf.reshape(rows, [*(dimension(rows, axis) for axis in range(len(rows.shape) - 1)), 3, 3])


def focal_and_principal_point(intrinsics: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (fx, fy) and (cx, cy), each [..., 2] in pixels, of K, [..., 3, 3]; skew is left out."""
    (fx, _, cx), (_, fy, cy), _ = (tf.unstack(row, 3, axis=-1) for row in tf.unstack(intrinsics, 3, axis=-2))
    return tf.stack([fx, fy], axis=-1), tf.stack([cx, cy], axis=-1)


def inverse_intrinsics(intrinsics: tf.Tensor) -> tf.Tensor:
    """Returns K^-1, [..., 3, 3], of K without skew."""
    focal, principal_point = focal_and_principal_point(intrinsics)
    inverse = tf.math.reciprocal(focal)
    return build_intrinsics(inverse, -principal_point * inverse)


def intrinsics_from_field_of_view(
    degrees: float, height: int | tf.Tensor, width: int | tf.Tensor, shape: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns K, [..., 3, 3], of a field of view along the longer side, and the principal point in the middle.

    Args:
      degrees: of the field of view.
      height, width: of the image that K is for.
      shape: [...] width over height of the camera's own image, with square pixels; None: as this one's.
    """
    size = tf.cast(tf.stack([width, height]), tf.float32)
    shape = size[0] / size[1] if shape is None else tf.convert_to_tensor(shape, tf.float32)
    sides = tf.stack([tf.maximum(1.0, 1 / shape), tf.maximum(shape, 1.0)], axis=-1)
    focal = size / 2 / math.tan(math.radians(degrees) / 2) * sides
    return build_intrinsics(focal, tf.broadcast_to((size - 1) / 2, tf.shape(focal)))


def resize_intrinsics(intrinsics: tf.Tensor, from_size: Sequence[float], to_size: Sequence[float]) -> tf.Tensor:
    """Returns K after its image was resized.

    Args:
      intrinsics: [..., 3, 3] K in pixels of the old image.
      from_size: (H, W) of the old image.
      to_size: (H', W') of the new one.

    Returns:
      [..., 3, 3] K in pixels of the new image: f' = f s and c' = (c + 0.5) s - 0.5.
    """
    to_height, to_width = (tf.cast(size, intrinsics.dtype) for size in to_size)
    from_height, from_width = (tf.cast(size, intrinsics.dtype) for size in from_size)
    scale = tf.stack([to_width / from_width, to_height / from_height])
    focal, principal_point = focal_and_principal_point(intrinsics)
    return build_intrinsics(focal * scale, (principal_point + 0.5) * scale - 0.5)


def pyramid_intrinsics(intrinsics: tf.Tensor, level: int) -> tf.Tensor:
    """Returns K, [..., 3, 3], at a pyramid level: the image halved `level` times."""
    return resize_intrinsics(intrinsics, (2.0**level, 2.0**level), (1.0, 1.0))


def crop_intrinsics(intrinsics: tf.Tensor, top: float | tf.Tensor, left: float | tf.Tensor) -> tf.Tensor:
    """Returns K, [..., 3, 3], after `top` rows and `left` columns were cut off its image."""
    focal, principal_point = focal_and_principal_point(intrinsics)
    return build_intrinsics(focal, principal_point - tf.cast(tf.stack([left, top]), intrinsics.dtype))


def flip_intrinsics(intrinsics: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Returns K, [..., 3, 3], after its image of the given width was mirrored left to right: cx' = W - 1 - cx."""
    focal, principal_point = focal_and_principal_point(intrinsics)
    cx, cy = tf.unstack(principal_point, axis=-1)
    return build_intrinsics(focal, tf.stack([tf.cast(width, cx.dtype) - 1.0 - cx, cy], axis=-1))


def unproject(pixels: tf.Tensor, depth: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    """Returns the points X = D K^-1 p seen at pixels.

    Args:
      pixels: [B, H, W, 2] or [H, W, 2] coordinates (x, y).
      depth: [B, H, W, 1] depth z.
      intrinsics: [B, 3, 3].

    Returns:
      [B, H, W, 3] points in the frame of the camera, in the unit of `depth`.
    """
    focal, principal_point = focal_and_principal_point(intrinsics[:, tf.newaxis, tf.newaxis])
    shape = tf.concat([tf.shape(depth)[:-1], [2]], axis=0)
    return graphics.unproject(
        tf.broadcast_to(pixels, shape), depth, tf.broadcast_to(focal, shape), tf.broadcast_to(principal_point, shape)
    )


def project(points: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    """Returns the pixels at which a camera sees points; points nearer than MIN_DEPTH are treated as at MIN_DEPTH.

    Args:
      points: [B, H, W, 3] in the frame of the camera.
      intrinsics: [B, 3, 3].

    Returns:
      [B, H, W, 2] coordinates (x, y), finite whatever the points.
    """
    focal, principal_point = focal_and_principal_point(intrinsics[:, tf.newaxis, tf.newaxis])
    in_front = tf.concat([points[..., :2], tf.maximum(points[..., 2:], MIN_DEPTH)], axis=-1)
    return graphics.project(in_front, focal, principal_point)
