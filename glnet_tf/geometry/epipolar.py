"""The epipolar constraint between two views of a rigid scene: p_b^T K^-T E K^-1 p_a = 0 with E = [t]x R."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.transform import rotation_of, translation_of


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
    inverse_k = tf.linalg.inv(intrinsics)
    return tf.matmul(inverse_k, tf.matmul(essential, inverse_k), transpose_a=True)


def _homogeneous(pixels: tf.Tensor) -> tf.Tensor:
    return tf.concat([pixels, tf.ones_like(pixels[..., :1])], axis=-1)


def algebraic_residual(fundamental: tf.Tensor, pixels_a: tf.Tensor, pixels_b: tf.Tensor) -> tf.Tensor:
    """Returns |p_b^T F p_a|, [B, H, W, 1]: the paper's form, without a unit.

    Args:
      fundamental: [B, 3, 3].
      pixels_a: [B, H, W, 2] or [H, W, 2] coordinates in frame a.
      pixels_b: [B, H, W, 2] their correspondences in frame b.
    """
    lines = tf.einsum("bij,bhwj->bhwi", fundamental, _homogeneous(tf.broadcast_to(pixels_a, tf.shape(pixels_b))))
    return tf.abs(tf.reduce_sum(_homogeneous(pixels_b) * lines, axis=-1, keepdims=True))


def sampson_residual(fundamental: tf.Tensor, pixels_a: tf.Tensor, pixels_b: tf.Tensor) -> tf.Tensor:
    """Returns the Sampson distance in pixels, [B, H, W, 1]: to first order, how far the pair is from the constraint.

    Args: as for algebraic_residual. Source: Hartley and Zisserman, Multiple View Geometry, eq. 11.9 (its root).
    """
    points_a = _homogeneous(tf.broadcast_to(pixels_a, tf.shape(pixels_b)))
    points_b = _homogeneous(pixels_b)
    lines_b = tf.einsum("bij,bhwj->bhwi", fundamental, points_a)
    lines_a = tf.einsum("bji,bhwj->bhwi", fundamental, points_b)
    algebraic = tf.abs(tf.reduce_sum(points_b * lines_b, axis=-1, keepdims=True))
    gradient = tf.reduce_sum(tf.square(lines_a[..., :2]) + tf.square(lines_b[..., :2]), axis=-1, keepdims=True)
    return algebraic * tf.math.rsqrt(tf.maximum(gradient, 1e-12))
