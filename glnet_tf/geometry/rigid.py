"""The rigid correspondence: where depth and camera motion send every pixel of a frame."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import MIN_DEPTH, focal_and_principal_point, inverse_intrinsics, pixel_grid
from glnet_tf.geometry.fast_ops import joined, separated
from glnet_tf.geometry.transform import rotation_of, translation_of
from glnet_tf.structures import dimension, height_and_width


class RigidCorrespondence(NamedTuple):
    """Frame a's pixels seen from camera b.

    Attributes:
      pixels: [B, H, W, 2] p_rig = pi(K (R X + t)), coordinates (x, y) in frame b.
      planes: [B, 3, H, W] x, y, z of R X + t in the frame of camera b.
      in_front: [B, H, W, 1] 1.0 where the point lies in front of camera b.
      valid: [B, H, W, 1] 1.0 where, besides, it lies inside its image.
    """

    pixels: tf.Tensor
    planes: tf.Tensor
    in_front: tf.Tensor
    valid: tf.Tensor

    @property
    def depth(self) -> tf.Tensor:
        """[B, H, W, 1] z of the points."""
        return self.planes[:, 2, ..., tf.newaxis]


def rigid_correspondence(depth: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> RigidCorrespondence:
    """Projects frame a into camera b (GLNet, section 3: the rigid correspondence).

    Args:
      depth: [B, H, W, 1] D_a.
      intrinsics: [B, 3, 3] K, in pixels of this size, of both frames.
      pose: [B, 4, 4] T_ab in the unit of `depth`.
    """
    # The same as project(transform_points(pose, unproject(grid, depth, K)), K), in planes of one coordinate each: on a
    # CPU three times faster.
    count = dimension(depth, 0)
    height, width = height_and_width(depth)
    rays = turned_rays(pixel_grid(height, width, depth.dtype), intrinsics, pose)
    planes = rays * tf.reshape(depth, [count, 1, -1])
    planes += translation_of(pose)[..., tf.newaxis]
    x, y, z = tf.unstack(planes, axis=1)
    focal, principal_point = focal_and_principal_point(intrinsics)
    nearness = tf.math.reciprocal(tf.maximum(z, MIN_DEPTH))
    x, y = (
        plane * nearness * focal[:, axis : axis + 1] + principal_point[:, axis : axis + 1]
        for axis, plane in enumerate((x, y))
    )
    pixels = tf.ensure_shape(tf.reshape(joined(x, y), [count, height, width, 2]), [*depth.shape[:3], 2])
    planes = tf.ensure_shape(tf.reshape(planes, [count, 3, height, width]), [depth.shape[0], 3, *depth.shape[1:3]])
    last_x, last_y = (tf.cast(size - 1, depth.dtype) for size in (width, height))
    in_front = z > MIN_DEPTH
    valid = in_front & (x >= 0) & (x <= last_x) & (y >= 0) & (y <= last_y)
    masks = (tf.reshape(tf.cast(mask, depth.dtype), [count, height, width, 1]) for mask in (in_front, valid))
    return RigidCorrespondence(pixels, planes, *masks)


def turned_rays(grid: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> tf.Tensor:
    """Returns R K^-1 p for every pixel, [B, 3, H * W], in planes of one coordinate each.

    Args:
      grid: [H, W, 2] coordinates p.
      intrinsics: [B, 3, 3] K.
      pose: [B, 4, 4], of which R.
    """
    x, y = (tf.reshape(plane, [-1]) for plane in separated(grid))
    matrices = tf.matmul(rotation_of(pose), inverse_intrinsics(intrinsics))
    rays = tf.matmul(tf.reshape(matrices, [-1, 3]), tf.stack([x, y, tf.ones_like(x)]))
    return tf.reshape(rays, [dimension(pose, 0), 3, -1])


def rigid_flow(depth: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> tf.Tensor:
    """Returns p_rig - p, [B, H, W, 2] in pixels: the flow that camera motion alone causes; see rigid_correspondence."""
    grid = pixel_grid(*height_and_width(depth), depth.dtype)
    return rigid_correspondence(depth, intrinsics, pose).pixels - grid
