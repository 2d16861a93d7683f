"""Operations with gradients by hand against their plain twins, gradients too."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry.fast_ops import (
    C1,
    C2,
    channel_mean,
    clamped_pixels,
    column_differences,
    equal_pixels,
    joined,
    plain_operators,
    row_differences,
    separated,
    similarity_of_means,
    solve_positive,
    surroundings_mean,
    window_mean,
    window_products,
)


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


def plain_similarity(mean_a, mean_b, mean_squares, mean_product):
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance, variances = mean_product - product, mean_squares - squares
    return (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))


def plain_products(first, padded, window=3):
    height, width = first.shape[1:3]
    shifted = [padded[:, y : y + height, x : x + width] for y in range(window) for x in range(window)]
    return tf.stack([tf.reduce_sum(first * one, axis=-1) for one in shifted], axis=-1)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(0.1, 0.9, shape)


TWINS = {
    "window mean": (window_mean, lambda x: tf.nn.avg_pool2d(x, 3, 1, "VALID"), [random(2, 5, 6, 3)]),
    "channel mean": (channel_mean, lambda x: tf.reduce_mean(x, -1, keepdims=True), [random(2, 4, 5, 3)]),
    "rows": (row_differences, lambda x: x[:, :, 1:] - x[:, :, :-1], [random(2, 3, 4, 5)]),
    "columns": (column_differences, lambda x: x[..., 1:] - x[..., :-1], [random(2, 3, 4, 5)]),
    "similarity": (similarity_of_means, plain_similarity, [random(1, 3, 4, 3 + i)[..., :3] for i in range(4)]),
    "products": (lambda a, b: window_products(a, b, 3), plain_products, [random(1, 3, 4, 2), random(1, 5, 6, 2)]),
    "clamped": (
        lambda x: clamped_pixels(x, tf.constant(4), tf.constant(6)),
        lambda x: tf.clip_by_value(x, 0.0, [5.0, 3.0]),
        [10 * random(1, 4, 5, 2) - 2],
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_value_and_gradients_are_those_of_the_plain_twin(name):
    fast, plain, arrays = TWINS[name]
    arguments = [tf.constant(array, tf.float64) for array in arrays]
    results = []
    for function in (fast, plain):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = function(*arguments)
            weights = np.arange(value.numpy().size, dtype=np.float64).reshape(value.shape)
            total = tf.reduce_sum(value * weights)
        results.append([value, *tape.gradient(total, arguments)])
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in results[0][1:])


@pytest.mark.parametrize("size", [1, 3, 6])
def test_small_positive_systems(size):
    rng = np.random.default_rng(0)
    root, right = rng.normal(size=(5, size, size)), rng.normal(size=(5, size, 2))
    matrix = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(size)
    found = solve_positive(tf.constant(matrix), tf.constant(right))
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-9)


def test_the_mean_of_the_surroundings_leaves_out_what_is_beyond_the_border():
    image = np.random.default_rng(0).normal(size=(1, 4, 5, 1))
    found = surroundings_mean(tf.constant(image), 3)[0, ..., 0]
    for y in range(4):
        for x in range(5):
            about = image[0, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            np.testing.assert_allclose(found[y, x], about.mean(), rtol=1e-12)


@pytest.mark.parametrize("plain", [False, True])
def test_coordinates_are_equal_in_both_and_not_where_they_are_no_number(plain):
    first = tf.constant([[1.0, 2.0], [1.0, 2.0], [np.nan, 2.0], [0.0, 0.0]])
    second = tf.constant([[1.0, 2.0], [1.0, 2.5], [np.nan, 2.0], [-0.0, 0.0]])
    with plain_operators() if plain else contextlib.nullcontext():
        np.testing.assert_array_equal(equal_pixels(first, second), [[1], [0], [0], [1]])
