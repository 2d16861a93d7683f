"""The ground before a camera, as a plane: its inverse depth is linear in the pixel."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import inverse_intrinsics, pixel_grid
from glnet_tf.geometry.fast_ops import repeated, solve_positive
from glnet_tf.structures import dimension, height_and_width

# Where a camera that looks ahead sees the ground: below the principal point by this share of the height, and at the
# lower edge this share of the width to either side, at the principal point's height the other one.
BELOW, ASIDE_NEAR, ASIDE_FAR = 0.04, 0.62, 0.016
# Relative error of inverse depth up to which a point lies on the plane, from the first to the last iteration.
FIRST_TOLERANCE, NARROWER, LAST_TOLERANCE, ITERATIONS = 0.3, 0.7, 0.06, 12
# Inverse depth below which errors are absolute, in means.
FAR = 0.1
STEP = 2  # every so many pixels, either way, take part
# What makes a plane the ground: its share of the weights, the weight itself (of what all pixels of the area could
# have), and the angle between its normal and the camera's vertical.
MIN_SHARE, MIN_WEIGHT, MAX_TILT = 0.6, 0.01, math.radians(10)
# The road ahead, see flat_share: shares of the rows below the principal point and of the width; relative error.
LANE_ROWS, LANE_WIDTH, FLAT = 0.6, 0.6, 0.25


class Ground(NamedTuple):
    """Planes n . X = 1 below the camera.

    Attributes:
      normal: [N, 3] n in the camera's frame; the camera is 1 / |n| above the plane, in the unit of depth.
      share: [N] of the weights that lie on it, from 0 to 1.
      found: [N] bool, whether it is the ground.
    """

    normal: tf.Tensor
    share: tf.Tensor
    found: tf.Tensor


def plane_disparity(normal: tf.Tensor, intrinsics: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns the inverse depth of planes n . X = 1, [N, H, W, 1]: 1 / Z = n . K^-1 p; negative behind the camera.

    Args:
      normal: [N, 3].
      intrinsics: [N, 3, 3] K in pixels.
      height, width: H and W.
    """
    x, y, constant = tf.unstack(_per_pixel(normal, intrinsics)[:, tf.newaxis, tf.newaxis], axis=-1)
    grid = pixel_grid(height, width)
    return (x * grid[..., 0] + y * grid[..., 1] + constant)[..., tf.newaxis]


