"""The motion of a camera from optical flow alone: the rigid motion whose epipolar constraint the flow obeys best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.geometry.camera import focal_and_principal_point, pixel_grid
from glnet_tf.geometry.fast_ops import repeated, solve_positive
from glnet_tf.geometry.sampling import warp
from glnet_tf.geometry.transform import (
    pose_from_rotation_translation,
    rotation_from_axis_angle,
    rotation_of,
    translation_of,
)
from glnet_tf.structures import dimension, height_and_width

ROWS = 16
FIRST_ITERATIONS = LAST_ITERATIONS = 10
# Along the axes z, y and x: none is preferred.
STARTS = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
# A match whose return ends so many pixels from its start has half of its weight.
RETURN_ERROR = 0.5
# Residuals below this, in pixels, are noise whatever the others are.
MIN_NOISE = 0.01
# Flow errs alike in whole regions: indoors, inverse depth, its scale aside, is off by so many times what independent
# errors as large as the median residual would make of it by way of the motion; the motion itself, there and driving, by
# twice as much.
CORRELATION = 5.0
# Of the normal equations' trace: holds what the flow leaves undetermined where it is.
DAMPING = 1e-6
# [e_k]x of the three axes: [t]x is their sum times t_k, and what a rotation about an axis adds to R is [e_k]x R.
CROSS = tuple(tuple(map(tuple, np.cross(axis, np.eye(3)).T.tolist())) for axis in np.eye(3))


class Matches(NamedTuple):
    """Corresponding rays of two frames, in planes of one coordinate each.

    Attributes:
      rays_a, rays_b: [B, 3, N] K^-1 p, z = 1.
      products: [B, 9, N] of the coordinates of both, row by row as in E: r_b^T E r_a is a sum of them.
      focal: [B, 2, 1] (fx, fy) in pixels.
      weight: [B, N] how far the match may be believed, from 0 (outside of an image) to 1.
    """

    rays_a: tf.Tensor
    rays_b: tf.Tensor
    products: tf.Tensor
    focal: tf.Tensor
    weight: tf.Tensor


class FlowMotion(NamedTuple):
    """What flow tells of the camera's motion.

    Attributes:
      pose: [B, 4, 4] T_ab with a translation of unit length.
      parallax: [B] median over the matches of the inverse depth that this translation implies; 0 without translation.
      misfit: [B] median distance of the matches from what the motion permits, pixels.
    """

    pose: tf.Tensor
    parallax: tf.Tensor
    misfit: tf.Tensor


def motion_from_flow(flow: tf.Tensor, opposite: tf.Tensor, intrinsics: tf.Tensor) -> FlowMotion:
    """Returns the rigid motion that flow speaks for; no gradient passes.

    Iteratively reweighted Gauss-Newton on the Sampson distance of matches on a grid of both frames, from translations
    along each of the three axes; the start with the smallest misfit goes on. The robust scale is the median residual,
    so that moving objects and wrong matches have little say while they are fewer than half. What its return contradicts
    counts less. The sign of the translation is the one that puts the points before the camera.

    Args:
      flow: [B, H, W, 2] F_ab, pixels.
      opposite: [B, H, W, 2] F_ba, pixels.
      intrinsics: [B, 3, 3] K of both frames.

    Source: Hartley and Zisserman, Multiple View Geometry, 11.4.3 and A6.8; the weights are Geman and McClure's.
    """
    matches = _matches(*(tf.stop_gradient(x) for x in (flow, opposite, intrinsics)))
    count, starts = dimension(flow, 0), len(STARTS)
    all_starts = Matches(*(tf.repeat(x, starts, axis=0) for x in matches))
    poses = pose_from_rotation_translation(tf.eye(3, batch_shape=[starts * count]), tf.tile(STARTS, [count, 1]))
    (poses,) = repeated(lambda at: (_improved(at, all_starts),), (poses,), FIRST_ITERATIONS)
    misfit = tf.reshape(_structure(poses, all_starts)[1], [count, starts])
    pose = tf.gather(poses, tf.argmin(misfit, axis=1, output_type=tf.int32) + starts * tf.range(count))
    (pose,) = repeated(lambda at: (_improved(at, matches),), (pose,), LAST_ITERATIONS)
    parallax, misfit = _structure(pose, matches)
    direction = translation_of(pose) * tf.where(parallax < 0, -1.0, 1.0)[:, tf.newaxis]
    return FlowMotion(pose_from_rotation_translation(rotation_of(pose), direction), tf.abs(parallax), misfit)


def motion_covariance(flow: tf.Tensor, opposite: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> tf.Tensor:
    """Returns the covariance of a motion, [B, 6, 6]: of a rotation after R, radians, and of the direction of t.

    The inverse of the Gauss-Newton information matrix, times the square of CORRELATION times the robust scale.

    Args:
      flow, opposite, intrinsics: as for motion_from_flow.
      pose: [B, 4, 4] T_ab, with a translation of any length.

    Source: Hartley and Zisserman, Multiple View Geometry, 5.2.2.
    """
    direction = tf.math.l2_normalize(translation_of(pose), axis=-1)
    matches = _matches(flow, opposite, intrinsics)
    normal, _, scale = _normal_equations(pose_from_rotation_translation(rotation_of(pose), direction), matches)
    normal = tf.cast(normal, tf.float64)  # in single precision its inverse would not be symmetric
    inverse = solve_positive(normal, tf.zeros_like(normal) + tf.eye(6, dtype=normal.dtype))
    return tf.square(CORRELATION * scale)[:, tf.newaxis] * tf.cast(inverse, scale.dtype)


def _matches(flow: tf.Tensor, opposite: tf.Tensor, intrinsics: tf.Tensor) -> Matches:
    """The flow on a coarse grid of frame a and the opposite flow on that of frame b, as one list of rays."""
    height, width = height_and_width(flow)
    step = tf.maximum(height // ROWS, 1)
    start = step // 2

    def ends(of: tf.Tensor, back: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # Of images of any size, where the step is unknown, TensorFlow does not even know the rank of what is taken.
        taken = tf.ensure_shape(of[:, start::step, start::step], [None, None, None, 2])
        begin = pixel_grid(height, width)[start::step, start::step] + tf.zeros_like(taken)
        begin = tf.ensure_shape(begin, [None, None, None, 2])
        returned, valid = warp(back, begin + taken)
        certain = valid / (1 + tf.reduce_sum(tf.square((taken + returned) / RETURN_ERROR), axis=-1, keepdims=True))
        return _listed(begin), _listed(begin + taken), _listed(certain)[..., 0]

    (from_a, to_b, weight_a), (from_b, to_a, weight_b) = ends(flow, opposite), ends(opposite, flow)
    focal, principal_point = (x[..., tf.newaxis] for x in focal_and_principal_point(intrinsics))

    def rays(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        image = (tf.linalg.matrix_transpose(tf.concat([first, second], axis=1)) - principal_point) / focal
        return tf.concat([image, tf.ones_like(image[:, :1])], axis=1)

    rays_a, rays_b = rays(from_a, to_a), rays(to_b, from_b)
    products = tf.reshape(rays_b[:, :, tf.newaxis] * rays_a[:, tf.newaxis], [dimension(rays_a, 0), 9, -1])
    return Matches(rays_a, rays_b, products, focal, tf.concat([weight_a, weight_b], axis=1))


def _listed(image: tf.Tensor) -> tf.Tensor:
    return tf.reshape(image, [dimension(image, 0), -1, image.shape[-1]])


def _cross_matrix(vectors: tf.Tensor) -> tf.Tensor:
    """[t]x, [B, 3, 3], of t, [B, 3]."""
    return tf.tensordot(vectors, tf.constant(CROSS, vectors.dtype), 1)


def _residual(pose: tf.Tensor, matches: Matches) -> tf.Tensor:
    """Signed Sampson distances in pixels, then their derivatives by a rotation after R and by t: [B, 7, N].

    The derivatives hold the denominator constant: it only changes where the residual is far from zero.
    """
    across = _cross_matrix(translation_of(pose))
    essential = tf.matmul(across, rotation_of(pose))
    by_translation = tf.matmul(tf.constant(CROSS, pose.dtype), rotation_of(pose)[:, tf.newaxis])
    by_rotation = tf.matmul(across[:, tf.newaxis], by_translation)
    matrices = tf.concat([essential[:, tf.newaxis], by_rotation, by_translation], axis=1)
    values = tf.matmul(tf.reshape(matrices, [dimension(pose, 0), 7, 9]), matches.products)
    line_b = tf.matmul(essential[:, :2], matches.rays_a)
    line_a = tf.matmul(essential[..., :2], matches.rays_b, transpose_a=True)
    slopes = tf.square(line_a / matches.focal) + tf.square(line_b / matches.focal)
    return values * tf.math.rsqrt(tf.reduce_sum(slopes, axis=1, keepdims=True) + 1e-12)


def _normal_equations(pose: tf.Tensor, matches: Matches) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of a reweighted Gauss-Newton step, [B, 6, 6] and [B, 6], which leaves |t| as it is; [B, 1] the robust scale."""
    rows = _residual(pose, matches)
    residual = rows[:, 0]
    scale = tf.maximum(_median(tf.abs(residual), matches.weight), MIN_NOISE)[:, tf.newaxis]
    weight = matches.weight / tf.square(1 + tf.square(residual / scale))
    products = tf.matmul(rows, rows * weight[:, tf.newaxis], transpose_b=True)
    normal, right = products[:, 1:, 1:], products[:, 1:, 0]
    translation = translation_of(pose)
    trace = tf.linalg.trace(normal)[:, tf.newaxis, tf.newaxis] + 1e-12
    along = tf.pad(translation, [[0, 0], [3, 0]])
    normal += trace * (along[:, tf.newaxis] * along[..., tf.newaxis] + DAMPING * tf.eye(6))
    return normal, right, scale


