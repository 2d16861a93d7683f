"""Rigid motions: exact values, SciPy and OpenCV as references, round trips, chaining, gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.transform import Rotation

from glnet_tf.geometry import transform


def random_vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 6))


def random_poses(count: int, seed: int = 0) -> tf.Tensor:
    return transform.pose_from_vector(tf.constant(random_vectors(count, seed)))


def test_quarter_turn_about_z_takes_x_to_y():
    rotation = transform.rotation_from_axis_angle(tf.constant([[0.0, 0.0, np.pi / 2]], tf.float64))
    np.testing.assert_allclose(rotation[0], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-11)


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-6, 1e-4, 1e-2, 1.0, 2.9])
def test_rotation_agrees_with_scipy_and_opencv(scale):
    unit = np.random.default_rng(1).normal(size=(6, 3))
    vectors = scale * unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    rotation = transform.rotation_from_axis_angle(tf.constant(vectors)).numpy()
    np.testing.assert_allclose(rotation, Rotation.from_rotvec(vectors).as_matrix(), atol=2e-12)
    np.testing.assert_allclose(rotation, [cv2.Rodrigues(v)[0] for v in vectors], atol=2e-12)


def test_rotation_is_orthonormal_in_float32():
    rotation = transform.rotation_from_axis_angle(tf.constant(random_vectors(20)[:, :3], tf.float32))
    product = tf.matmul(rotation, rotation, transpose_a=True)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-6)
    np.testing.assert_allclose(tf.linalg.det(rotation), 1, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_gradient_at_no_rotation_is_the_generator(dtype):
    """d R / d r_z at 0 is the skew matrix of e_z: finite, not zero, not NaN."""
    vector = tf.zeros([3], dtype)
    with tf.GradientTape() as tape:
        tape.watch(vector)
        rotation = transform.rotation_from_axis_angle(vector)
    jacobian = tape.jacobian(rotation, vector).numpy()
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-7)
    np.testing.assert_allclose(jacobian[..., 2], [[0, -1, 0], [1, 0, 0], [0, 0, 0]], atol=1e-5)


def test_pose_vector_is_rotation_then_translation():
    pose = transform.pose_from_vector(tf.constant([[0.0, np.pi / 2, 0.0, 1.0, 2.0, 3.0]], tf.float64))
    expected = [[0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(pose[0], expected, atol=1e-11)
    np.testing.assert_allclose(transform.rotation_of(pose)[0], np.array(expected)[:3, :3], atol=1e-11)
    np.testing.assert_array_equal(transform.translation_of(pose)[0], [1, 2, 3])


def test_pose_keeps_leading_dimensions():
    vectors = tf.constant(random_vectors(6).reshape(2, 3, 6))
    poses = transform.pose_from_vector(vectors)
    assert poses.shape == [2, 3, 4, 4]
    np.testing.assert_allclose(poses[1, 2], transform.pose_from_vector(vectors[1, 2]), rtol=1e-14)


def test_inverse_agrees_with_the_general_inverse():
    poses = random_poses(8)
    np.testing.assert_allclose(transform.inverse(poses), np.linalg.inv(poses), atol=1e-10)
    np.testing.assert_allclose(transform.inverse(transform.inverse(poses)), poses, atol=1e-12)


def test_transform_points_by_hand():
    pose = tf.constant([[[0.0, -1, 0, 10], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]])
    moved = transform.transform_points(pose, tf.constant([[[[1.0, 2.0, 3.0]]]]))
    np.testing.assert_array_equal(moved[0, 0, 0], [8, 1, 3])


def test_transform_points_uses_each_pose_for_its_own_image():
    poses, points = random_poses(2), np.random.default_rng(3).normal(size=(2, 4, 5, 3))
    moved = transform.transform_points(poses, tf.constant(points))
    homogeneous = np.concatenate([points, np.ones((2, 4, 5, 1))], axis=-1)
    for i in range(2):
        np.testing.assert_allclose(moved[i], (homogeneous[i] @ poses[i].numpy().T)[..., :3], rtol=1e-12)


def test_chain_of_forward_steps():
    """Points come nearer by 1 per step when the camera drives 1 forward."""
    forward = transform.pose_from_vector(tf.constant([[0.0, 0, 0, 0, 0, -1]] * 3, tf.float64))
    trajectory = transform.chain(forward)
    np.testing.assert_allclose(trajectory[:, :3, 3], [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]], atol=1e-12)


def test_chain_gives_back_the_relative_motions():
    relative = random_poses(5)
    world = transform.chain(relative).numpy()
    assert world.shape == (6, 4, 4)
    for i in range(5):
        np.testing.assert_allclose(np.linalg.inv(world[i + 1]) @ world[i], relative[i], atol=1e-9)


def test_chain_turns_where_the_camera_turns():
    """Forward, then forward with a quarter turn to the right, then forward: the last step goes along world x."""
    step = np.eye(4)
    step[2, 3] = -1
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0, -np.pi / 2, 0]).as_matrix()  # what was on the right is now ahead
    np.testing.assert_allclose(turn[:3, :3] @ [1, 0, 0], [0, 0, 1], atol=1e-12)
    world = transform.chain(tf.constant(np.stack([step, turn @ step, step])))
    np.testing.assert_allclose(world[:, :3, 3], [[0, 0, 0], [0, 0, 1], [0, 0, 2], [1, 0, 2]], atol=1e-12)


def test_gradients(check_gradients):
    vector = random_vectors(1, 5)
    check_gradients(transform.pose_from_vector, vector)
    check_gradients(lambda v: transform.inverse(transform.pose_from_vector(v)), vector)
    pose = transform.pose_from_vector(tf.constant(vector)).numpy()
    check_gradients(transform.transform_points, pose, np.random.default_rng(0).normal(size=(1, 2, 2, 3)))
    check_gradients(transform.chain, pose)
