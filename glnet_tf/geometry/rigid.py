"""The rigid correspondence: where depth and camera motion send every pixel of a frame."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import MIN_DEPTH, pixel_grid, project, unproject
from glnet_tf.geometry.transform import transform_points
from glnet_tf.geometry.visibility import inside


class RigidCorrespondence(NamedTuple):
    """Frame a's pixels seen from camera b.

    Attributes:
      pixels: [B, H, W, 2] p_rig = pi(K (R X + t)), coordinates (x, y) in frame b.
      points: [B, H, W, 3] R X + t in the frame of camera b.
      in_front: [B, H, W, 1] 1.0 where the point lies in front of camera b.
      valid: [B, H, W, 1] 1.0 where, besides, it lies inside its image.
    """

    pixels: tf.Tensor
    points: tf.Tensor
    in_front: tf.Tensor
    valid: tf.Tensor


def rigid_correspondence(depth: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> RigidCorrespondence:
    """Projects frame a into camera b (GLNet, section 3: the rigid correspondence).

    Args:
      depth: [B, H, W, 1] D_a.
      intrinsics: [B, 3, 3] K, in pixels of this size, of both frames.
      pose: [B, 4, 4] T_ab in the unit of `depth`.
    """
    height, width = tf.shape(depth)[1], tf.shape(depth)[2]
    points = transform_points(pose, unproject(pixel_grid(height, width, depth.dtype), depth, intrinsics))
    pixels = project(points, intrinsics)
    in_front = tf.cast(points[..., 2:] > MIN_DEPTH, depth.dtype)
    return RigidCorrespondence(pixels, points, in_front, in_front * inside(pixels, height, width))


def rigid_flow(depth: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> tf.Tensor:
    """Returns p_rig - p, [B, H, W, 2] in pixels: the flow that camera motion alone causes; see rigid_correspondence."""
    grid = pixel_grid(tf.shape(depth)[1], tf.shape(depth)[2], depth.dtype)
    return rigid_correspondence(depth, intrinsics, pose).pixels - grid
