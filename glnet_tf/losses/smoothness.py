"""Edge-aware smoothness of depth and flow (GLNet, section 3.4)."""

from __future__ import annotations

import tensorflow as tf


def edge_aware_smoothness(field: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Returns the mean of |d field| exp(-|d image|) along x, plus the same along y, a scalar.

    Args:
      field: [B, H, W, C].
      image: [B, H, W, 3] in [0, 1].
    """

    def along(axis: int) -> tf.Tensor:
        def difference(x: tf.Tensor) -> tf.Tensor:
            return x[:, 1:] - x[:, :-1] if axis == 1 else x[:, :, 1:] - x[:, :, :-1]

        edge = tf.reduce_mean(tf.abs(difference(image)), axis=-1, keepdims=True)
        return tf.reduce_mean(tf.abs(difference(field)) * tf.exp(-edge))

    return along(1) + along(2)


def depth_smoothness(disparity: tf.Tensor, image: tf.Tensor, level: int) -> tf.Tensor:
    """Returns the smoothness of inverse depth over its mean, divided by 2^s; [B, H, W, 1] and [B, H, W, 3]."""
    mean = tf.reduce_mean(disparity, axis=[1, 2, 3], keepdims=True)
    return edge_aware_smoothness(disparity / mean, image) / 2**level


def flow_smoothness(flow: tf.Tensor, image: tf.Tensor, level: int) -> tf.Tensor:
    """Returns the smoothness of flow in pixels of its level, divided by 2^s; [B, H, W, 2] and [B, H, W, 3]."""
    return edge_aware_smoothness(flow, image) / 2**level
