"""The motion of a camera from optical flow alone: the rigid motion whose epipolar constraint the flow obeys best."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import focal_and_principal_point, pixel_grid
from glnet_tf.geometry.fast_ops import repeated
from glnet_tf.geometry.sampling import warp
from glnet_tf.geometry.transform import (
    pose_from_rotation_translation,
    rotation_from_axis_angle,
    rotation_of,
    transform_vectors,
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
# Of the normal equations' trace: holds what the flow leaves undetermined where it is.
DAMPING = 1e-6


class Matches(NamedTuple):
    """Corresponding rays of two frames.

    Attributes:
      rays_a, rays_b: [B, N, 3] K^-1 p, z = 1.
      focal: [B, 1, 2] (fx, fy) in pixels.
      weight: [B, N] how far the match may be believed, from 0 (outside of an image) to 1.
    """

    rays_a: tf.Tensor
    rays_b: tf.Tensor
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
    count, starts = tf.shape(flow)[0], len(STARTS)
    all_starts = Matches(*(tf.repeat(x, starts, axis=0) for x in matches))
    poses = pose_from_rotation_translation(tf.eye(3, batch_shape=[starts * count]), tf.tile(STARTS, [count, 1]))
    (poses,) = repeated(lambda at: (_improved(at, all_starts),), (poses,), FIRST_ITERATIONS)
    misfit = tf.reshape(_structure(poses, all_starts)[1], [count, starts])
    pose = tf.gather(poses, tf.argmin(misfit, axis=1, output_type=tf.int32) + starts * tf.range(count))
    (pose,) = repeated(lambda at: (_improved(at, matches),), (pose,), LAST_ITERATIONS)
    parallax, misfit = _structure(pose, matches)
    direction = translation_of(pose) * tf.where(parallax < 0, -1.0, 1.0)[:, tf.newaxis]
    return FlowMotion(pose_from_rotation_translation(rotation_of(pose), direction), tf.abs(parallax), misfit)


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
    focal, principal_point = (x[:, tf.newaxis] for x in focal_and_principal_point(intrinsics))

    def rays(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        image = (tf.concat([first, second], axis=1) - principal_point) / focal
        return tf.concat([image, tf.ones_like(image[..., :1])], axis=-1)

    return Matches(rays(from_a, to_a), rays(to_b, from_b), focal, tf.concat([weight_a, weight_b], axis=1))


def _listed(image: tf.Tensor) -> tf.Tensor:
    return tf.reshape(image, [dimension(image, 0), -1, image.shape[-1]])


def _residual(pose: tf.Tensor, matches: Matches) -> tuple[tf.Tensor, tf.Tensor]:
    """Signed Sampson distances, [B, N] in pixels, and their derivatives, [B, N, 6], by a rotation after R and by t.

    The derivatives hold the denominator constant: it only changes where the residual is far from zero.
    """
    translation = translation_of(pose)[:, tf.newaxis] + tf.zeros_like(matches.rays_a)
    turned = transform_vectors(rotation_of(pose), matches.rays_a)
    normal = tf.linalg.cross(turned, matches.rays_b)
    line_b = tf.linalg.cross(translation, turned)
    line_a = transform_vectors(
        tf.linalg.matrix_transpose(rotation_of(pose)), tf.linalg.cross(matches.rays_b, translation)
    )
    gradient = sum(tf.reduce_sum(tf.square(line[..., :2] / matches.focal), axis=-1) for line in (line_a, line_b))
    per_pixel = tf.math.rsqrt(gradient + 1e-12)
    by_rotation = matches.rays_b * _dot(translation, turned) - translation * _dot(turned, matches.rays_b)
    derivative = tf.concat([by_rotation, normal], axis=-1) * per_pixel[..., tf.newaxis]
    return _dot(translation, normal)[..., 0] * per_pixel, derivative


def _improved(pose: tf.Tensor, matches: Matches) -> tf.Tensor:
    """One reweighted Gauss-Newton step towards the likeliest motion; the translation moves on the unit sphere."""
    residual, derivative = _residual(pose, matches)
    scale = tf.maximum(_median(tf.abs(residual), matches.weight), MIN_NOISE)[:, tf.newaxis]
    weight = matches.weight / tf.square(1 + tf.square(residual / scale))
    normal = tf.einsum("bn,bni,bnj->bij", weight, derivative, derivative)
    right = tf.einsum("bn,bni,bn->bi", weight, derivative, residual)
    translation = translation_of(pose)
    trace = tf.linalg.trace(normal)[:, tf.newaxis, tf.newaxis] + 1e-12
    along = tf.pad(translation, [[0, 0], [3, 0]])
    normal += trace * (tf.einsum("bi,bj->bij", along, along) + DAMPING * tf.eye(6))
    change = -tf.linalg.solve(normal, right[..., tf.newaxis])[..., 0]
    return pose_from_rotation_translation(
        tf.matmul(rotation_from_axis_angle(change[:, :3]), rotation_of(pose)),
        tf.math.l2_normalize(translation + change[:, 3:], axis=-1),
    )


def _structure(pose: tf.Tensor, matches: Matches) -> tuple[tf.Tensor, tf.Tensor]:
    """The median of the matches' inverse depths, [B], and that of their distances from what the motion permits, pixels.

    A match whose inverse depth has the other sign than the median is compared with the point at infinity.
    """
    turned = transform_vectors(rotation_of(pose), matches.rays_a)
    translation = translation_of(pose)[:, tf.newaxis] + tf.zeros_like(turned)
    # Least squares of rays_b x (R rays_a + t / Z) = 0.
    towards = tf.linalg.cross(translation, matches.rays_b)
    inverse_depth = _dot(towards, tf.linalg.cross(matches.rays_b, turned)) / tf.maximum(_dot(towards, towards), 1e-9)
    parallax = _median(inverse_depth[..., 0], matches.weight)
    infinity = turned[..., :2] / tf.maximum(turned[..., 2:], 0.1)
    distance = tf.norm((matches.rays_b[..., :2] - infinity) * matches.focal, axis=-1)
    in_front = inverse_depth[..., 0] * parallax[:, tf.newaxis] >= 0
    misfit = tf.where(in_front, tf.abs(_residual(pose, matches)[0]), distance)
    return parallax, _median(misfit, matches.weight)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, axis=-1, keepdims=True)


def _median(values: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """The median of the values, [B, N], whose weight is not 0: [B]; 0 where there are none."""
    ordered = tf.sort(tf.where(weight > 0, values, values.dtype.max), axis=1)
    known = tf.reduce_sum(tf.cast(weight > 0, tf.int32), axis=1)
    middle = tf.gather(ordered, tf.maximum(known - 1, 0) // 2, batch_dims=1)
    return tf.where(known > 0, middle, 0.0)
