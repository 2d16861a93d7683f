"""Triangulated inverse depth: the rendered street's own, and by hand."""

import numpy as np
import pytest
import tensorflow as tf
from street_truth import true_scene

from glnet_tf.geometry.triangulation import triangulate
from glnet_tf.losses.objective import compare

SIZE = (64, 224)
K = np.array([[[100.0, 0, 50], [0, 100, 25], [0, 0, 1]]], np.float32)


@pytest.fixture(scope="module")
def scene():
    return true_scene(SIZE)


def test_the_flow_of_a_street_gives_its_depth_and_parallax(scene):
    pair = compare(scene.images, scene.truth, 0)
    found = triangulate(pair.by_flow.flow, pair.intrinsics, pair.poses)
    still = scene.static.numpy() > 0
    disparity = tf.gather(scene.truth.disparities[0], (0, 1, 1, 2), axis=1)[0].numpy()
    known = still & (np.abs(found.parallax) > 1)
    assert known.mean() > 0.2
    np.testing.assert_allclose((found.parallax / found.slope).numpy()[known], disparity[known], rtol=2e-3)
    assert np.max(found.misfit.numpy()[still]) < 1e-2


def moved(x: float, y: float, z: float) -> np.ndarray:
    pose = np.eye(4, dtype=np.float32)[np.newaxis].copy()
    pose[0, :3, 3] = x, y, z
    return pose


def test_by_hand():
    flow = np.zeros((1, 51, 101, 2), np.float32)
    flow[0, 25, 50] = 10, 3  # sideways by 1 at inverse depth 0.1, and 3 pixels off the epipolar line
    flow[0, 25, 60] = -5, 0  # as if behind the camera
    parallax, slope, misfit, along = (x[0, 25, :, 0].numpy() for x in triangulate(flow, K, moved(1, 0, 0)))
    assert along[50] == 1
    np.testing.assert_allclose([parallax[50], slope[50], misfit[50]], [10, 100, 3], rtol=1e-5)
    np.testing.assert_allclose([parallax[60], slope[60]], [-5, 100], rtol=1e-5)
    # Ahead by 1: a point 20 pixels from the centre at depth 5 is seen 20 * 5 / 4 = 25 pixels from it.
    flow[0, 25, 50], flow[0, 25, 70] = 0, (5, 0)
    parallax, slope, *_ = (x[0, 25, :, 0].numpy() for x in triangulate(flow, K, moved(0, 0, -1)))
    np.testing.assert_allclose([parallax[70], slope[70]], [5, 25], rtol=1e-5)
    assert parallax[50] == 0  # at the epipole nothing can be said


def test_a_camera_at_rest_says_nothing():
    flow = np.ones((1, 4, 6, 2), np.float32)
    found = triangulate(flow, K, moved(0, 0, 0))
    assert np.all(found.slope == 0) and np.all(found.parallax == 0) and np.all(np.isfinite(found.misfit))