def _improved(pose: tf.Tensor, matches: Matches) -> tf.Tensor:
    """One reweighted Gauss-Newton step towards the likeliest motion; the translation moves on the unit sphere."""
    normal, right, _ = _normal_equations(pose, matches)
    change = -solve_positive(normal, right[..., tf.newaxis])[..., 0]
    return pose_from_rotation_translation(
        tf.matmul(rotation_from_axis_angle(change[:, :3]), rotation_of(pose)),
        tf.math.l2_normalize(translation_of(pose) + change[:, 3:], axis=-1),
    )


def _structure(pose: tf.Tensor, matches: Matches) -> tuple[tf.Tensor, tf.Tensor]:
    """The median of the matches' inverse depths, [B], and that of their distances from what the motion permits, pixels.

    A match whose inverse depth has the other sign than the median is compared with the point at infinity.
    """
    rays_b, translation = matches.rays_b, translation_of(pose)[..., tf.newaxis]
    turned = tf.matmul(rotation_of(pose), matches.rays_a)
    towards = tf.matmul(_cross_matrix(translation_of(pose)), rays_b)
    # Least squares of r_b x (R r_a + t / Z) = 0; (t x r_b) (r_b x R r_a), without the cross products.
    seen = _dot(rays_b, turned) * _dot(translation, rays_b) - _dot(rays_b, rays_b) * _dot(translation, turned)
    inverse_depth = seen / tf.maximum(_dot(towards, towards), 1e-9)
    parallax = _median(inverse_depth, matches.weight)
    infinity = turned[:, :2] / tf.maximum(turned[:, 2:], 0.1)
    distance = tf.norm((rays_b[:, :2] - infinity) * matches.focal, axis=1)
    in_front = inverse_depth * parallax[:, tf.newaxis] >= 0
    misfit = tf.where(in_front, tf.abs(_residual(pose, matches)[:, 0]), distance)
    return parallax, _median(misfit, matches.weight)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Scalar products, [B, N], of vectors in planes, [B, 3, N]."""
    return tf.reduce_sum(a * b, axis=1)


def _median(values: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """The median of the values, [B, N], whose weight is not 0: [B]; 0 where there are none."""
    ordered = tf.sort(tf.where(weight > 0, values, values.dtype.max), axis=1)
    known = tf.reduce_sum(tf.cast(weight > 0, tf.int32), axis=1)
    middle = tf.gather(ordered, tf.maximum(known - 1, 0) // 2, batch_dims=1)
    return tf.where(known > 0, middle, 0.0)
