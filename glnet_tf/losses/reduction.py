"""How a map of a loss becomes a number, and the norms that stay smooth at zero."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.fast_ops import squared_length


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of each map, [B], where its mask is 1; 0 for an empty mask, and nothing masked leaks in.

    Args:
      values: [B, H, W, 1].
      mask: [B, H, W, 1], 1.0 or 0.0.
    """
    kept = tf.math.multiply_no_nan(values, mask)
    share = tf.math.reciprocal(tf.maximum(tf.reduce_sum(mask, axis=[1, 2, 3]), 1))
    return tf.reduce_sum(kept, axis=[1, 2, 3]) * share


def norm(vectors: tf.Tensor) -> tf.Tensor:
    """Returns the length, [..., 1], of flow vectors, [..., 2]; its gradient is finite at zero."""
    squared = squared_length(vectors)
    positive = squared > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, squared, tf.ones_like(squared))), tf.zeros_like(squared))
