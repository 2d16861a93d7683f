"""The warp and its plain twin: exact values, borders, degenerate coordinates, OpenCV as reference, gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from warps import BOTH, RESAMPLER

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.sampling import pyramid, warp

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
NAN, INF = np.nan, np.inf

# 3 rows, 4 columns; the value at (x, y) is 10 y + x.
RAMP = (10 * np.arange(3)[:, None] + np.arange(4)).astype(np.float64).reshape(1, 3, 4, 1)


def at(image: np.ndarray, points: list, plain: bool) -> tuple[np.ndarray, np.ndarray]:
    values, valid = warp(tf.constant(image), tf.constant([[points]], image.dtype), plain=plain)
    return values.numpy()[0, 0, :, 0], valid.numpy()[0, 0, :, 0]


def with_gradients(image: np.ndarray, pixels: np.ndarray, plain: bool) -> tuple[np.ndarray, ...]:
    """Values, validity, and the gradients of a weighted sum of the values with respect to image and pixels."""
    image, pixels = tf.constant(image), tf.constant(pixels)
    with tf.GradientTape() as tape:
        tape.watch([image, pixels])
        values, valid = warp(image, pixels, plain=plain)
        weights = tf.reshape(tf.range(1, tf.size(values) + 1), tf.shape(values))
        total = tf.reduce_sum(values * tf.cast(weights, values.dtype))
    by_image, by_pixels = tape.gradient(total, [image, pixels])
    return values.numpy(), valid.numpy(), by_image.numpy(), by_pixels.numpy()


@BOTH
@DTYPES
def test_values_by_hand(plain, dtype):
    values, valid = at(RAMP.astype(dtype), [[0, 0], [3, 2], [1.5, 0], [0, 0.5], [2.25, 1.5]], plain)
    np.testing.assert_array_equal(values, [0, 23, 1.5, 5, 17.25])
    np.testing.assert_array_equal(valid, 1)
    assert values.dtype == valid.dtype == dtype


@BOTH
def test_beyond_the_border_is_the_border_and_invalid(plain):
    values, valid = at(RAMP, [[-0.01, 1], [-50, 1], [3.01, 1], [1e9, 1], [1, -2], [1, 2.5], [-9, 99]], plain)
    np.testing.assert_array_equal(values, [10, 10, 13, 13, 1, 21, 20])
    np.testing.assert_array_equal(valid, 0)


@BOTH
def test_identity_returns_the_image_and_everything_is_valid(plain):
    image = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    grid = tf.broadcast_to(pixel_grid(5, 7, tf.float64), [2, 5, 7, 2])
    values, valid = warp(tf.constant(image), grid, plain=plain)
    np.testing.assert_array_equal(values, image)
    np.testing.assert_array_equal(valid, 1)


@BOTH
def test_a_shift_takes_the_neighbour_on_the_right(plain):
    """Flow (1, 0) samples the image at x + 1."""
    pixels = pixel_grid(3, 4, tf.float64)[tf.newaxis] + [1.0, 0.0]
    values, valid = warp(tf.constant(RAMP), pixels, plain=plain)
    np.testing.assert_array_equal(values[0, :, :3, 0], RAMP[0, :, 1:, 0])
    np.testing.assert_array_equal(valid[0, :, :, 0], [[1, 1, 1, 0]] * 3)


@BOTH
def test_output_may_have_another_size_than_the_image(plain):
    values, valid = warp(tf.zeros([2, 3, 4, 5]), tf.zeros([2, 7, 1, 2]), plain=plain)
    assert values.shape == [2, 7, 1, 5] and valid.shape == [2, 7, 1, 1]


@BOTH
def test_images_of_a_batch_do_not_mix(plain):
    image = np.stack([np.zeros((3, 4, 1)), np.ones((3, 4, 1))])
    values, _ = warp(tf.constant(image), tf.constant(np.full((2, 2, 2, 2), 1.3)), plain=plain)
    np.testing.assert_allclose(values[:, 0, 0, 0], [0, 1])


@BOTH
@DTYPES
@pytest.mark.parametrize(
    "point", [(NAN, 1), (1, NAN), (NAN, NAN), (INF, 1), (-INF, 1), (1, INF), (INF, -INF), (NAN, INF)]
)
def test_degenerate_coordinates_are_invalid_and_harmless(plain, dtype, point):
    pixels = np.array([[[point, (1.25, 0.5)]]], dtype)
    values, valid, by_image, by_pixels = with_gradients(RAMP.astype(dtype), pixels, plain)
    assert np.isfinite(values).all() and np.isfinite(by_image).all() and np.isfinite(by_pixels).all()
    np.testing.assert_array_equal(valid.ravel(), [0, 1])
    degenerate = ~np.isfinite(np.array(point))
    np.testing.assert_array_equal(by_pixels[0, 0, 0][degenerate], 0)


@BOTH
@pytest.mark.parametrize("size", [(3, 1), (1, 4), (1, 1)])
def test_images_one_pixel_wide_or_high(plain, size):
    image = np.random.default_rng(1).normal(size=(1, *size, 2))
    pixels = np.random.default_rng(2).uniform(-2, 4, size=(1, 6, 5, 2))
    values, _, by_image, by_pixels = with_gradients(image, pixels, plain)
    along = 0 if size[0] > 1 else 1  # the axis along which there is something to interpolate; np.interp clamps too
    line, position = image[0].reshape(-1, 2), pixels[0, ..., 1 - along]
    expected = np.stack([np.interp(position, np.arange(len(line)), line[:, c]) for c in range(2)], axis=-1)
    np.testing.assert_allclose(values[0], expected, atol=1e-12)
    assert np.isfinite(by_image).all()
    for axis, length in enumerate(reversed(size)):
        if length == 1:
            np.testing.assert_array_equal(by_pixels[..., axis], 0)


@BOTH
def test_agrees_with_opencv_inside(plain):
    """OpenCV rounds coordinates to 1/32 pixel, so they are given as multiples of it."""
    rng = np.random.default_rng(3)
    image = rng.uniform(size=(12, 17, 3)).astype(np.float32)
    pixels = np.stack([rng.integers(0, 16 * 32, (9, 8)), rng.integers(0, 11 * 32, (9, 8))], axis=-1)
    pixels = (pixels / 32).astype(np.float32)
    expected = cv2.remap(image, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR)
    values, valid = warp(tf.constant(image[np.newaxis]), tf.constant(pixels[np.newaxis]), plain=plain)
    np.testing.assert_allclose(values[0], expected, atol=1e-6)
    assert np.all(valid == 1)


@BOTH
def test_gradients(plain, check_gradients):
    rng = np.random.default_rng(4)
    image = rng.normal(size=(2, 3, 4, 2))
    # Away from whole coordinates, where the interpolation has kinks; one coordinate beyond the border.
    pixels = rng.integers(0, 2, (2, 2, 2, 2)) + rng.uniform(0.1, 0.9, (2, 2, 2, 2))
    pixels[0, 0, 0] = [-3.0, 0.5]
    check_gradients(lambda i, p: warp(i, p, plain=plain)[0], image, pixels)


@BOTH
def test_gradient_by_hand(plain):
    _, _, by_image, by_pixels = with_gradients(RAMP, np.array([[[[1.25, 0.0]]]]), plain)
    np.testing.assert_array_equal(by_pixels[0, 0, 0], [1, 10])
    np.testing.assert_array_equal(by_image[0, 0, :, 0], [0, 0.75, 0.25, 0])


@BOTH
def test_last_column_and_row_have_no_gradient_from_outside(plain):
    """Beyond the last column there is no neighbour: neither zero nor anything else may be read there."""
    points = np.array([[[[3.0, 1.0], [1.0, 2.0], [3.0, 2.0], [0.0, 0.0]]]])
    _, valid, _, by_pixels = with_gradients(RAMP + 100, points, plain)
    assert np.all(valid == 1)
    slopes = by_pixels[0, 0] / np.array([1, 2, 3, 4])[:, None]
    np.testing.assert_allclose(slopes, [[0, 10], [1, 0], [0, 0], [1, 10]])


@RESAMPLER
@DTYPES
@pytest.mark.parametrize("size", [(6, 8), (2, 2), (5, 1), (1, 5)])
def test_twins_are_equal_in_value_and_gradient(dtype, size):
    rng = np.random.default_rng(5)
    height, width = size
    image = rng.normal(size=(2, height, width, 3)).astype(dtype)
    scattered = rng.uniform(-3, 11, (2, 40, 1, 2))
    whole = np.stack(np.meshgrid(np.arange(-2, width + 2), np.arange(-2, height + 2)), axis=-1).reshape(-1, 1, 2)
    odd = np.array([[NAN, 1], [1, NAN], [INF, 1], [-INF, -INF], [1e30, -1e30], [width - 1, 0.5], [0.5, height - 1]])
    fixed = np.concatenate([whole, odd[:, None]])
    pixels = np.concatenate([scattered, np.stack([fixed, fixed])], axis=1).astype(dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for ours, twin in zip(with_gradients(image, pixels, False), with_gradients(image, pixels, True)):
        np.testing.assert_allclose(ours, twin, rtol=tolerance, atol=tolerance * 100)


def test_by_default_the_warp_is_one_of_the_twins():
    image, pixels = tf.constant(RAMP), tf.constant([[[[1.3, 0.7]]]], tf.float64)
    np.testing.assert_allclose(warp(image, pixels)[0], 1.3 + 7.0, rtol=1e-12)


def test_plain_twin_compiles_with_xla_and_with_unknown_sizes():
    compiled = tf.function(
        lambda image, pixels: warp(image, pixels, plain=True),
        jit_compile=True,
        autograph=False,
    )
    values, valid = compiled(tf.constant(RAMP), tf.constant([[[[1.5, 0.5], [9.0, 0.0]]]], tf.float64))
    np.testing.assert_allclose(values[0, 0, :, 0], [6.5, 3])
    np.testing.assert_array_equal(valid[0, 0, :, 0], [1, 0])
    spec = tf.TensorSpec([None, None, None, None], tf.float64)
    unknown = tf.function(compiled.python_function, input_signature=[spec, spec], autograph=False)
    np.testing.assert_allclose(unknown(RAMP, [[[[1.5, 0.5]]]])[0], [[[[6.5]]]])


def test_pyramid_averages_four_pixels():
    levels = pyramid(tf.constant(np.arange(16.0).reshape(1, 4, 4, 1)), 3)
    np.testing.assert_array_equal(levels[1][0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(levels[2][0, :, :, 0], [[7.5]])
    assert len(levels) == 3
