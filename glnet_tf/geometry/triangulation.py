"""Triangulation: what a flow and a camera motion say about inverse depth, pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import focal_and_principal_point, pixel_grid
from glnet_tf.geometry.transform import rotation_of, transform_vectors, translation_of
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
    focal, principal_point = (x[:, tf.newaxis, tf.newaxis] for x in focal_and_principal_point(intrinsics))
    grid = pixel_grid(*height_and_width(flow), flow.dtype)
    ray_a = (grid - principal_point) / focal
    ray_b = (grid + flow - principal_point) / focal
    homogeneous = tf.concat([ray_a, tf.ones_like(ray_a[..., :1])], axis=-1)
    turned = transform_vectors(rotation_of(pose)[:, tf.newaxis], homogeneous)
    translation = translation_of(pose)[:, tf.newaxis, tf.newaxis]
    # p_b is the image of R r_a + rho t: (R r_a)_xy + rho t_xy = r_b ((R r_a)_z + rho t_z), in pixels.
    direction = focal * (translation[..., :2] - ray_b * translation[..., 2:])
    offset = focal * (ray_b * turned[..., 2:] - turned[..., :2])
    slope = tf.norm(direction, axis=-1, keepdims=True)
    along = tf.math.divide_no_nan(direction, slope)
    parallax = tf.reduce_sum(along * offset, axis=-1, keepdims=True)
    return Triangulation(
        parallax=parallax,
        slope=slope,
        misfit=tf.norm(offset - along * parallax, axis=-1, keepdims=True),
        along=along,
    )
