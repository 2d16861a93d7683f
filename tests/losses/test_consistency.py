"""Forward-backward consistency of flow: values by hand, an exact affine flow, masks, gradients."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.sampling import warp
from glnet_tf.losses.consistency import consistency_loss

ONE = tf.ones([1, 1, 2, 1], tf.float64)


def as_flow(*vectors: tuple[float, float]) -> tf.Tensor:
    return tf.constant([[list(vectors)]], tf.float64)


def test_by_hand():
    loss = consistency_loss(as_flow((4, 1), (0, 0)), as_flow((-1, 3), (0, 1)), ONE)
    np.testing.assert_allclose(loss, (5 + 1) / 2)


def test_opposite_flows_are_consistent_with_a_finite_gradient():
    flow = as_flow((4, 1), (0, 0))
    with tf.GradientTape() as tape:
        tape.watch(flow)
        loss = consistency_loss(flow, as_flow((-4, -1), (0, 0)), ONE)
    assert loss == 0
    np.testing.assert_array_equal(tape.gradient(loss, flow), 0)


def test_hidden_pixels_do_not_count():
    flow, returned = as_flow((1, 0), (np.nan, 5)), as_flow((1, 0), (9, 9))
    np.testing.assert_allclose(consistency_loss(flow, returned, ONE * [[[1.0], [0.0]]]), 2)
    assert consistency_loss(flow, returned, 0 * ONE) == 0


def test_vanishes_for_an_affine_motion_and_its_inverse():
    """The inverse's flow is affine too, so sampling it at the correspondence is exact."""
    matrix, shift = np.array([[1.05, 0.02], [-0.03, 0.96]]), np.array([0.7, -1.2])
    grid = pixel_grid(20, 24, tf.float64).numpy()
    forward = grid @ matrix.T + shift - grid
    backward = (grid - shift) @ np.linalg.inv(matrix).T - grid
    pixels = (grid + forward)[np.newaxis]
    returned, valid = warp(tf.constant(backward[np.newaxis]), tf.constant(pixels))
    assert np.sum(valid) > 300
    assert consistency_loss(tf.constant(forward[np.newaxis]), returned, valid) < 1e-12
    assert consistency_loss(tf.constant(forward[np.newaxis] + 1), returned, valid) > 1.4


def test_gradients(check_gradients):
    rng = np.random.default_rng(0)
    mask = tf.constant([[[[1.0], [0.0], [1.0]]]], tf.float64)
    check_gradients(
        lambda f, r: consistency_loss(f, r, mask), rng.normal(size=(1, 1, 3, 2)), rng.normal(size=(1, 1, 3, 2))
    )
