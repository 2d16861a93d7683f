"""How a map of a loss becomes a number, and the norms that stay smooth at zero."""

from __future__ import annotations

import tensorflow as tf


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean of `values` where `mask` is 1, a scalar; 0 for an empty mask, and nothing masked leaks in."""
    kept = tf.where(mask > 0, values, tf.zeros_like(values))
    return tf.reduce_sum(kept) / tf.maximum(tf.reduce_sum(mask), 1)


def norm(vectors: tf.Tensor) -> tf.Tensor:
    """Returns the Euclidean length of the last axis, kept with size 1; its gradient is finite at zero."""
    squared = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    positive = squared > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, squared, tf.ones_like(squared))), tf.zeros_like(squared))
