"""The epipolar constraint: exact values, OpenCV as reference, exact correspondences, gradients."""

from __future__ import annotations

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.geometry import epipolar, transform
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.rigid import rigid_correspondence

K = np.array([[100.0, 0.0, 15.5], [0.0, 110.0, 11.5], [0.0, 0.0, 1.0]])
MOTION = np.array([0.05, -0.08, 0.03, 0.4, -0.1, 0.3])
SIZE = (24, 32)


def pose(vector: np.ndarray = MOTION) -> tf.Tensor:
    return transform.pose_from_vector(tf.constant(vector[np.newaxis]))


def fundamental(vector: np.ndarray = MOTION) -> tf.Tensor:
    return epipolar.fundamental_matrix(epipolar.essential_matrix(pose(vector)), tf.constant(K[np.newaxis]))


def correspondences(seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """A grid of pixels and where a random depth map sends them."""
    depth = np.random.default_rng(seed).uniform(3, 9, (1, *SIZE, 1))
    return pixel_grid(*SIZE, tf.float64), rigid_correspondence(tf.constant(depth), K[np.newaxis], pose()).pixels


def skew(t: np.ndarray) -> np.ndarray:
    return np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])


def test_sideways_motion_by_hand():
    """t = (2, 0, 0), R = I: E = [e_x]x, and corresponding points share their row."""
    essential = epipolar.essential_matrix(pose(np.array([0, 0, 0, 2.0, 0, 0])))
    np.testing.assert_allclose(essential[0], [[0, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-9)


def test_essential_is_unit_translation_cross_rotation():
    rotation, translation = cv2.Rodrigues(MOTION[:3])[0], MOTION[3:]
    expected = skew(translation / np.linalg.norm(translation)) @ rotation
    np.testing.assert_allclose(epipolar.essential_matrix(pose())[0], expected, atol=1e-10)


def test_length_of_the_translation_does_not_matter():
    scaled = pose(MOTION * [1, 1, 1, 1e-3, 1e-3, 1e-3])
    np.testing.assert_allclose(epipolar.essential_matrix(scaled), epipolar.essential_matrix(pose()), atol=1e-12)


def test_no_translation_is_finite_with_finite_gradient():
    still = tf.eye(4, batch_shape=[1])
    with tf.GradientTape() as tape:
        tape.watch(still)
        essential = epipolar.essential_matrix(still)
    np.testing.assert_array_equal(essential, 0)
    assert np.isfinite(tape.gradient(essential, still)).all()


def test_agrees_with_the_essential_matrix_that_opencv_estimates():
    grid, pixels = correspondences()
    a, b = grid.numpy().reshape(-1, 2)[::7], pixels.numpy().reshape(-1, 2)[::7]
    estimated, _ = cv2.findEssentialMat(a, b, K, method=cv2.RANSAC, prob=0.9999, threshold=1e-3)
    ours = epipolar.essential_matrix(pose())[0].numpy()
    estimated *= np.linalg.norm(ours) / np.linalg.norm(estimated)
    estimated *= np.sign(np.sum(estimated * ours))  # an essential matrix has no sign
    np.testing.assert_allclose(estimated, ours, atol=1e-5)


def test_opencv_recovers_the_pose_from_our_essential_matrix():
    grid, pixels = correspondences()
    a, b = grid.numpy().reshape(-1, 2), pixels.numpy().reshape(-1, 2)
    essential = epipolar.essential_matrix(pose())[0].numpy()
    inliers, rotation, translation, _ = cv2.recoverPose(essential, a, b, K)
    assert inliers == len(a)
    np.testing.assert_allclose(rotation, cv2.Rodrigues(MOTION[:3])[0], atol=1e-8)
    np.testing.assert_allclose(translation[:, 0], MOTION[3:] / np.linalg.norm(MOTION[3:]), atol=1e-8)


def test_residuals_vanish_at_exact_correspondences():
    grid, pixels = correspondences()
    assert np.max(epipolar.algebraic_residual(fundamental(), grid, pixels)) < 1e-10
    assert np.max(epipolar.sampson_residual(fundamental(), grid, pixels)) < 1e-9


def test_algebraic_by_hand():
    """Sideways motion: the residual is the difference of rows in units of the focal length."""
    matrix = fundamental(np.array([0, 0, 0, 1.0, 0, 0]))
    residual = epipolar.algebraic_residual(
        matrix, tf.constant([[[[3.0, 7.0]]]], tf.float64), tf.constant([[[[20.0, 9.2]]]], tf.float64)
    )
    np.testing.assert_allclose(residual, [[[[2.2 / 110]]]], rtol=1e-9)


def test_sampson_by_hand():
    """Sideways motion, rows 2 px apart: each of both points is moved by 1, so the distance is sqrt(1 + 1)."""
    matrix = fundamental(np.array([0, 0, 0, 1.0, 0, 0]))
    residual = epipolar.sampson_residual(
        matrix, tf.constant([[[[3.0, 7.0]]]], tf.float64), tf.constant([[[[20.0, 9.0]]]], tf.float64)
    )
    np.testing.assert_allclose(residual, [[[[np.sqrt(2)]]]], rtol=1e-9)


def test_sampson_agrees_with_opencv():
    grid, pixels = correspondences()
    noisy = pixels.numpy() + np.random.default_rng(1).normal(size=pixels.shape)
    ours = epipolar.sampson_residual(fundamental(), grid, tf.constant(noisy)).numpy()[0, ..., 0]
    matrix = fundamental()[0].numpy()
    for row, column in ((0, 0), (5, 9), (23, 31), (12, 1)):
        a = np.array([[column], [row], [1.0]])
        b = np.append(noisy[0, row, column], 1.0)[:, None]
        np.testing.assert_allclose(ours[row, column] ** 2, cv2.sampsonDistance(a, b, matrix), rtol=1e-6)


def test_sampson_is_the_distance_to_the_constraint_to_first_order():
    """A pixel moved by d across its epipolar line has a distance of at most d, and of the same order."""
    grid, pixels = correspondences()
    homogeneous = np.concatenate([grid.numpy(), np.ones((*SIZE, 1))], axis=-1)
    lines = homogeneous @ fundamental()[0].numpy().T
    across = lines[..., :2] / np.linalg.norm(lines[..., :2], axis=-1, keepdims=True)
    residual = epipolar.sampson_residual(fundamental(), grid, pixels + 0.01 * across).numpy()
    assert residual.max() < 0.0101 and residual.min() > 0.003
    along = np.stack([-across[..., 1], across[..., 0]], axis=-1)
    assert np.max(epipolar.sampson_residual(fundamental(), grid, pixels + 3 * along)) < 1e-6


def test_fundamental_is_for_pixels_of_both_frames():
    inverse_k = np.linalg.inv(K)
    expected = inverse_k.T @ epipolar.essential_matrix(pose())[0].numpy() @ inverse_k
    np.testing.assert_allclose(fundamental()[0], expected, atol=1e-13)


def test_gradients(check_gradients):
    rng = np.random.default_rng(3)
    a, b = rng.uniform(0, 20, (1, 2, 2, 2)), rng.uniform(0, 20, (1, 2, 2, 2))
    check_gradients(epipolar.essential_matrix, pose().numpy())
    matrix = fundamental().numpy() * 1e3
    check_gradients(epipolar.algebraic_residual, matrix, a, b)
    check_gradients(epipolar.sampson_residual, matrix, a, b)
    essential = epipolar.essential_matrix(pose())
    small = np.array([[[2.0, 0, 0.5], [0, 1.5, 0.3], [0, 0, 1]]])
    check_gradients(lambda k: epipolar.fundamental_matrix(essential, k), small)
