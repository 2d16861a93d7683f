"""Multi-view 3D structure consistency: values by hand, visibility, independence of scale, gradients."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from glnet_tf.geometry.rigid import RigidCorrespondence, rigid_correspondence
from glnet_tf.geometry.sampling import warp
from glnet_tf.geometry.transform import pose_from_vector
from glnet_tf.losses.structure import structure_loss, structure_residual

K = tf.constant([[[10.0, 0.0, 4.0], [0.0, 10.0, 3.0], [0.0, 0.0, 1.0]]], tf.float64)
SIZE = (7, 9)
MOTION = np.array([[0.02, -0.03, 0.01, 0.1, -0.2, 0.3]])


def correspondence(depth_a: np.ndarray, motion: np.ndarray = MOTION) -> RigidCorrespondence:
    return rigid_correspondence(tf.constant(depth_a), K, pose_from_vector(tf.constant(motion)))


def sample(depth_b: np.ndarray, pixels: tf.Tensor) -> tf.Tensor:
    return 1 / warp(1 / tf.constant(depth_b), pixels)[0]


def random_depth(seed: int, low: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, 5, (1, *SIZE, 1))


def test_residual_by_hand():
    """The point is at depth 2, frame b says 3 there: off by 1 along the ray ((8 - 4) / 10, (5 - 3) / 10, 1)."""
    pixels = tf.constant([[[[8.0, 5.0]]]], tf.float64)
    planes = tf.reshape(tf.constant([0.8, 0.4, 2.0], tf.float64), [1, 3, 1, 1])
    rigid = RigidCorrespondence(pixels, planes, *[tf.ones([1, 1, 1, 1], tf.float64)] * 2)
    three, one = tf.fill([1, 1, 1, 1], tf.constant(3.0, tf.float64)), tf.ones([1, 1, 1, 1], tf.float64)
    np.testing.assert_allclose(structure_residual(rigid, three), 0.4 + 0.2 + 1.0)
    np.testing.assert_allclose(structure_loss(rigid, three, one), 1.6 / 3)


def test_a_wall_seen_from_two_distances_is_consistent():
    rigid = correspondence(np.full((1, *SIZE, 1), 4.0), np.array([[0, 0, 0, 0, 0, -1.0]]))
    sampled = sample(np.full((1, *SIZE, 1), 3.0), rigid.pixels)
    np.testing.assert_allclose(structure_residual(rigid, sampled), 0, atol=1e-9)
    wrong = structure_loss(rigid, sample(np.full((1, *SIZE, 1), 4.0), rigid.pixels), rigid.valid)
    assert wrong > 0.2


def test_a_slanted_plane_is_consistent_since_inverse_depth_is_interpolated():
    """1 / z is affine in the pixel on any plane, so bilinear interpolation of it is exact; of depth it is not."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    rays = np.stack([(x - 4) / 10, (y - 3) / 10, np.ones(SIZE)], axis=-1)
    normal, offset = np.array([0.3, -0.5, 1.0]), 4.0
    pose = pose_from_vector(tf.constant(MOTION))[0].numpy()
    normal_b = pose[:3, :3] @ normal
    offset_b = offset + normal_b @ pose[:3, 3]
    depth_a, depth_b = offset / (rays @ normal), offset_b / (rays @ normal_b)
    rigid = correspondence(depth_a[np.newaxis, ..., np.newaxis])
    sampled = sample(depth_b[np.newaxis, ..., np.newaxis], rigid.pixels)
    assert np.sum(rigid.valid) > 30
    np.testing.assert_allclose(structure_loss(rigid, sampled, rigid.valid), 0, atol=1e-10)
    as_depth = warp(tf.constant(depth_b[np.newaxis, ..., np.newaxis]), rigid.pixels)[0]
    assert structure_loss(rigid, as_depth, rigid.valid) > 1e-4


def test_scaling_depth_and_translation_together_changes_nothing():
    losses = []
    for scale in (1.0, 0.01, 50.0):
        rigid = correspondence(scale * random_depth(0), MOTION * [1, 1, 1, scale, scale, scale])
        losses.append(float(structure_loss(rigid, sample(scale * random_depth(1), rigid.pixels), rigid.valid)[0]))
    assert losses[0] > 0.05
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)


def test_hidden_pixels_do_not_count():
    rigid = correspondence(random_depth(0))
    sampled = sample(random_depth(1), rigid.pixels).numpy()
    visible = rigid.valid.numpy()
    visible[:, 2:4] = 0
    before = structure_loss(rigid, tf.constant(sampled), tf.constant(visible))
    sampled[:, 2:4] *= 7
    np.testing.assert_array_equal(structure_loss(rigid, tf.constant(sampled), tf.constant(visible)), before)


def test_nothing_visible_gives_zero_with_a_zero_gradient():
    depth = tf.constant(random_depth(0))
    with tf.GradientTape() as tape:
        tape.watch(depth)
        rigid = rigid_correspondence(depth, K, pose_from_vector(tf.constant(MOTION)))
        loss = structure_loss(rigid, depth, tf.zeros_like(depth))
    assert loss == 0
    np.testing.assert_array_equal(tape.gradient(loss, depth), 0)


def test_the_gradient_does_not_pull_at_the_common_scale_of_depth_and_translation():
    depth_a, depth_b = random_depth(0), random_depth(1)
    log_scale = tf.constant(0.0, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(log_scale)
        scale = tf.exp(log_scale)
        pose = pose_from_vector(tf.concat([MOTION[..., :3], scale * MOTION[..., 3:]], axis=-1))
        rigid = rigid_correspondence(scale * depth_a, K, pose)
        loss = structure_loss(rigid, scale * sample(depth_b, rigid.pixels), tf.ones_like(depth_a))
    assert loss > 0.01
    np.testing.assert_allclose(tape.gradient(loss, log_scale), 0, atol=1e-12)


def test_gradients(check_gradients):
    rng = np.random.default_rng(3)
    depth, pose = rng.uniform(3, 5, (1, 3, 4, 1)), pose_from_vector(tf.constant(MOTION)).numpy()
    sampled = tf.constant(rng.uniform(5, 7, (1, 3, 4, 1)))
    one = tf.ones_like(sampled)

    def loss(depth: tf.Tensor, pose: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
        return structure_loss(rigid_correspondence(depth, k, pose), sampled, one)

    check_gradients(loss, depth, pose, K.numpy())
    rigid = rigid_correspondence(tf.constant(depth), K, tf.constant(pose))
    check_gradients(lambda d: structure_residual(rigid, d), sampled.numpy())


def test_gradient_through_the_sampled_inverse_depth(check_gradients):
    """Frame a's depth moves the place at which frame b's is read."""
    depth_b = random_depth(4)
    pose = pose_from_vector(tf.constant(MOTION))
    part = (slice(None), slice(2, 4), slice(3, 6))

    def residual(depth: tf.Tensor) -> tf.Tensor:
        full = tf.tensor_scatter_nd_update(
            tf.constant(random_depth(0)), [[0, y, x, 0] for y in (2, 3) for x in (3, 4, 5)], tf.reshape(depth, [-1])
        )
        rigid = rigid_correspondence(full, K, pose)
        return structure_residual(rigid, 1 / warp(1 / tf.constant(depth_b), rigid.pixels)[0])[part]

    check_gradients(residual, random_depth(0)[part])