def _per_pixel(normal: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    """Coefficients of x, y and 1, [N, 3], of the inverse depth: K^-T n."""
    return tf.linalg.matvec(inverse_intrinsics(intrinsics), normal, transpose_a=True)


def fit_ground(disparity: tf.Tensor, weight: tf.Tensor, intrinsics: tf.Tensor) -> Ground:
    """Fits a plane to inverse depths where a camera that looks ahead sees the ground.

    Reweighted least squares on the relative error, with a tolerance that narrows.

    Args:
      disparity: [N, H, W, 1] inverse depth.
      weight: [N, H, W, 1] of each, from 0 to 1.
      intrinsics: [N, 3, 3] K in pixels of this size.
    """
    height, width = height_and_width(disparity)
    grid = pixel_grid(height, width)[::STEP, ::STEP]
    inside = _before_the_camera(grid, intrinsics, height, width)
    size = [dimension(disparity, 0), -1]
    value = tf.reshape(disparity[:, ::STEP, ::STEP], size)
    given = tf.reshape(tf.where(inside, weight[:, ::STEP, ::STEP, 0], 0.0), size)
    # About the middle of the image, in its size: well conditioned.
    scale = tf.cast(tf.stack([width, height]), tf.float32)
    place = tf.reshape(tf.concat([grid / scale - 0.5, tf.ones_like(grid[..., :1])], axis=-1), [-1, 3])
    # Errors relative to the plane, but of what is very far: a few such points must not outweigh all others.
    mean = tf.math.divide_no_nan(tf.reduce_sum(given * value, axis=1), tf.reduce_sum(given, axis=1))[:, tf.newaxis]
    products = tf.reshape(place[:, :, tf.newaxis] * place[:, tf.newaxis], [-1, 9])

    def error_and_unit(solution: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        plane = tf.matmul(solution, place, transpose_b=True)
        unit = tf.maximum(plane, FAR * mean) + 1e-12
        return (plane - value) / unit, unit

    def improved(share: tf.Tensor, tolerance: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        matrix = tf.reshape(tf.matmul(share, products), [-1, 3, 3])
        matrix += (1e-6 * tf.linalg.trace(matrix)[:, tf.newaxis, tf.newaxis] + 1e-12) * tf.eye(3)
        solution = solve_positive(matrix, tf.matmul(share * value, place)[..., tf.newaxis])[..., 0]
        error, unit = error_and_unit(solution)
        share = given / tf.square((1 + tf.square(error / tolerance)) * unit)
        return share, tf.maximum(NARROWER * tolerance, LAST_TOLERANCE), solution

    start = given / tf.square(mean + 1e-12), tf.constant(FIRST_TOLERANCE), tf.zeros_like(intrinsics[:, 0])
    _, _, solution = repeated(improved, start, ITERATIONS)
    error, _ = error_and_unit(solution)
    x, y, constant = tf.unstack(solution / tf.concat([scale, [1.0]], axis=0), axis=-1)
    of_pixels = tf.stack([x, y, constant - 0.5 * (x * scale[0] + y * scale[1])], axis=-1)
    normal = tf.linalg.matvec(intrinsics, of_pixels, transpose_a=True)
    on_plane = tf.where(tf.abs(error) < 2 * LAST_TOLERANCE, given, 0.0)
    total = tf.reduce_sum(given, axis=1)
    share = tf.math.divide_no_nan(tf.reduce_sum(on_plane, axis=1), total)
    known = total / tf.maximum(tf.reduce_sum(tf.cast(inside, tf.float32), axis=[1, 2]), 1) > MIN_WEIGHT
    level = normal[:, 1] > math.cos(MAX_TILT) * tf.norm(normal, axis=-1)
    return Ground(normal, share, known & level & (share > MIN_SHARE))


def flat_share(disparity: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    """Returns the share of the road ahead whose depth is within FLAT of that of one plane, [N]: roads have no holes.

    The road is what lies before the wheels on about a lane's width: the lower LANE_ROWS of what is below the principal
    point, a triangle towards it that is LANE_WIDTH of the image wide at the lower edge.

    Args:
      disparity: [N, H, W, 1] inverse depth.
      intrinsics: [N, 3, 3] K in pixels of this size.
    """
    height, width = height_and_width(disparity)
    ground = fit_ground(disparity, tf.ones_like(disparity), intrinsics)
    plane = plane_disparity(ground.normal, intrinsics, height, width)
    grid = pixel_grid(height, width)
    cx, cy = (intrinsics[:, i, 2, tf.newaxis, tf.newaxis] for i in (0, 1))
    down = (grid[..., 1] - cy) / (tf.cast(height, tf.float32) - 1 - cy)
    aside = tf.abs(grid[..., 0] - cx) / (tf.cast(width, tf.float32) * LANE_WIDTH / 2)
    lane = tf.cast((down > 1 - LANE_ROWS) & (aside < down), tf.float32)[..., tf.newaxis]
    flat = tf.cast(tf.abs(plane / disparity - 1) < FLAT, tf.float32)
    return tf.reduce_sum(lane * flat, axis=[1, 2, 3]) / tf.reduce_sum(lane, axis=[1, 2, 3])


def _before_the_camera(grid: tf.Tensor, intrinsics: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """[N, h, w] bool: a trapezium from the lower edge to the principal point."""
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    cx, cy = (intrinsics[:, i, 2, tf.newaxis, tf.newaxis] for i in (0, 1))
    down = (grid[..., 1] - cy) / tf.maximum(height - 1 - cy, 1)
    return (grid[..., 1] > cy + BELOW * height) & (tf.abs(grid[..., 0] - cx) < width * (ASIDE_NEAR * down + ASIDE_FAR))
