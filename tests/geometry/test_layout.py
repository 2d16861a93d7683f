"""Coordinates and their planes: exactly what stacking and unstacking give, gradients too."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry.layout import joined, separated


@pytest.mark.parametrize("dtype", [tf.float16, tf.float32, tf.float64])
def test_planes_and_coordinates(dtype):
    pixels = tf.cast(np.random.default_rng(0).normal(size=(2, 3, 4, 2)), dtype)
    x, y = separated(pixels)
    np.testing.assert_array_equal(x, pixels[..., 0])
    np.testing.assert_array_equal(y, pixels[..., 1])
    np.testing.assert_array_equal(joined(x, y), pixels)


def test_gradients(check_gradients):
    pixels = np.random.default_rng(0).normal(size=(2, 3, 2))
    check_gradients(lambda p: tf.square(separated(p)[0]) * separated(p)[1], pixels)
    check_gradients(lambda x, y: joined(tf.square(x), x * y), pixels[..., 0], pixels[..., 1])
