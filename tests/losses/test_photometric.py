"""Photometric distance and the adaptive minimum: exact values, scikit-image as reference, masks, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import structural_similarity

from glnet_tf.losses import photometric
from glnet_tf.losses.photometric import adaptive_photometric_loss, moments, photometric_distance, rigid_wins, ssim


def random_image(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape or (1, 8, 9, 3))


def distance(a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    return photometric_distance(moments(tf.constant(a)), moments(tf.constant(b)), alpha).numpy()


def as_map(values: list) -> tf.Tensor:
    return tf.constant(np.array(values, np.float64).reshape(1, 1, -1, 1))


def test_window_mean_by_hand():
    image = tf.constant(np.arange(24.0).reshape(1, 3, 4, 2))
    # The windows are centred on the pixels (1, 1) and (2, 1): 10, 11 and 12, 13.
    np.testing.assert_allclose(photometric.window_mean(image), [[[[10, 11], [12, 13]]]])


def test_window_mean_averages_every_3x3_window():
    image = random_image(0, 2, 5, 6, 3)
    expected = tf.nn.avg_pool2d(tf.constant(image), 3, 1, "VALID")
    np.testing.assert_allclose(photometric.window_mean(tf.constant(image)), expected, rtol=1e-12)


def test_ssim_agrees_with_scikit_image():
    a, b = random_image(1), random_image(2)
    ours = ssim(moments(tf.constant(a)), moments(tf.constant(b))).numpy()
    for channel in range(3):
        _, full = structural_similarity(
            a[0, ..., channel],
            b[0, ..., channel],
            win_size=3,
            gaussian_weights=False,
            use_sample_covariance=False,
            data_range=1,
            full=True,
        )
        np.testing.assert_allclose(ours[0, ..., channel], full[1:-1, 1:-1], atol=1e-10)


def test_ssim_is_one_for_equal_and_negative_for_inverted_images():
    image = random_image(3).astype(np.float32)
    np.testing.assert_allclose(ssim(moments(image), moments(image)), 1, atol=1e-5)
    inverted = ssim(moments(tf.constant(image)), moments(tf.constant(1 - image))).numpy()
    assert inverted.max() < 1 and inverted.mean() < -0.5 and inverted.min() >= -1


def test_distance_of_equal_images_is_zero():
    image = random_image(4)
    np.testing.assert_allclose(distance(image, image, 0.85), 0, atol=1e-12)


def test_distance_of_flat_images_by_hand():
    """Flat images of 0.2 and 0.6: SSIM = (2 a b + C1) / (a^2 + b^2 + C1), everywhere the same."""
    similarity = (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)
    result = distance(np.full((1, 5, 6, 3), 0.2), np.full((1, 5, 6, 3), 0.6), 0.85)
    assert result.shape == (1, 5, 6, 1)
    np.testing.assert_allclose(result, 0.85 * (1 - similarity) / 2 + 0.15 * 0.4, rtol=1e-9)


def test_alpha_zero_is_the_mean_absolute_difference_of_the_channels():
    a = np.zeros((1, 4, 4, 3))
    b = a.copy()
    b[0, 2, 1] = [0.3, 0.6, 0.0]
    expected = np.zeros((1, 4, 4, 1))
    expected[0, 2, 1] = 0.3
    np.testing.assert_allclose(distance(a, b, 0.0), expected, atol=1e-15)


def test_alpha_one_takes_the_neighbours_ssim_at_the_border():
    a, b = random_image(5), random_image(6)
    result = distance(a, b, 1.0)[0, ..., 0]
    inner = np.mean((1 - ssim(moments(tf.constant(a)), moments(tf.constant(b))).numpy()) / 2, axis=-1)[0]
    np.testing.assert_allclose(result, np.pad(inner, 1, mode="edge"), rtol=1e-12)


def test_distance_is_symmetric_and_within_zero_and_one():
    a, b = random_image(7), random_image(8)
    np.testing.assert_allclose(distance(a, b, 0.85), distance(b, a, 0.85), rtol=1e-12)
    assert distance(a, b, 0.85).min() > 0 and distance(a, b, 0.85).max() < 1


def test_gradients(check_gradients):
    a, b = random_image(9, 1, 4, 4, 2), random_image(10, 1, 4, 4, 2)
    check_gradients(lambda x, y: photometric_distance(moments(x), moments(y), 0.85), a, b)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.37])
def test_gradient_is_finite_on_flat_and_equal_images(value):
    image = tf.fill([1, 5, 5, 3], value)
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(photometric_distance(moments(image), moments(tf.fill([1, 5, 5, 3], value)), 0.85))
    assert np.isfinite(tape.gradient(total, image)).all()


ONE = as_map([1, 1, 1])


def test_adaptive_takes_the_smaller_per_pixel():
    loss = adaptive_photometric_loss(as_map([1, 5, 3]), ONE, as_map([4, 2, 3]), ONE, 0.0)
    np.testing.assert_allclose(loss, (1 + 2 + 3) / 3)


def test_an_invalid_branch_never_wins():
    rigid, flow = as_map([0, 6]), as_map([4, 0])
    loss = adaptive_photometric_loss(rigid, as_map([0, 1]), flow, as_map([1, 0]), 0.0)
    np.testing.assert_allclose(loss, (4 + 6) / 2)


def test_a_pixel_without_a_valid_branch_is_left_out():
    loss = adaptive_photometric_loss(as_map([3, 100]), as_map([1, 0]), as_map([5, 100]), as_map([1, 0]), 0.0)
    np.testing.assert_allclose(loss, 3)
    nothing = adaptive_photometric_loss(as_map([3, 9]), as_map([0, 0]), as_map([5, 9]), as_map([0, 0]), 0.5)
    np.testing.assert_array_equal(nothing, 0)


def test_both_blends_the_minimum_with_the_mean_of_the_branches():
    rigid, flow, valid = as_map([1, 5]), as_map([4, 2]), as_map([1, 1])
    losses = [float(adaptive_photometric_loss(rigid, valid, flow, valid, both)[0]) for both in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(losses, [1.5, 2.25, 3.0])


def test_each_branch_is_averaged_over_its_own_valid_pixels():
    loss = adaptive_photometric_loss(as_map([1, 7]), as_map([1, 0]), as_map([4, 2]), as_map([1, 1]), 1.0)
    np.testing.assert_allclose(loss, (1 + 3) / 2)


def branch_gradients(both: float) -> list[np.ndarray]:
    """Gradients to (rigid, flow) where flow is better everywhere."""
    rigid, flow = as_map([3, 4, 5]), as_map([1, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch([rigid, flow])
        loss = adaptive_photometric_loss(rigid, ONE, flow, ONE, both)
    return [gradient.numpy().ravel() for gradient in tape.gradient(loss, [rigid, flow])]


def test_where_flow_always_wins_the_minimum_alone_teaches_depth_nothing():
    """The weakness that the two-branch share is there for."""
    rigid, flow = branch_gradients(0.0)
    np.testing.assert_array_equal(rigid, 0)
    np.testing.assert_allclose(flow, 1 / 3)


def test_the_two_branch_share_teaches_the_losing_branch():
    rigid, flow = branch_gradients(0.1)
    np.testing.assert_allclose(rigid, 0.1 / 2 / 3)
    np.testing.assert_allclose(flow, 0.9 / 3 + 0.1 / 2 / 3)


def test_an_invalid_pixel_gets_no_gradient_and_passes_no_nan():
    rigid, flow = as_map([np.nan, 2]), as_map([3, 1])
    with tf.GradientTape() as tape:
        tape.watch([rigid, flow])
        loss = adaptive_photometric_loss(rigid, as_map([0, 1]), flow, as_map([1, 1]), 0.5)
    assert np.isfinite(loss)
    by_rigid, by_flow = tape.gradient(loss, [rigid, flow])
    assert by_rigid[0, 0, 0, 0] == 0 and np.isfinite(by_rigid).all() and np.isfinite(by_flow).all()


def test_rigid_wins():
    wins = rigid_wins(
        as_map([1, 3, 1, 3, 2]), as_map([1, 1, 0, 1, 1]), as_map([2, 2, 2, 2, 2]), as_map([1, 1, 1, 0, 1])
    )
    np.testing.assert_array_equal(tf.squeeze(wins), [1, 0, 0, 1, 1])
