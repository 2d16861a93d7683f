"""The pinhole camera: exact values, round trips, OpenCV as reference, gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry import camera

K = np.array([[100.0, 0.0, 40.0], [0.0, 120.0, 30.0], [0.0, 0.0, 1.0]])


def batched(matrix: np.ndarray) -> tf.Tensor:
    return tf.constant(matrix[np.newaxis], tf.float64)


def random_points(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(-2, 2, (1, 4, 5, 2)), rng.uniform(1, 9, (1, 4, 5, 1))], axis=-1)


def test_pixel_grid_is_x_then_y():
    grid = camera.pixel_grid(2, 3).numpy()
    assert grid.shape == (2, 3, 2) and grid.dtype == np.float32
    np.testing.assert_array_equal(grid[1, 2], [2, 1])
    np.testing.assert_array_equal(grid[..., 0], [[0, 1, 2], [0, 1, 2]])


def test_build_and_take_apart():
    focal, centre = tf.constant([[100.0, 120.0]]), tf.constant([[40.0, 30.0]])
    built = camera.build_intrinsics(focal, centre)
    np.testing.assert_array_equal(built[0], K)
    for part, expected in zip(camera.focal_and_principal_point(built), (focal, centre)):
        np.testing.assert_array_equal(part, expected)


def test_build_keeps_leading_dimensions():
    assert camera.build_intrinsics(tf.ones([2, 5, 2]), tf.ones([2, 5, 2])).shape == [2, 5, 3, 3]


def test_field_of_view_of_90_degrees_is_half_the_width():
    built = camera.intrinsics_from_field_of_view(90.0, 128, 416).numpy()
    np.testing.assert_allclose(built, [[208, 0, 207.5], [0, 208, 63.5], [0, 0, 1]], rtol=1e-6)


def test_resize_scales_about_the_outer_corner():
    resized = camera.resize_intrinsics(batched(K), (60, 80), (30, 20)).numpy()[0]
    # x shrinks by 4, y by 2: 40.5 / 4 - 0.5 = 9.625 and 30.5 / 2 - 0.5 = 14.75.
    np.testing.assert_allclose(resized, [[25, 0, 9.625], [0, 60, 14.75], [0, 0, 1]], rtol=1e-14)


def test_resize_there_and_back():
    there = camera.resize_intrinsics(batched(K), (61, 83), (128, 416))
    np.testing.assert_allclose(camera.resize_intrinsics(there, (128, 416), (61, 83))[0], K, rtol=1e-13)


def test_resize_keeps_the_middle_in_the_middle():
    middle = camera.intrinsics_from_field_of_view(60.0, 64, 96)
    resized = camera.resize_intrinsics(middle, (64, 96), (128, 32))
    np.testing.assert_allclose(resized[:2, 2], [15.5, 63.5], rtol=1e-6)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_pyramid_is_repeated_halving(level):
    expected = batched(K)
    for _ in range(level):
        expected = camera.resize_intrinsics(expected, (2, 2), (1, 1))
    np.testing.assert_allclose(camera.pyramid_intrinsics(batched(K), level), expected, rtol=1e-13)


def test_pyramid_agrees_with_averaged_pixel_positions():
    """A coarse pixel is the mean of four fine ones, so the ray through it is the mean of theirs."""
    fine = camera.unproject(camera.pixel_grid(4, 4, tf.float64), tf.ones([1, 4, 4, 1], tf.float64), batched(K))
    coarse_k = camera.pyramid_intrinsics(batched(K), 1)
    coarse = camera.unproject(camera.pixel_grid(2, 2, tf.float64), tf.ones([1, 2, 2, 1], tf.float64), coarse_k)
    np.testing.assert_allclose(coarse, tf.nn.avg_pool2d(fine, 2, 2, "VALID"), rtol=1e-12)


def test_crop_moves_the_principal_point():
    cropped = camera.crop_intrinsics(batched(K), top=10, left=3).numpy()[0]
    np.testing.assert_array_equal(cropped, [[100, 0, 37], [0, 120, 20], [0, 0, 1]])


def test_flip():
    flipped = camera.flip_intrinsics(batched(K), 81).numpy()[0]
    np.testing.assert_array_equal(flipped, K)  # 81 - 1 - 40 = 40: the middle stays
    other = camera.flip_intrinsics(batched(K), 100)
    assert other[0, 0, 2] == 59
    np.testing.assert_array_equal(camera.flip_intrinsics(other, 100)[0], K)


def test_flipped_camera_sees_the_mirrored_point_at_the_mirrored_pixel():
    points = random_points(0)
    mirrored = camera.project(points * [-1, 1, 1], camera.flip_intrinsics(batched(K), 100)).numpy()
    pixels = camera.project(tf.constant(points), batched(K)).numpy()
    np.testing.assert_allclose(mirrored[..., 0], 99 - pixels[..., 0], rtol=1e-12)
    np.testing.assert_allclose(mirrored[..., 1], pixels[..., 1], rtol=1e-12)


def test_unproject_by_hand():
    pixels = tf.constant([[[40.0, 30.0], [140.0, 30.0], [40.0, 90.0]]], tf.float64)  # [1, 3, 2]
    points = camera.unproject(pixels, tf.fill([1, 1, 3, 1], tf.constant(2.0, tf.float64)), batched(K))
    # One focal length right of the centre at depth 2 is 2 to the right; half a focal length below is 1 down.
    np.testing.assert_allclose(points[0, 0], [[0, 0, 2], [2, 0, 2], [0, 1, 2]], atol=1e-14)


def test_depth_is_z_not_distance():
    points = camera.unproject(camera.pixel_grid(60, 80, tf.float64), tf.ones([1, 60, 80, 1], tf.float64), batched(K))
    np.testing.assert_array_equal(points[..., 2], 1.0)


def test_project_undoes_unproject():
    grid, depth = camera.pixel_grid(4, 5, tf.float64), random_points(1)[..., 2:]
    two = tf.constant(np.stack([K, K * [[2], [1], [1]]]))
    depths = tf.concat([depth, depth + 1], axis=0)
    pixels = camera.project(camera.unproject(grid, depths, two), two)
    np.testing.assert_allclose(pixels, tf.broadcast_to(grid, pixels.shape), atol=1e-12)


def test_project_agrees_with_opencv():
    points = random_points(2)
    expected, _ = cv2.projectPoints(points.reshape(-1, 3), np.zeros(3), np.zeros(3), K, None)
    np.testing.assert_allclose(camera.project(points, batched(K)).numpy().reshape(-1, 2), expected[:, 0], rtol=1e-12)


@pytest.mark.parametrize("z", [0.0, -1.0, -1e6, 1e-30])
def test_project_is_finite_behind_the_camera(z):
    points = tf.constant([[[[1.0, -1.0, z]]]])
    with tf.GradientTape() as tape:
        tape.watch(points)
        pixels = camera.project(points, tf.constant(K[np.newaxis], tf.float32))
    assert np.isfinite(pixels).all()
    assert np.isfinite(tape.gradient(pixels, points)).all()


def test_gradients(check_gradients):
    points = random_points(3)[:, :2, :2]
    check_gradients(camera.project, points, K[np.newaxis])
    pixels = camera.pixel_grid(2, 2, tf.float64).numpy()[np.newaxis]
    check_gradients(camera.unproject, pixels, points[..., 2:], K[np.newaxis])
    check_gradients(lambda k: camera.resize_intrinsics(k, (4, 6), (7, 8)), K[np.newaxis])


def test_the_field_of_view_is_that_of_the_longer_side():
    """Of 90 degrees the focal length is half of the longer side, in pixels of the camera's own image."""
    np.testing.assert_allclose(
        camera.intrinsics_from_field_of_view(90.0, 48, 64), [[32, 0, 31.5], [0, 32, 23.5], [0, 0, 1]]
    )
    np.testing.assert_allclose(
        camera.intrinsics_from_field_of_view(90.0, 64, 48), [[32, 0, 23.5], [0, 32, 31.5], [0, 0, 1]]
    )
    squeezed = camera.intrinsics_from_field_of_view(90.0, 32, 32, tf.constant([48 / 64, 64 / 48]))
    np.testing.assert_allclose(squeezed[0], [[64 / 3, 0, 15.5], [0, 16, 15.5], [0, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose(squeezed[1], [[16, 0, 15.5], [0, 64 / 3, 15.5], [0, 0, 1]], rtol=1e-6)
