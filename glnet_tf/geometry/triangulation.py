"""Triangulation: the inverse depth at which a flow fits a camera motion best, pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import focal_and_principal_point, pixel_grid
from glnet_tf.geometry.transform import rotation_of, transform_vectors, translation_of


class Triangulation(NamedTuple):
    """What a flow says about the depth of frame a.

    Attributes:
      disparity: [B, H, W, 1] inverse depth in the unit of the motion; negative where the point lies behind the camera.
      parallax: [B, H, W, 1] pixels by which this inverse depth moves p_b from the point at infinity; of its sign.
      misfit: [B, H, W, 1] distance of p_b from the closest point that the motion permits, pixels.
      along: [B, H, W, 2] unit vector of the epipolar line at p_b, towards nearer points; 0 where there is no line.
    """

    disparity: tf.Tensor
    parallax: tf.Tensor
    misfit: tf.Tensor
    along: tf.Tensor


def triangulate(flow: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> Triangulation:
    """Returns the least-squares inverse depth of every pixel of frame a.

    Args:
      flow: [B, H, W, 2] F_ab, pixels.
      intrinsics: [B, 3, 3] K, in pixels of this size, of both frames.
      pose: [B, 4, 4] T_ab.
    """
    focal, principal_point = (x[:, tf.newaxis, tf.newaxis] for x in focal_and_principal_point(intrinsics))
    grid = pixel_grid(tf.shape(flow)[1], tf.shape(flow)[2], flow.dtype)
    ray_a = (grid - principal_point) / focal
    ray_b = (grid + flow - principal_point) / focal
    homogeneous = tf.concat([ray_a, tf.ones_like(ray_a[..., :1])], axis=-1)
    turned = transform_vectors(rotation_of(pose)[:, tf.newaxis], homogeneous)
    translation = translation_of(pose)[:, tf.newaxis, tf.newaxis]
    # p_b is the image of R r_a + rho t: (R r_a)_xy + rho t_xy = r_b ((R r_a)_z + rho t_z), in pixels.
    slope = focal * (translation[..., :2] - ray_b * translation[..., 2:])
    offset = focal * (ray_b * turned[..., 2:] - turned[..., :2])
    length = tf.norm(slope, axis=-1, keepdims=True)
    along = tf.math.divide_no_nan(slope, length)
    parallax = tf.reduce_sum(along * offset, axis=-1, keepdims=True)
    return Triangulation(
        disparity=tf.math.divide_no_nan(parallax, length),
        parallax=parallax,
        misfit=tf.norm(offset - along * parallax, axis=-1, keepdims=True),
        along=along,
    )
