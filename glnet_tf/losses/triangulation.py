"""Depth that learns from what flow and motion triangulate (ours, after Zhao et al., CVPR 2020)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.fast_ops import separated, surroundings_mean
from glnet_tf.geometry.sampling import pyramid
from glnet_tf.geometry.triangulation import Triangulation
from glnet_tf.structures import SCALES

# Errors of the flow along the epipolar line, and the distance from it that speaks against a match, pixels; change of
# the image along that line that makes the flow certain there, grey values from 0 to 1 per pixel.
NOISE, MISFIT, TEXTURE = 1.0, 0.4, 0.02
WINDOW = 5


class TriangulationTarget(NamedTuple):
    """What a depth at one level learns from; constants.

    Attributes:
      parallax: [B, H, W, 1] as triangulated, pixels of the finest level.
      slope: [B, H, W, 1] parallax of inverse depth 1.
      weight: [B, H, W, 1] how far the match is to be trusted, from 0 to 1.
    """

    parallax: tf.Tensor
    slope: tf.Tensor
    weight: tf.Tensor


def triangulation_weight(found: Triangulation, visible: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Returns how far a triangulated parallax is to be trusted, [B, H, W, 1] from 0 to 1.

    A match away from its epipolar line is a wrong one, or on something that moves by itself; where the image does not
    change along that line, as on a bare road, the flow is a guess from the surroundings, which falls short of fast
    motion. The parallax itself has no say: what is far would count where an error of the flow brings it closer.

    Args:
      found: at full size.
      visible: [B, H, W, 1] 1.0 where the flow is valid and not occluded.
      image: [B, H, W, 3] frame a.
    """
    dy, dx = tf.image.image_gradients(tf.reduce_mean(image, axis=-1, keepdims=True))
    along_x, along_y = (plane[..., tf.newaxis] for plane in separated(found.along))
    change = dx * along_x + dy * along_y
    texture = surroundings_mean(tf.square(change), WINDOW)
    return visible * texture / (texture + TEXTURE**2) / tf.square(1 + tf.square(found.misfit / MISFIT))


def target_pyramid(found: Triangulation, visible: tf.Tensor, image: tf.Tensor) -> list[TriangulationTarget]:
    """Returns what every level learns: coarse levels the weighted mean of the finest, as coarse flow is far less exact.

    Arguments as for triangulation_weight.
    """
    weight = triangulation_weight(found, visible, image)
    weighted = tf.stop_gradient(tf.concat([weight * found.parallax, weight * found.slope, weight], axis=-1))
    levels = (tf.split(sums, 3, axis=-1) for sums in pyramid(weighted, SCALES))
    return [TriangulationTarget(tf.math.divide_no_nan(p, w), tf.math.divide_no_nan(s, w), w) for p, s, w in levels]


def triangulation_loss(disparity: tf.Tensor, target: TriangulationTarget) -> tf.Tensor:
    """Returns the weighted mean error of the parallax that a depth predicts, up to one factor for each image, [B].

    e = |predicted - triangulated| / (NOISE + predicted), no gradient through the denominator: a relative error where
    the parallax is large; far away, where it drowns in the flow's noise, an error in pixels, which noise leaves without
    bias. An error relative to the triangulated parallax, or its logarithm, would pull what is far too near.

    The photometric terms say nothing where there is no texture, and little where the error is more than a pixel. Of the
    scale, which depth and motion share, this says nothing. Flow and motion are held constant: they cannot satisfy it by
    giving up what they know.

    Args:
      disparity: [B, H, W, 1] predicted inverse depth.
      target: at its level.

    Source: after Zhao, Liu, Shu, Liu, "Towards Better Generalization: Joint Depth-Pose Learning without PoseNet", CVPR
    2020.
    """

    def total(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(values, axis=[1, 2, 3], keepdims=True)

    predicted = target.slope * disparity
    relative = target.weight / tf.square(NOISE + tf.abs(target.parallax))
    factor = tf.math.divide_no_nan(
        total(relative * predicted * target.parallax), total(relative * tf.square(predicted))
    )
    predicted *= factor
    share = target.weight / (NOISE + tf.stop_gradient(tf.abs(predicted)))
    mean = tf.math.divide_no_nan(1.0, tf.reduce_sum(target.weight, axis=[1, 2, 3]))
    return tf.reduce_sum(share * tf.abs(predicted - target.parallax), axis=[1, 2, 3]) * mean
