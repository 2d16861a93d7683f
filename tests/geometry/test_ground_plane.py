"""The ground as a plane: its inverse depth by NumPy, and fits to exact, noisy and misleading inverse depths."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy.spatial.transform import Rotation

from glnet_tf.geometry.ground import MIN_WEIGHT, fit_ground, flat_share, plane_disparity

SIZE = (60, 200)
K = np.array([[[110, 0, 99.5], [0, 112, 25], [0, 0, 1]], [[150, 0, 90], [0, 145, 31], [0, 0, 1]]], np.float32)


def ground_normal(height: float, pitch: float, roll: float) -> np.ndarray:
    """n of a plane that a camera turned by so many degrees sees so far below it."""
    return Rotation.from_euler("xz", [pitch, roll], degrees=True).apply([0, 1, 0]) / height


NORMALS = np.float32([ground_normal(1.6, 3, -2), ground_normal(0.4, 4, 3)])


def intersected(normals: np.ndarray) -> np.ndarray:
    """[N, H, W, 1] inverse depth at which the rays of the pixels meet the planes n . X = 1."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.einsum("nij,hwj->nhwi", np.linalg.inv(K.astype(np.float64)), np.stack([x, y, np.ones_like(x)], axis=-1))
    depth = 1 / np.einsum("nhwi,ni->nhw", rays, normals.astype(np.float64))  # d (ray . n) = 1, and the ray's z is 1
    return 1 / depth[..., np.newaxis]


def fitted(disparity: np.ndarray, weight: np.ndarray | float = 1.0, count: int = 2):
    disparity = tf.constant(np.maximum(disparity, 1e-3), tf.float32)
    return fit_ground(disparity, tf.constant(np.broadcast_to(np.float32(weight), disparity.shape)), K[:count])


def test_inverse_depth_of_planes_is_where_rays_meet_them():
    np.testing.assert_allclose(plane_disparity(NORMALS, K, *SIZE), intersected(NORMALS), atol=1e-6)


def test_a_turned_plane_is_found_among_noise_and_outliers():
    generator = np.random.default_rng(0)
    disparity = np.maximum(intersected(NORMALS), 1e-3) * np.exp(0.02 * generator.normal(size=(2, *SIZE, 1)))
    outlying = generator.random(disparity.shape) < 0.3
    disparity[outlying] *= np.exp(generator.uniform(0.15, 1.5, outlying.sum()))  # what stands on it is nearer
    ground = fitted(disparity)
    assert np.all(ground.found)
    heights = 1 / np.linalg.norm(ground.normal, axis=-1)
    np.testing.assert_allclose(heights, [1.6, 0.4], rtol=0.01)
    cosine = np.sum(ground.normal * NORMALS, axis=-1) * heights * [1.6, 0.4]
    assert np.all(np.degrees(np.arccos(np.minimum(cosine, 1))) < 0.5)
    np.testing.assert_allclose(ground.share, 0.7, atol=0.03)


def test_an_exact_plane_is_found_exactly_by_what_has_weight():
    weight = np.zeros((1, *SIZE, 1), np.float32)
    weight[:, 34:46] = 0.4
    weight[0, 34:46, 0] = 0
    disparity = np.where(weight > 0, intersected(NORMALS), 0.7)
    ground = fitted(disparity, weight)
    np.testing.assert_allclose(ground.normal, NORMALS, rtol=2e-3, atol=1e-3)
    assert np.all(ground.found) and np.all(ground.share.numpy() > 0.999)


def test_what_stands_beside_the_road_does_not_take_part():
    """Halfway down from the principal point to the lower edge, the road is 0.31 + 0.016 of the width to either side."""
    disparity = intersected(NORMALS)
    for one, (cx, cy) in zip(disparity, K[:, :2, 2]):
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        one[(y < cy + (SIZE[0] - 1 - cy) / 2) & (abs(x - cx) > 0.34 * SIZE[1])] = 1.5
    ground = fitted(disparity)
    assert np.all(ground.found) and np.all(ground.share.numpy() > 0.999)


def test_a_few_points_far_away_do_not_matter():
    disparity = intersected(NORMALS)
    disparity[:, :34, 90:110] = 1e-3
    ground = fitted(disparity)
    assert np.all(ground.found) and np.all(ground.share.numpy() > 0.9)
    np.testing.assert_allclose(ground.normal, NORMALS, rtol=0.02, atol=5e-3)


def test_a_wall_is_no_ground():
    ground = fitted(np.broadcast_to(0.2, (2, *SIZE, 1)))
    assert not np.any(ground.found) and np.all(ground.share.numpy() > 0.99)  # a plane, but an upright one
    slope = fitted(intersected(np.float32([ground_normal(1.6, 14, 0), ground_normal(1.6, 8, 0)])))
    np.testing.assert_array_equal(slope.found, [False, True])


def test_what_makes_up_less_than_half_is_no_ground():
    generator = np.random.default_rng(1)
    ground = fitted(intersected(NORMALS) * np.exp(generator.uniform(-1.5, 1.5, (2, *SIZE, 1))))
    assert not np.any(ground.found) and np.all(ground.share.numpy() < 0.5)


def test_too_little_weight_is_no_ground():
    found = [fitted(intersected(NORMALS), by * MIN_WEIGHT).found.numpy().tolist() for by in (0.9, 1.1)]
    assert found == [[False] * 2, [True] * 2]


def test_without_any_weight_nothing_is_found():
    weight = np.ones((2, *SIZE, 1))
    weight[0] = 0
    ground = fitted(intersected(NORMALS), weight)
    assert np.all(np.isfinite(ground.normal)) and np.all(np.isfinite(ground.share))
    np.testing.assert_array_equal(ground.found, [False, True])
    np.testing.assert_allclose(ground.share, [0, 1], atol=1e-6)
    np.testing.assert_allclose(ground.normal[1], NORMALS[1], rtol=1e-2, atol=2e-3)


def test_a_hole_in_the_road_is_no_plane():
    road = np.maximum(intersected(NORMALS), 1e-3)
    np.testing.assert_array_equal(flat_share(tf.constant(road, tf.float32), K), [1, 1])
    y, x = np.mgrid[: SIZE[0], : SIZE[1]][..., np.newaxis]
    hole = (abs(x - 95) < 10) & (y > 50)
    shares = flat_share(tf.constant(np.where(hole, 1e-3, road), tf.float32), K)
    for share, intrinsics in zip(shares, K):
        cx, cy = intrinsics[:2, 2]
        down = (y - cy) / (SIZE[0] - 1 - cy)
        lane = (down > 0.4) & (abs(x - cx) < 0.3 * SIZE[1] * down)
        np.testing.assert_allclose(share, np.mean(~hole[lane]), atol=2e-3)
    beside = flat_share(tf.constant(np.where((abs(x - 95) > 70), 1.0, road), tf.float32), K)
    np.testing.assert_array_equal(beside, [1, 1])
