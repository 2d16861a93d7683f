"""Triangulation: what a flow and a camera motion say about inverse depth, pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import focal_and_principal_point, pixel_grid
from glnet_tf.geometry.fast_ops import joined, separated
from glnet_tf.geometry.rigid import turned_rays
from glnet_tf.geometry.transform import translation_of
from glnet_tf.structures import height_and_width


class Triangulation(NamedTuple):
    """What a flow says about the depth of frame a.

    Attributes:
      parallax: [B, H, W, 1] pixels from the image of the point at infinity to p_b, along the epipolar line; negative
        where the point would lie behind the camera.
      slope: [B, H, W, 1] parallax of inverse depth 1: inverse depth is parallax / slope; 0 where there is no line.
      misfit: [B, H, W, 1] distance of p_b from the closest point that the motion permits, pixels.
      along: [B, H, W, 2] unit vector of the epipolar line at p_b, towards nearer points; 0 where there is no line.
    """

    parallax: tf.Tensor
    slope: tf.Tensor
    misfit: tf.Tensor
    along: tf.Tensor


def triangulate(flow: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> Triangulation:
    """Returns the least-squares parallax of every pixel of frame a.

    Args:
      flow: [B, H, W, 2] F_ab, pixels.
      intrinsics: [B, 3, 3] K, in pixels of this size, of both frames.
      pose: [B, 4, 4] T_ab.
    """
    height, width = height_and_width(flow)
    grid = pixel_grid(height, width, flow.dtype)
    focal, principal_point = focal_and_principal_point(intrinsics)
    turned = tf.reshape(turned_rays(grid, intrinsics, pose), [-1, 3, height, width])
    translation = translation_of(pose)

    # p_b is the image of R r_a + rho t: (R r_a)_xy + rho t_xy = r_b ((R r_a)_z + rho t_z); in pixels, along x and y.
    directions, offsets = [], []
    for axis, pixels in enumerate(separated(grid + flow)):
        f, c, t, t_z = map(
            _of_images, (focal[:, axis], principal_point[:, axis], translation[:, axis], translation[:, 2])
        )
        directions.append(f * t - (pixels - c) * t_z)
        offsets.append((pixels - c) * turned[:, 2] - f * turned[:, axis])
    slope = _length(*directions)
    along = [tf.math.divide_no_nan(direction, slope) for direction in directions]
    parallax = along[0] * offsets[0] + along[1] * offsets[1]
    misfit = _length(*(offset - unit * parallax for offset, unit in zip(offsets, along)))
    parallax, slope, misfit = (x[..., tf.newaxis] for x in (parallax, slope, misfit))
    return Triangulation(parallax, slope, misfit, joined(*along))


def parallax_error(
    flow: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor, found: Triangulation, covariance: tf.Tensor
) -> tf.Tensor:
    """Returns the standard deviation of the parallax, pixels, by the uncertainty of the motion, [B, H, W, 1].

    First order; what a change of the direction of t does to the slope counts as parallax, so that the error relative to
    the parallax is that of inverse depth.

    Args:
      flow, intrinsics, pose: as for triangulate, which found this.
      covariance: [B, 6, 6] of the motion, see motion.motion_covariance.
    """
    height, width = height_and_width(flow)
    focal, principal_point = (
        [_of_images(x) for x in tf.unstack(xy, axis=-1)] for xy in focal_and_principal_point(intrinsics)
    )
    matched = separated(pixel_grid(height, width, flow.dtype) + flow)
    x, y = ((pixels - c) / f for pixels, f, c in zip(matched, focal, principal_point))
    u, v = (unit * f for unit, f in zip(separated(found.along), focal))
    towards = x * u + y * v
    length = _of_images(tf.norm(translation_of(pose), axis=-1))
    share = length * tf.math.divide_no_nan(found.parallax, found.slope)[..., 0]
    by_rotation = -y * towards - v, x * towards + u, x * v - y * u
    by_direction = share * u, share * v, -share * towards
    derivatives = tf.reshape(tf.stack(by_rotation + by_direction, axis=1), [-1, 6, height * width])
    variance = tf.reduce_sum(derivatives * tf.matmul(covariance, derivatives), axis=1)
    # Rounding may make it negative.
    return tf.sqrt(tf.maximum(tf.reshape(variance, [-1, height, width, 1]), 0.0))


def _of_images(values: tf.Tensor) -> tf.Tensor:
    """Numbers of images, [B], beside their maps, [B, 1, 1]."""
    return values[:, tf.newaxis, tf.newaxis]


def _length(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.square(x) + tf.square(y))
