"""Rigid correspondences: flows one can compute in one's head, OpenCV as reference, validity, gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry import transform
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.rigid import rigid_correspondence, rigid_flow

HEIGHT, WIDTH, FOCAL = 6, 9, 10.0
K = np.array([[[FOCAL, 0.0, 4.0], [0.0, FOCAL, 2.5], [0.0, 0.0, 1.0]]])


def motion(*vector: float) -> tf.Tensor:
    return transform.pose_from_vector(tf.constant([vector], tf.float64))


def plane(depth: float) -> tf.Tensor:
    return tf.fill([1, HEIGHT, WIDTH, 1], tf.constant(depth, tf.float64))


def random_depth(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(2, 6, (1, HEIGHT, WIDTH, 1))


def test_no_motion_no_flow():
    result = rigid_correspondence(tf.constant(random_depth()), K, motion(0, 0, 0, 0, 0, 0))
    np.testing.assert_allclose(result.pixels[0], pixel_grid(HEIGHT, WIDTH, tf.float64), atol=1e-9)
    np.testing.assert_allclose(result.depth, random_depth(), rtol=1e-9)


def test_sideways_motion_is_disparity():
    """The camera moves 0.4 to the left, points 0.4 to the right: flow f 0.4 / z = 2 pixels at z = 2."""
    flow = rigid_flow(plane(2.0), K, motion(0, 0, 0, 0.4, 0, 0))
    np.testing.assert_allclose(flow, np.broadcast_to([2.0, 0.0], (1, HEIGHT, WIDTH, 2)), atol=1e-9)


def test_upward_motion_moves_the_image_down():
    flow = rigid_flow(plane(4.0), K, motion(0, 0, 0, 0, 0.4, 0))
    np.testing.assert_allclose(flow, np.broadcast_to([0.0, 1.0], (1, HEIGHT, WIDTH, 2)), atol=1e-9)


def test_forward_motion_expands_from_the_principal_point():
    flow = rigid_flow(plane(2.0), K, motion(0, 0, 0, 0, 0, -1.0)).numpy()[0]
    offset = pixel_grid(HEIGHT, WIDTH, tf.float64).numpy() - [4.0, 2.5]
    np.testing.assert_allclose(flow, offset, atol=1e-9)  # half the depth: everything twice as far from the centre


def test_rotation_flow_does_not_depend_on_depth():
    turn = motion(0.0, 0.05, 0.0, 0, 0, 0)
    np.testing.assert_allclose(rigid_flow(plane(2.0), K, turn), rigid_flow(plane(50.0), K, turn), atol=1e-9)
    # Points turn towards +x: the image moves right, by f tan(0.05) at the centre column.
    np.testing.assert_allclose(rigid_flow(plane(2.0), K, turn)[0, 2, 4, 0], FOCAL * np.tan(0.05), rtol=1e-4)


def test_scale_of_depth_and_translation_together_does_not_matter():
    vector = np.array([0.02, -0.03, 0.01, 0.1, -0.2, 0.3])
    flow = rigid_flow(random_depth(), K, motion(*vector))
    scaled = rigid_flow(7 * random_depth(), K, motion(*vector[:3], *(7 * vector[3:])))
    np.testing.assert_allclose(scaled, flow, atol=1e-10)


def test_agrees_with_opencv():
    vector = np.array([0.05, -0.08, 0.03, 0.2, -0.1, 0.3])
    depth = random_depth(4)
    grid = np.concatenate([pixel_grid(HEIGHT, WIDTH, tf.float64), np.ones((HEIGHT, WIDTH, 1))], axis=-1)
    points = (grid @ np.linalg.inv(K[0]).T) * depth[0]
    expected, _ = cv2.projectPoints(points.reshape(-1, 3), vector[:3], vector[3:], K[0], None)
    result = rigid_correspondence(tf.constant(depth), K, motion(*vector))
    np.testing.assert_allclose(result.pixels.numpy().reshape(-1, 2), expected[:, 0], atol=1e-9)


def test_there_and_back():
    """A plane moved by T and back by its inverse returns every pixel."""
    there = motion(0.02, 0.01, -0.03, 0.1, 0.05, -0.2)
    first = rigid_correspondence(tf.constant(random_depth()), K, there)
    back = transform.transform_points(transform.inverse(there), tf.transpose(first.planes, [0, 2, 3, 1]))
    np.testing.assert_allclose(back[..., 2:], random_depth(), rtol=1e-10)


def test_valid_means_in_front_and_inside():
    sideways = rigid_correspondence(plane(2.0), K, motion(0, 0, 0, 0.5, 0, 0))  # 2.5 pixels to the right
    np.testing.assert_array_equal(sideways.valid[0, 0, :, 0], [1, 1, 1, 1, 1, 1, 0, 0, 0])
    behind = rigid_correspondence(plane(2.0), K, motion(0, 0, 0, 0, 0, -3.0))
    assert np.sum(behind.valid) == 0
    assert np.isfinite(behind.pixels).all()
    still = rigid_correspondence(plane(2.0), K, tf.eye(4, batch_shape=[1], dtype=tf.float64))
    assert np.sum(still.valid) == HEIGHT * WIDTH  # the outermost pixels belong to the image


def test_every_image_of_a_batch_has_its_own_camera_and_motion():
    k = tf.constant(np.concatenate([K, K * [[2], [1], [1]]]))
    poses = tf.concat([motion(0, 0, 0, 0.4, 0, 0), motion(0, 0, 0, 0, 0.4, 0)], axis=0)
    flow = rigid_flow(tf.concat([plane(2.0), plane(4.0)], axis=0), k, poses)
    np.testing.assert_allclose(flow[:, 1, 1], [[2, 0], [0, 1]], atol=1e-9)


@pytest.mark.parametrize("size", [(3, 4)])
def test_gradients(check_gradients, size):
    depth = np.random.default_rng(2).uniform(2, 5, (1, *size, 1))
    pose = motion(0.05, -0.08, 0.03, 0.2, -0.1, 0.3).numpy()
    check_gradients(rigid_flow, depth, K, pose)
    check_gradients(lambda d, k, t: rigid_correspondence(d, k, t).planes, depth, K, pose)
    vector = np.array([[0.05, -0.08, 0.03, 0.2, -0.1, 0.3]])
    check_gradients(lambda v: rigid_flow(depth, K, transform.pose_from_vector(v)), vector)
