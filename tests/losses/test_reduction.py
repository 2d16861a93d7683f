"""Masked means and norms at their edges: empty masks, masked NaN, zero vectors."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.losses.reduction import masked_mean, norm


def as_map(values, dtype=tf.float32):
    """[1, 1, N, 1]."""
    return tf.constant(values, dtype)[tf.newaxis, tf.newaxis, :, tf.newaxis]


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_mean_over_the_mask_only(dtype):
    mean = masked_mean(as_map([1.0, 2, 30, 5], dtype), as_map([1.0, 1, 0, 1], dtype))
    np.testing.assert_allclose(mean, [8 / 3], rtol=1e-6)
    assert mean.dtype == dtype


def test_empty_mask_gives_zero_and_a_zero_gradient():
    values = as_map([1.0, np.inf, np.nan])
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = masked_mean(values, tf.zeros([1, 1, 3, 1]))
    assert mean == 0
    np.testing.assert_array_equal(tape.gradient(mean, values), 0)


def test_masked_nan_does_not_leak():
    values = as_map([1.0, np.nan, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = masked_mean(values, as_map([1.0, 0, 1]))
    assert mean == 2
    np.testing.assert_array_equal(tape.gradient(mean, values), as_map([0.5, 0, 0.5]))


def test_every_map_of_a_batch_has_its_own_mean():
    values, mask = (
        tf.concat([as_map([1.0, 3]), as_map([5.0, 7])], 0),
        tf.concat([as_map([1.0, 1]), as_map([0.0, 1])], 0),
    )
    np.testing.assert_array_equal(masked_mean(values, mask), [2, 7])


def test_norm_by_hand():
    np.testing.assert_array_equal(norm(tf.constant([[3.0, 4.0], [0.0, -2.0]])), [[5], [2]])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_norm_and_its_gradient_at_zero(dtype):
    vectors = tf.constant([[0.0, 0.0], [3.0, 4.0]], dtype)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        lengths = norm(vectors)
    np.testing.assert_array_equal(lengths, [[0], [5]])
    np.testing.assert_allclose(tape.gradient(lengths, vectors), [[0, 0], [0.6, 0.8]], rtol=1e-6)


def test_gradients(check_gradients):
    check_gradients(norm, np.random.default_rng(0).normal(size=(3, 2)))
    check_gradients(lambda v: masked_mean(v, as_map([1.0, 0, 1], tf.float64)), np.arange(3.0).reshape(1, 1, 3, 1))
