"""Fusion: the network's depth corrected by evidence, in closed form (ours)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.geometry.sampling import warp
from glnet_tf.structures import height_and_width

# Corrections spread by normalised convolution with Gaussians of 1.5 pixels at these strides; the wider ones count only
# where the narrower ones find no evidence. PULL holds the network's depth where there is none at all.
STRIDES = (1, 4, 16, 64)
SHARES = (1.0, 0.3, 0.05, 0.01)
PULL = 1e-3
# Summed weight of the evidence about a pixel at which half of its depth counts as proved.
HALF_PROVED = 0.1
# Pixels by which flow and its return differ where flow is no match; it is still better than rigid flow where it is no
# evidence yet.
UNMATCHED = 1.0
# Flow and rigid flow differ by more than this where something moves by itself: pixels, and share of the flow, which is
# what a depth that is wrong by that share does.
MOTION_PIXELS, MOTION_SHARE = 0.5, 0.3
# Whether something moves where flow is no match, its surroundings tell at the first of those strides.
MOTION_SHARES = (1.0, 0.05, 3e-3)
KERNEL = (0.0087, 0.0360, 0.1096, 0.2135, 0.2645, 0.2135, 0.1096, 0.0360, 0.0087)


def disagree(difference: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Returns where flow of a length differs so much from rigid flow that something moves by itself; pixels."""
    return difference > MOTION_PIXELS + MOTION_SHARE * length


class Fusion(NamedTuple):
    """Depth after fusion.

    Attributes:
      log_disparity: [N, H, W, 1] logarithm of inverse depth.
      confidence: [N, H, W, 1] from 0, nothing but the network's word, to 1.
    """

    log_disparity: tf.Tensor
    confidence: tf.Tensor


def fused(log_disparity: tf.Tensor, found: Evidence, own_weight: tf.Tensor) -> Fusion:
    """Returns the network's inverse depth times a smooth field of ratios that the evidence gives.

    Args:
      log_disparity: [N, H, W, 1] logarithm of the network's inverse depth.
      found: evidence in its scale.
      own_weight: [N, H, W, 1] weight of its own inverse depth beside that.
    """
    ratio = found.weight * (found.log_disparity - log_disparity)
    maps = tf.concat([ratio, found.weight, own_weight], axis=-1)
    summed, total, own = tf.split(
        tf.add_n([share * _smoothed(maps, stride) for stride, share in zip(STRIDES, SHARES)]), 3, axis=-1
    )
    return Fusion(log_disparity + summed / (total + own + PULL), total / (total + own + HALF_PROVED))


def fused_flow(flow: tf.Tensor, opposite: tf.Tensor, rigid_pixels: tf.Tensor) -> tf.Tensor:
    """Returns the flow of ordered pairs (a, b), [N, H, W, 2], that is rigid where it is no match and nothing moves.

    Args:
      flow, opposite: [N, H, W, 2] F_ab and F_ba of the networks, pixels.
      rigid_pixels: [N, H, W, 2] p_rig of frame a's pixels, of the refined depth and motion.
    """
    grid = pixel_grid(*height_and_width(flow))
    returned, valid = warp(opposite, grid + flow)
    certain = valid * tf.exp(-tf.reduce_sum(tf.square((flow + returned) / UNMATCHED), axis=-1, keepdims=True))
    difference = tf.norm(grid + flow - rigid_pixels, axis=-1, keepdims=True)
    moves = tf.cast(disagree(difference, tf.norm(flow, axis=-1, keepdims=True)), tf.float32)
    near, total = tf.split(
        tf.add_n(
            [
                share * _smoothed(tf.concat([certain * moves, certain], axis=-1), stride)
                for stride, share in zip(STRIDES, MOTION_SHARES)
            ]
        ),
        2,
        axis=-1,
    )
    kept = tf.maximum(certain, tf.math.divide_no_nan(near, total))
    return kept * flow + (1 - kept) * (rigid_pixels - grid)


def _smoothed(maps: tf.Tensor, stride: int) -> tf.Tensor:
    """[N, H, W, C] convolved with a Gaussian of 1.5 strides, zero beyond the border."""
    size, channels = height_and_width(maps), maps.shape[-1]
    small = tf.nn.avg_pool2d(maps, stride, stride, "SAME") if stride > 1 else maps
    for shape in ([-1, 1, 1, 1], [1, -1, 1, 1]):
        kernel = tf.tile(tf.reshape(tf.constant(KERNEL), shape), [1, 1, channels, 1])
        small = tf.nn.depthwise_conv2d(small, kernel, [1, 1, 1, 1], "SAME")
    return tf.image.resize(small, size) if stride > 1 else small
