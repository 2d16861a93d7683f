"""Depth held to evidence: to what flow and motion prove of it (ours, after Zhao et al., CVPR 2020)."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.evidence import CONTRADICTION, Evidence, robust_centre
from glnet_tf.structures import height_and_width

# What a scale that differs from the evidence's costs, relative to its logarithm. Of the scale evidence says nothing,
# but all images of a camera should be given in one.
SCALE = 0.05
# Errors of the logarithm below this cost about their square: evidence is no more exact than that.
PRECISION = 0.05


def evidence_loss(disparities: tuple[tf.Tensor, ...], found: Evidence) -> tf.Tensor:
    """Returns the weighted mean of C log(1 + d / C), d = sqrt(e^2 + P^2) - P, [N]; e is the error of log inverse depth
    about one scale an image.

    Every level, enlarged to the evidence's size, counts half of the next finer one. The kernel leaves what is far off,
    as it moves by itself or is no match, rather as it is. Evidence is held constant: depth cannot satisfy it by making
    flow and motion give up what they know.

    Args:
      disparities: [N, h, w, 1] inverse depth at every level, or at the finest only.
      found: [N, H, W, 1] at the finest level's size.

    Source: after Zhao, Liu, Shu, Liu, "Towards Better Generalization: Joint Depth-Pose Learning without PoseNet", CVPR
    2020.
    """
    size = height_and_width(found.weight)
    total = tf.reduce_sum(found.weight, axis=[1, 2, 3])

    def mean(values: tf.Tensor) -> tf.Tensor:
        return tf.math.divide_no_nan(tf.reduce_sum(found.weight * values, axis=[1, 2, 3]), total)

    terms = []
    for level, disparity in enumerate(disparities):
        ratio = tf.math.log(tf.image.resize(disparity, size) if level else disparity) - found.log_disparity
        centre = tf.stop_gradient(robust_centre(ratio, found.weight, CONTRADICTION))
        distance = tf.sqrt(tf.square(ratio - centre) + PRECISION**2) - PRECISION
        error = CONTRADICTION * tf.math.log1p(distance / CONTRADICTION)
        terms.append((mean(error) + SCALE * tf.abs(mean(ratio))) / 2.0**level)
    return tf.add_n(terms)
