"""LiDAR points put down by hand, and where they must appear in the image."""

from __future__ import annotations

import numpy as np
import pytest

from glnet_tf.data.datasets.kitti_lidar import lidar_depth, velodyne_projection

# The velodyne's x is the camera's z, its y the camera's -x, its z the camera's -y.
TURN = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], float)
# f = 100, c = (6, 4); the camera is 0.5 m ahead of the velodyne.
P_RECT = np.array([[100, 0, 6, 0], [0, 100, 4, 0], [0, 0, 1, 0]], float)
HEIGHT, WIDTH = 6, 10


@pytest.fixture
def projection() -> np.ndarray:
    return velodyne_projection(TURN, np.array([0, 0, -0.5]), np.eye(3), P_RECT)


def point(depth: float, u: float, v: float) -> list[float]:
    """The point in the velodyne's frame that is `depth` in front of the camera and projects to (u, v)."""
    return [depth + 0.5, -(u - 6) / 100 * depth, -(v - 4) / 100 * depth, 0.3]


def test_projection_is_the_product_in_the_right_order():
    """Rectification turns by 90 degrees about z (x becomes y), after the shift and before the projection."""
    rectify = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)
    p = P_RECT + [[0, 0, 0, 7], [0, 0, 0, 8], [0, 0, 0, 0.25]]
    full = velodyne_projection(TURN, np.array([1, 2, -0.5]), rectify, p)
    # (10, 3, 1) -> camera (-3 + 1, -1 + 2, 10 - 0.5) = (-2, 1, 9.5) -> rectified (-1, -2, 9.5).
    expected = [100 * -1 + 6 * 9.5 + 7, 100 * -2 + 4 * 9.5 + 8, 9.75]
    np.testing.assert_allclose(full @ [10, 3, 1, 1], expected)


def test_points_by_hand(projection):
    """Column round(u) - 1 and row round(v) - 1, of exactly the points that are given."""
    points = np.array([point(10, 3, 2), point(20, 7.4, 5.6), point(30, 1, 1), point(40, 10, 6)], np.float32)
    expected = np.zeros((HEIGHT, WIDTH), np.float32)
    expected[1, 2], expected[5, 6], expected[0, 0], expected[5, 9] = 10, 20, 30, 40
    depth = lidar_depth(points, projection, HEIGHT, WIDTH)
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, lidar_depth(points[:, :3], projection, HEIGHT, WIDTH))


def test_the_nearest_point_of_a_pixel_counts(projection):
    points = np.array([point(30, 3, 2), point(10, 3.3, 1.8), point(20, 2.8, 2.2)])
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        depth = lidar_depth(points[order], projection, HEIGHT, WIDTH)
        np.testing.assert_allclose(depth[1, 2], 10)
        assert np.count_nonzero(depth) == 1


def test_points_outside_of_the_image_are_left_out(projection):
    points = np.array([point(10, u, v) for u, v in ((0.4, 2), (11, 2), (3, 0.4), (3, 7), (-50, 2))])
    assert not lidar_depth(points, projection, HEIGHT, WIDTH).any()


def test_points_behind_velodyne_or_camera_are_left_out(projection):
    """Both would be mirrored into the image: -10 m is behind the velodyne, -0.2 m between velodyne and camera."""
    points = np.array([point(-10, 3, 2), point(-0.2, 4, 2), point(0, 3, 3)])
    assert not lidar_depth(points, projection, HEIGHT, WIDTH).any()
    assert not lidar_depth(np.zeros((0, 4)), projection, HEIGHT, WIDTH).any()


def test_points_behind_the_velodyne_are_left_out_though_the_camera_would_see_them():
    projection = velodyne_projection(TURN, np.array([0, 0, 1.0]), np.eye(3), P_RECT)
    # This camera is 1 m behind the velodyne; the points are 0.5 m behind and 0.5 m ahead of it.
    points = np.array([[-0.5, 0, 0], [0.5, 0, 0]])
    assert not lidar_depth(points[:1], projection, HEIGHT, WIDTH).any()
    assert lidar_depth(points[1:], projection, HEIGHT, WIDTH)[3, 5] == 1.5


def test_depth_is_of_the_camera_unless_the_velodynes_is_asked_for(projection):
    points = np.array([point(10, 3, 2), point(20, 5, 3)])
    ours = lidar_depth(points, projection, HEIGHT, WIDTH)
    published = lidar_depth(points, projection, HEIGHT, WIDTH, velodyne_depth=True)
    np.testing.assert_allclose([ours[1, 2], ours[2, 4]], [10, 20])
    np.testing.assert_allclose([published[1, 2], published[2, 4]], [10.5, 20.5])
