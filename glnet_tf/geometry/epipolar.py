"""The epipolar constraint between two views of a rigid scene: p_b^T K^-T E K^-1 p_a = 0 with E = [t]x R."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.camera import inverse_intrinsics
from glnet_tf.geometry.fast_ops import separated
from glnet_tf.geometry.transform import rotation_of, translation_of
from glnet_tf.structures import height_and_width


def essential_matrix(pose: tf.Tensor) -> tf.Tensor:
    """Returns E = [t]x R, [..., 3, 3], of T_ab, [..., 4, 4], with t scaled to unit length.

    The unit translation keeps t -> 0 from satisfying the constraint trivially.
    """
    translation = translation_of(pose)
    squared = tf.reduce_sum(tf.square(translation), axis=-1, keepdims=True)
    unit = translation * tf.math.rsqrt(tf.maximum(squared, 1e-12))
    rotation = rotation_of(pose)
    columns = [tf.linalg.cross(unit, rotation[..., i]) for i in range(3)]
    return tf.stack(columns, axis=-1)


def fundamental_matrix(essential: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    """Returns F = K^-T E K^-1, [..., 3, 3], for pixels of both frames."""
    inverse_k = inverse_intrinsics(intrinsics)
    return tf.matmul(inverse_k, tf.matmul(essential, inverse_k), transpose_a=True)


def algebraic_residual(fundamental: tf.Tensor, pixels_a: tf.Tensor, pixels_b: tf.Tensor) -> tf.Tensor:
    """Returns |p_b^T F p_a|, [B, H, W, 1]: the paper's form, without a unit.

    Args:
      fundamental: [B, 3, 3].
      pixels_a: [B, H, W, 2] or [H, W, 2] coordinates in frame a.
      pixels_b: [B, H, W, 2] their correspondences in frame b.
    """
    points_a, points_b = _planes(pixels_a), _planes(pixels_b)
    return _as_map(tf.abs(_sum(points_b * tf.matmul(fundamental, points_a))), pixels_b)


def sampson_residual(fundamental: tf.Tensor, pixels_a: tf.Tensor, pixels_b: tf.Tensor) -> tf.Tensor:
    """Returns the Sampson distance in pixels, [B, H, W, 1]: to first order, how far the pair is from the constraint.

    Args: as for algebraic_residual. Source: Hartley and Zisserman, Multiple View Geometry, eq. 11.9 (its root).
    """
    points_a, points_b = _planes(pixels_a), _planes(pixels_b)
    lines_b = tf.matmul(fundamental, points_a)
    # Only the slope of the lines in frame a is needed.
    slopes_a = tf.matmul(fundamental[..., :2], points_b, transpose_a=True)
    slopes_b, _ = tf.split(lines_b, [2, 1], axis=1)
    gradient = _sum(tf.square(slopes_a) + tf.square(slopes_b))
    return _as_map(tf.abs(_sum(points_b * lines_b)) * tf.math.rsqrt(tf.maximum(gradient, 1e-12)), pixels_b)


def _planes(pixels: tf.Tensor) -> tf.Tensor:
    """Homogeneous coordinates, [B or 1, 3, H * W], of pixels, [B, H, W, 2] or [H, W, 2]: planes multiply faster."""
    height, width = height_and_width(pixels)
    x, y = (tf.reshape(plane, [-1, height * width]) for plane in separated(pixels))
    return tf.stack([x, y, tf.ones_like(x)], axis=1)


def _sum(planes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(planes, axis=1)


def _as_map(plane: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    return tf.reshape(plane, [-1, *height_and_width(pixels), 1])
