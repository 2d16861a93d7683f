"""Depth taught by what flow and motion triangulate (ours, after Zhao et al., CVPR 2020)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.sampling import pyramid
from glnet_tf.geometry.triangulation import Triangulation
from glnet_tf.structures import SCALES

# Errors of the flow along the epipolar line, and the distance from it that speaks against a match, pixels; change of
# the image along that line that makes the flow certain there, grey values from 0 to 1 per pixel.
NOISE, MISFIT, TEXTURE = 1.0, 0.4, 0.02
WINDOW = 5


class Taught(NamedTuple):
    """What a depth at one level learns from; constants.

    Attributes:
      log_disparity: [B, H, W, 1] logarithm of the triangulated inverse depth, up to a summand for each image.
      weight: [B, H, W, 1] how far it is to be trusted, from 0 to 1.
    """

    log_disparity: tf.Tensor
    weight: tf.Tensor


def triangulation_weight(found: Triangulation, visible: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Returns how far a triangulated inverse depth is to be trusted, [B, H, W, 1] from 0 to 1.

    Its relative error is the flow's error over the parallax; a match away from its epipolar line is a wrong one, or on
    something that moves by itself; where the image does not change along that line, as on a bare road, the flow is a
    guess from the surroundings, which falls short of fast motion.

    Args:
      found: at full size.
      visible: [B, H, W, 1] 1.0 where the flow is valid and not occluded.
      image: [B, H, W, 3] frame a.
    """
    dy, dx = tf.image.image_gradients(tf.reduce_mean(image, axis=-1, keepdims=True))
    change = tf.reduce_sum(tf.concat([dx, dy], axis=-1) * found.along, axis=-1, keepdims=True)
    texture = tf.nn.avg_pool2d(tf.square(change), WINDOW, 1, "SAME")
    certainty = found.parallax / NOISE / (1 + tf.square(found.misfit / MISFIT))
    trust = tf.square(certainty) / (1 + tf.square(certainty)) * texture / (texture + TEXTURE**2)
    return visible * tf.where(found.disparity > 0, trust, 0.0)


def taught_pyramid(found: Triangulation, visible: tf.Tensor, image: tf.Tensor) -> list[Taught]:
    """Returns what every level learns: coarse levels the weighted mean of the finest, as coarse flow is far less exact.

    Arguments as for triangulation_weight.
    """
    weight = tf.stop_gradient(triangulation_weight(found, visible, image))
    log_disparity = tf.math.log(tf.where(weight > 0, tf.stop_gradient(found.disparity), tf.ones_like(weight)))
    sums = pyramid(tf.concat([weight * log_disparity, weight], axis=-1), SCALES)
    return [Taught(tf.math.divide_no_nan(x[..., :1], x[..., 1:]), x[..., 1:]) for x in sums]


def triangulation_loss(disparity: tf.Tensor, taught: Taught) -> tf.Tensor:
    """Returns the weighted mean of |log(disparity / triangulated)|, up to one factor for each image, [B].

    The photometric terms say nothing where there is no texture, and little where the error is more than a pixel. Of the
    scale, which depth and motion share, this says nothing. Flow and motion are held constant: they cannot satisfy it by
    giving up what they know.

    Args:
      disparity: [B, H, W, 1] predicted inverse depth.
      taught: at its level.

    Source: Zhao, Liu, Shu, Liu, "Towards Better Generalization: Joint Depth-Pose Learning without PoseNet", CVPR 2020.
    """

    def mean(values: tf.Tensor) -> tf.Tensor:
        sums = tf.reduce_sum(taught.weight * values, axis=[1, 2, 3], keepdims=True)
        return tf.math.divide_no_nan(sums, tf.reduce_sum(taught.weight, axis=[1, 2, 3], keepdims=True))

    error = tf.math.log(disparity) - taught.log_disparity
    return mean(tf.abs(error - mean(error)))[:, 0, 0, 0]
