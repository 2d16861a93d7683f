"""Edge-aware smoothness: values by hand, edges, scale, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.losses.smoothness import (
    SECOND_ORDER,
    depth_smoothness,
    edge_aware_curvature,
    edge_aware_smoothness,
    edge_weights,
    flow_smoothness,
)

FLAT = tf.zeros([1, 4, 5, 3], tf.float64)


def ramp(x_slope: float, y_slope: float) -> tf.Tensor:
    y, x = np.mgrid[:4, :5].astype(float)
    return tf.constant((x_slope * x + y_slope * y)[np.newaxis, ..., np.newaxis])


def random(seed: int, channels: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 1.5, (1, 4, 5, channels))


def test_a_constant_field_is_smooth():
    assert edge_aware_smoothness(tf.ones_like(FLAT), edge_weights(tf.constant(random(0, 3)))) == 0


def test_ramp_on_a_flat_image_by_hand():
    np.testing.assert_allclose(edge_aware_smoothness(ramp(3.0, -2.0), edge_weights(FLAT)), 3 + 2)


def test_edges_of_the_image_permit_edges_of_the_field():
    """An edge of 2 in one of three channels weighs the field's step with exp(-2 / 3); only at the same place."""
    step, image = np.zeros((1, 4, 5, 1)), np.zeros((1, 4, 5, 3))
    step[:, :, 2:] = 1.0
    image[:, :, 2:, 0] = 2.0
    plain = edge_aware_smoothness(tf.constant(step), edge_weights(FLAT))
    np.testing.assert_allclose(plain, 1 / 4)  # one of the four differences along x
    np.testing.assert_allclose(
        edge_aware_smoothness(tf.constant(step), edge_weights(tf.constant(image))), np.exp(-2 / 3) / 4
    )
    elsewhere = np.roll(image, 1, axis=2)
    elsewhere[:, :, 0] = 0
    np.testing.assert_allclose(edge_aware_smoothness(tf.constant(step), edge_weights(tf.constant(elsewhere))), plain)


def test_an_edge_along_x_does_not_weigh_differences_along_y():
    image = np.zeros((1, 4, 5, 3))
    image[:, :, ::2] = 1.0
    np.testing.assert_allclose(edge_aware_smoothness(ramp(0.0, 2.0), edge_weights(tf.constant(image))), 2)
    np.testing.assert_allclose(edge_aware_smoothness(ramp(2.0, 0.0), edge_weights(tf.constant(image))), 2 * np.exp(-1))


def test_depth_smoothness_is_relative_to_the_mean_of_each_image():
    disparity = ramp(1.0, 0.0) + 1.0  # 1 ... 5, mean 3
    np.testing.assert_allclose(depth_smoothness(disparity, edge_weights(FLAT), 0), 1 / 3)
    two = tf.concat([disparity, 100 * disparity], axis=0)
    np.testing.assert_allclose(depth_smoothness(two, edge_weights(tf.concat([FLAT, FLAT], axis=0)), 0), 1 / 3)


def test_second_order_knows_planes():
    """Zero for inverse depth that is linear in the pixel, whose first order is not; a kink of 3 by hand."""
    plane = ramp(0.5, -0.25) + 2.0
    assert depth_smoothness(plane, edge_weights(FLAT), 0) > 0.25
    np.testing.assert_allclose(depth_smoothness(plane, edge_weights(FLAT), 0, planar=True), 0, atol=1e-13)
    kink = np.maximum(ramp(3.0, 0.0) - 6.0, 0.0) + 1.0  # 1 1 1 4 7, mean 2.8
    np.testing.assert_allclose(
        depth_smoothness(tf.constant(kink), edge_weights(FLAT), 2, planar=True), SECOND_ORDER * 3 / 3 / 2.8 / 4
    )


def test_second_order_counts_by_both_edges_that_it_spans():
    kink, image = np.maximum(ramp(3.0, 0.0) - 6.0, 0.0), np.zeros((1, 4, 5, 3))
    image[:, :, 3:] = 2.0  # an edge between columns 2 and 3; the kink spans columns 1 to 3
    weighted = edge_aware_curvature(tf.constant(kink), edge_weights(tf.constant(image)))
    np.testing.assert_allclose(weighted, np.exp(-2.0) * 3 / 3)
    image[:] = 0
    image[:, :, 4:] = 2.0
    np.testing.assert_allclose(edge_aware_curvature(tf.constant(kink), edge_weights(tf.constant(image))), 3 / 3)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_levels_are_divided_by_two_to_the_level(level):
    np.testing.assert_allclose(flow_smoothness(ramp(1.0, 0.0), edge_weights(FLAT), level), 1 / 2**level)
    np.testing.assert_allclose(depth_smoothness(ramp(1.0, 0.0) + 1.0, edge_weights(FLAT), level), 1 / 3 / 2**level)


def test_flow_smoothness_is_in_pixels_and_averages_u_and_v():
    flow = tf.concat([ramp(1.0, 0.0), ramp(0.0, 5.0)], axis=-1)
    np.testing.assert_allclose(flow_smoothness(flow, edge_weights(FLAT), 0), (1 + 5) / 2)
    np.testing.assert_allclose(flow_smoothness(10 * flow, edge_weights(FLAT), 0), (10 + 50) / 2)


def test_gradients(check_gradients):
    image = tf.constant(random(1, 3))
    check_gradients(lambda f: flow_smoothness(f, edge_weights(image), 1), random(2, 2))
    check_gradients(lambda d: depth_smoothness(d, edge_weights(image), 1), random(3, 1))
    check_gradients(lambda d: depth_smoothness(d, edge_weights(image), 1, planar=True), random(4, 1))
