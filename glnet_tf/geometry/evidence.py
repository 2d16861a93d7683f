"""Evidence: what flow proves about inverse depth, and how far it may be believed (ours).

It is taken from the networks' own flow, once, and never from flow that is being optimised: an optimisation that makes
flow and its return agree destroys the only sign of their errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.fast_ops import repeated, surroundings_mean
from glnet_tf.geometry.ground import Ground, fit_ground, plane_disparity
from glnet_tf.geometry.motion import motion_covariance
from glnet_tf.geometry.sampling import warp
from glnet_tf.geometry.triangulation import parallax_error, triangulate
from glnet_tf.structures import height_and_width

# Pixels of the size that flow is given at: how far a return may end from its start, and a match from its epipolar line,
# before it has a third of its weight; the errors of flow along the line, and their noise.
RETURN_ERROR, EPIPOLAR_ERROR, PARALLAX_ERROR, NOISE = 0.3, 0.5, 1.0, 0.3
# Parallax that drowns in it, as measured or as expected, pixels.
MIN_PARALLAX = 0.3
# Inverse depth is at least so much of the network's.
MIN_RATIO = 0.1
# Mean weight below which a pair counts less, and below half of which not at all: the camera stands, and what has
# parallax moves by itself.
MIN_PROVED = 0.03
# What contradicts the network's inverse depth by this factor (its logarithm) has a third of its weight: it moves by
# itself, or is no match; a quarter, where it is to be ground, with a sharper edge. Where the motion's uncertainty makes
# as large errors, evidence moves the network's inverse depth half the way.
CONTRADICTION, GROUND_CONTRADICTION = 0.4, 0.35
# Matches come in patches. Threads of them on bare road, where lane lines run along the motion, agree by chance: below
# this mean weight of its surroundings, pixels, a match has less than half of its own.
SUPPORT_WINDOW, MIN_SUPPORT = 15, 0.1
# Of two pairs that see the same point; and the share of a pair's weight that another must see to give it its scale.
DISAGREEMENT, MIN_COMMON = 0.1, 0.05
# Where the ground is no more than what evidence farther off continues to.
GROUND_WEIGHT = 0.1
CENTRE_ITERATIONS = 8


class Evidence(NamedTuple):
    """What is proved about the depth of a frame, up to one factor for the image; constants.

    Attributes:
      log_disparity: [N, H, W, 1] logarithm of inverse depth; without meaning where the weight is 0.
      weight: [N, H, W, 1] how far it may be believed, from 0 to 1.
    """

    log_disparity: tf.Tensor
    weight: tf.Tensor


class PairEvidence(NamedTuple):
    """What ordered pairs (a, b) prove about frame a; constants.

    Attributes:
      parallax: [N, H, W, 1] pixels along the epipolar line; with noise, so that it may be negative where there is none.
      slope: [N, H, W, 1] parallax of inverse depth 1, in the scale of the pair's translation.
      certain: [N, H, W, 1] how far the match may be believed, from 0 to 1.
      motion_error: [N, H, W, 1] standard deviation of the parallax by the uncertainty of the motion, pixels.
    """

    parallax: tf.Tensor
    slope: tf.Tensor
    certain: tf.Tensor
    motion_error: tf.Tensor

    def alone(self) -> Evidence:
        """Returns what the pair proves without a network's word, in the scale of its translation.

        Where parallax drowns in noise, only what the noise enlarged is seen: for the scale, not for depth.
        """
        clear = self.parallax > MIN_PARALLAX
        ratio = tf.where(clear, self.parallax, 1.0) / tf.where(clear, self.slope, 1.0)
        return Evidence(tf.math.log(ratio), tf.where(clear, self.certain * _clarity(self.parallax), 0.0))


def pair_evidence(flow: tf.Tensor, opposite: tf.Tensor, intrinsics: tf.Tensor, pose: tf.Tensor) -> PairEvidence:
    """Returns what ordered pairs (a, b) prove about frame a; no gradient passes.

    Flow on bare ground is a guess from its surroundings that falls short of fast motion. Texture does not tell it from
    a match, but its return does: the guess made in frame b starts from other surroundings.

    Args:
      flow, opposite: [N, H, W, 2] F_ab and F_ba of the networks, pixels, at a size at which they are exact.
      intrinsics: [N, 3, 3] K, in pixels of this size, of both frames.
      pose: [N, 4, 4] T_ab; the unit of its translation is that of the depth.
    """
    flow, opposite, intrinsics, pose = (tf.stop_gradient(x) for x in (flow, opposite, intrinsics, pose))
    returned, valid = warp(opposite, pixel_grid(*height_and_width(flow), flow.dtype) + flow)
    return_error = tf.norm(flow + returned, axis=-1, keepdims=True)
    found = triangulate(flow, intrinsics, pose)
    certain = valid * tf.exp(-tf.square(return_error / RETURN_ERROR) - tf.square(found.misfit / EPIPOLAR_ERROR))
    motion_error = parallax_error(flow, intrinsics, pose, found, motion_covariance(flow, opposite, intrinsics, pose))
    pair = PairEvidence(found.parallax, found.slope, certain, motion_error)
    proved = tf.reduce_mean(pair.alone().weight, axis=[1, 2, 3], keepdims=True)
    return pair._replace(certain=certain * tf.clip_by_value(2 * proved / MIN_PROVED - 1, 0.0, 1.0))


def _clarity(parallax: tf.Tensor) -> tf.Tensor:
    """Weight of parallaxes, pixels, against the errors of flow along the line."""
    return tf.square(parallax / (PARALLAX_ERROR + parallax))


def robust_centre(values: tf.Tensor, weight: tf.Tensor, tolerance: float) -> tf.Tensor:
    """Returns the weighted centre of each map by Geman and McClure's weights, [N, 1, 1, 1]; 0 for an empty one.

    Args:
      values, weight: [N, H, W, 1].
      tolerance: distance from the centre at which a value has a quarter of its weight, at the end; four times as much
        at the start, which the mean of all gives.
    """

    def improved(wide: tf.Tensor, centre: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        distance = (values - centre) / (tolerance * tf.maximum(wide, 1.0))
        return wide - 1, _mean(values, weight / tf.square(1 + tf.square(distance)))

    return repeated(improved, (tf.constant(4.0, values.dtype), _mean(values, weight)), CENTRE_ITERATIONS)[1]


def _mean(values: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    summed, total = (tf.reduce_sum(x, axis=[1, 2, 3], keepdims=True) for x in (weight * values, weight))
    return tf.math.divide_no_nan(summed, total)


def merged_evidence(pairs: Sequence[PairEvidence], log_disparity: tf.Tensor) -> tuple[Evidence, list[tf.Tensor]]:
    """Returns what all pairs of a frame prove together, in the network's scale.

    A parallax is compared with the one that the network's depth makes one expect, and counts by the latter: by its own,
    of what is far only that would count which noise has brought nearer.

    Args:
      pairs: of frame a with each of its neighbours.
      log_disparity: [N, H, W, 1] logarithm of the network's inverse depth.

    Returns:
      the evidence, without what contradicts the network by far or stands alone; and for each pair [N, 1, 1, 1], the
      logarithm of the factor by which its translation has to be multiplied to fit the network's depth.
    """
    summed, total, proved = (tf.zeros_like(log_disparity) for _ in range(3))
    scales: list[tf.Tensor] = []
    first = pairs[0].alone()
    for pair in pairs:
        alone = pair.alone()
        scale = robust_centre(alone.log_disparity - log_disparity, alone.weight, CONTRADICTION)
        if scales:
            # Where it sees what the first pair sees, the two must agree better than the network agrees with either.
            common = alone.weight * first.weight
            between = robust_centre(alone.log_disparity - first.log_disparity, common, DISAGREEMENT)
            shared, all_of_it = (tf.reduce_sum(x, axis=[1, 2, 3], keepdims=True) for x in (common, alone.weight))
            scale = tf.where(shared > MIN_COMMON * all_of_it, scales[0] + between, scale)
        scales.append(scale)
        expected = pair.slope * tf.exp(log_disparity + scale)
        clear = expected > MIN_PARALLAX
        expected = tf.where(clear, expected, 1.0)
        error = pair.parallax - expected
        allowed = NOISE**2 + CONTRADICTION**2 * expected * tf.maximum(pair.parallax, 0.0)
        weight = tf.where(clear, pair.certain * _clarity(expected) * tf.exp(-tf.square(error) / allowed), 0.0)
        exact = 1 / (1 + tf.square(pair.motion_error / (CONTRADICTION * expected)))
        summed, total, proved = summed + weight * exact * error / expected, total + weight, proved + weight * exact
    ratio = tf.math.log(tf.maximum(1 + tf.math.divide_no_nan(summed, total), MIN_RATIO))
    support = surroundings_mean(total, SUPPORT_WINDOW)
    return Evidence(log_disparity + ratio, tf.minimum(proved, 1.0) * support / (support + MIN_SUPPORT)), scales


def with_ground(found: Evidence, log_disparity: tf.Tensor, intrinsics: tf.Tensor) -> tuple[Evidence, tf.Tensor, Ground]:
    """Returns evidence that continues along the ground, where flow proves nothing near the camera.

    Inverse depth of a plane is linear in the pixel: a plane through what is certain on the road ahead says how near the
    bare road before the wheels is. Only where the network sees about that depth is there ground.

    Args:
      found: in the network's scale, from merged_evidence.
      log_disparity: [N, H, W, 1] logarithm of the network's inverse depth.
      intrinsics: [N, 3, 3] K in pixels of this size.

    Returns:
      the evidence.
      [N, H, W, 1] weight of the network's own depth on what stands on the ground, so that the ground about it does not
      spread there; and on a ground that the network alone shows, so that chance matches on bare road dent it less.
      the ground that evidence shows.
    """

    def disparity_of(ground: Ground) -> tf.Tensor:
        """Inverse depth of a ground; above 0 where it is seen."""
        plane = plane_disparity(ground.normal, intrinsics, *height_and_width(log_disparity))
        return tf.where(ground.found[:, tf.newaxis, tf.newaxis, tf.newaxis], plane, 0.0)

    ground = fit_ground(tf.exp(found.log_disparity), found.weight, intrinsics)
    plane = disparity_of(ground)
    predicted = disparity_of(fit_ground(tf.exp(log_disparity), tf.ones_like(log_disparity), intrinsics))
    unproved = GROUND_WEIGHT * (1 - found.weight)
    ratio = tf.math.log(tf.where(plane > 0, plane, 1.0)) - log_disparity
    weight = tf.where(plane > 0, unproved / tf.square(1 + tf.pow(ratio / GROUND_CONTRADICTION, 4)), 0.0)
    summed, total = found.weight * (found.log_disparity - log_disparity) + weight * ratio, found.weight + weight
    evidence = Evidence(log_disparity + tf.math.divide_no_nan(summed, total), total)
    return evidence, tf.where((plane > 0) | (predicted > 0), unproved - weight, 0.0), ground
