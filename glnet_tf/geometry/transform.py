"""Rigid motions in SE(3) as 4x4 matrices. T_ab maps points of camera a into camera b: X_b = R_ab X_a + t_ab."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry import graphics
from glnet_tf.structures import dimension


def rotation_from_axis_angle(axis_angle: tf.Tensor) -> tf.Tensor:
    """Returns the rotation matrices, [..., 3, 3], of axis-angle vectors, [..., 3] in radians; smooth at zero."""
    tiny = tf.constant(1e-12, axis_angle.dtype)
    angle = tf.sqrt(tf.reduce_sum(tf.square(axis_angle), axis=-1, keepdims=True) + tiny)
    return graphics.rotation(axis_angle / angle, angle)


def pose_from_rotation_translation(rotation: tf.Tensor, translation: tf.Tensor) -> tf.Tensor:
    """Returns T, [..., 4, 4], from R, [..., 3, 3], and t, [..., 3]."""
    upper = tf.concat([rotation, translation[..., tf.newaxis]], axis=-1)
    leading = [dimension(upper, axis) for axis in range(len(upper.shape) - 2)]
    bottom = tf.broadcast_to(tf.constant([0, 0, 0, 1], upper.dtype), [*leading, 1, 4])
    return tf.concat([upper, bottom], axis=-2)


def pose_from_vector(vector: tf.Tensor) -> tf.Tensor:
    """Returns T, [..., 4, 4], from vectors [..., 6] of axis-angle (radians), then translation."""
    return pose_from_rotation_translation(rotation_from_axis_angle(vector[..., :3]), vector[..., 3:])


def rotation_of(pose: tf.Tensor) -> tf.Tensor:
    """Returns R, [..., 3, 3], of T, [..., 4, 4]."""
    return pose[..., :3, :3]


def translation_of(pose: tf.Tensor) -> tf.Tensor:
    """Returns t, [..., 3], of T, [..., 4, 4]."""
    return pose[..., :3, 3]


def inverse(pose: tf.Tensor) -> tf.Tensor:
    """Returns T_ba, [..., 4, 4], from T_ab: (R^T, -R^T t)."""
    transposed = tf.linalg.matrix_transpose(rotation_of(pose))
    return pose_from_rotation_translation(transposed, -tf.linalg.matvec(transposed, translation_of(pose)))


def scaled_translation(pose: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns T, [..., 4, 4], with its translation multiplied by a factor, [...]."""
    return pose_from_rotation_translation(rotation_of(pose), translation_of(pose) * factor[..., tf.newaxis])


def transform_points(pose: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Returns R X + t for T, [B, 4, 4], and points X, [B, H, W, 3]."""
    rotated = tf.einsum("bij,bhwj->bhwi", rotation_of(pose), points)
    return rotated + translation_of(pose)[:, tf.newaxis, tf.newaxis]


def chain(relative: tf.Tensor) -> tf.Tensor:
    """Returns the trajectory of a camera from its relative motions.

    Args:
      relative: [N, 4, 4], T_{i,i+1} of successive frames.

    Returns:
      [N + 1, 4, 4] camera-to-world matrices, the world being camera 0: C_{i+1} = C_i T_{i,i+1}^-1.
    """
    first = tf.eye(4, dtype=relative.dtype)
    return tf.concat([first[tf.newaxis], tf.scan(tf.matmul, inverse(relative), initializer=first)], axis=0)
