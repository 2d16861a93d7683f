"""The epipolar loss: values by hand, masks, independence of the translation's length, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.rigid import rigid_correspondence
from glnet_tf.geometry.transform import pose_from_vector
from glnet_tf.losses.epipolar import epipolar_loss

K = tf.constant([[[50.0, 0.0, 4.0], [0.0, 50.0, 3.0], [0.0, 0.0, 1.0]]], tf.float64)
SIZE = (7, 9)
GRID = pixel_grid(*SIZE, tf.float64)
ONE = tf.ones([1, *SIZE, 1], tf.float64)
MOTION = np.array([[0.02, -0.03, 0.01, 0.3, -0.2, 0.2]])
DISTANCES = pytest.mark.parametrize("distance", ["algebraic", "sampson"])


def motion(*vector: float) -> tf.Tensor:
    return pose_from_vector(tf.constant([vector], tf.float64))


def exact_pixels(motion_vector: np.ndarray = MOTION) -> tf.Tensor:
    depth = np.random.default_rng(0).uniform(3, 9, (1, *SIZE, 1))
    return rigid_correspondence(tf.constant(depth), K, pose_from_vector(tf.constant(motion_vector))).pixels


def test_sideways_motion_by_hand():
    """Every flow leaves its row by 2 px: 2 / f for the algebraic residual, 2 / sqrt(2) for Sampson's."""
    pixels = GRID[tf.newaxis] + [5.0, 2.0]
    pose = motion(0, 0, 0, 0.7, 0, 0)
    np.testing.assert_allclose(epipolar_loss(GRID, pixels, pose, K, ONE, "algebraic"), 2 / 50, rtol=1e-9)
    np.testing.assert_allclose(epipolar_loss(GRID, pixels, pose, K, ONE, "sampson"), np.sqrt(2), rtol=1e-9)


@DISTANCES
def test_vanishes_at_exact_correspondences(distance):
    assert epipolar_loss(GRID, exact_pixels(), motion(*MOTION[0]), K, ONE, distance) < 1e-9


@DISTANCES
def test_does_not_vanish_for_another_pose(distance):
    other = motion(*(MOTION[0] * [1, 1, 1, -1, 1, 1]))
    assert epipolar_loss(GRID, exact_pixels(), other, K, ONE, distance) > 1e-3


@DISTANCES
def test_length_of_the_translation_does_not_matter(distance):
    pixels = exact_pixels() + 1.3
    losses = [
        float(epipolar_loss(GRID, pixels, motion(*(MOTION[0] * [1, 1, 1, s, s, s])), K, ONE, distance)[0])
        for s in (1.0, 1e-2, 1e2, -1.0)
    ]
    assert losses[0] > 1e-3
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)


@DISTANCES
def test_masked_pixels_do_not_count(distance):
    mask, pixels = np.ones((1, *SIZE, 1)), exact_pixels().numpy()
    mask[:, :2], pixels[:, :2] = 0, np.nan
    assert epipolar_loss(GRID, tf.constant(pixels), motion(*MOTION[0]), K, tf.constant(mask), distance) < 1e-9
    assert epipolar_loss(GRID, tf.constant(pixels), motion(*MOTION[0]), K, 0 * ONE, distance) == 0


@DISTANCES
def test_every_pair_of_a_batch_has_its_own_motion(distance):
    pixels = tf.concat([exact_pixels(), exact_pixels(-MOTION)], axis=0)
    poses = tf.concat([motion(*MOTION[0]), motion(*-MOTION[0])], axis=0)
    two = tf.concat([ONE, ONE], axis=0), tf.concat([K, K], axis=0)
    assert np.max(epipolar_loss(GRID, pixels, poses, two[1], two[0], distance)) < 1e-9
    assert np.min(epipolar_loss(GRID, pixels, tf.reverse(poses, [0]), two[1], two[0], distance)) > 1e-4


def test_standing_still_gives_zero_with_finite_gradients():
    pose, pixels = tf.eye(4, batch_shape=[1], dtype=tf.float64), GRID[tf.newaxis] + 1.0
    for distance in ("algebraic", "sampson"):
        with tf.GradientTape() as tape:
            tape.watch([pose, pixels])
            loss = epipolar_loss(GRID, pixels, pose, K, ONE, distance)
        assert loss == 0
        assert all(np.isfinite(g).all() for g in tape.gradient(loss, [pose, pixels]))


@DISTANCES
def test_gradients(check_gradients, distance):
    rng = np.random.default_rng(2)
    a = tf.constant(rng.uniform(0, 9, (1, 2, 3, 2)))
    k = np.array([[[5.0, 0.0, 4.0], [0.0, 6.0, 3.0], [0.0, 0.0, 1.0]]])
    one = tf.ones([1, 2, 3, 1], tf.float64)
    check_gradients(
        lambda b, pose, k: epipolar_loss(a, b, pose, k, one, distance),
        rng.uniform(0, 9, (1, 2, 3, 2)),
        motion(*MOTION[0]).numpy(),
        k,
    )
