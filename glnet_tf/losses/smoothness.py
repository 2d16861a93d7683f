"""Edge-aware smoothness of depth and flow (GLNet, section 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.fast_ops import column_differences, row_differences

# Brings second differences to the size of first ones, so that one weight serves both: on predicted inverse depth of
# streets they are an eighth of them.
SECOND_ORDER = 10.0


class Edges(NamedTuple):
    """How much each difference of neighbours counts, exp(-|dI|): [B, 1, H - 1, W] down, [B, 1, H, W - 1] across."""

    down: tf.Tensor
    across: tf.Tensor


def edge_weights(image: tf.Tensor) -> Edges:
    """Returns the weights of an image's differences, [B, H, W, 3] in [0, 1]; no gradient reaches the image."""
    planes = tf.transpose(tf.stop_gradient(image), [0, 3, 1, 2])
    return Edges(
        *(tf.exp(-tf.reduce_mean(tf.abs(_differences(planes, axis)), axis=1, keepdims=True)) for axis in (2, 3))
    )


def edge_aware_smoothness(field: tf.Tensor, edges: Edges) -> tf.Tensor:
    """Returns the mean of |d field| exp(-|dI|) along x, plus the same along y, [B]; field: [B, H, W, C]."""
    planes = tf.transpose(field, [0, 3, 1, 2])
    down, across = (
        tf.reduce_mean(tf.abs(_differences(planes, axis)) * weight, axis=[1, 2, 3])
        for axis, weight in zip((2, 3), edges)
    )
    return down + across


def _differences(planes: tf.Tensor, axis: int) -> tf.Tensor:
    return row_differences(planes) if axis == 2 else column_differences(planes)


def edge_aware_curvature(field: tf.Tensor, edges: Edges) -> tf.Tensor:
    """Returns the mean of |d d field| along x, plus the same along y, [B]; field: [B, H, W, C].

    Each second difference counts by the weights of both first differences in it. Zero where the field is linear in the
    pixel.
    """
    planes = tf.transpose(field, [0, 3, 1, 2])
    weights = edges.down[:, :, 1:] * edges.down[:, :, :-1], edges.across[..., 1:] * edges.across[..., :-1]
    down, across = (
        tf.reduce_mean(tf.abs(_differences(_differences(planes, axis), axis)) * weight, axis=[1, 2, 3])
        for axis, weight in zip((2, 3), weights)
    )
    return down + across


def depth_smoothness(disparity: tf.Tensor, edges: Edges, level: int, planar: bool = False) -> tf.Tensor:
    """Returns the smoothness, [B], of inverse depth, [B, H, W, 1], over its mean, divided by 2^s.

    Args:
      disparity: inverse depth.
      edges: of the image at this level.
      level: s.
      planar: False, the paper's: least where all depth is the same. True, of second order (not in the paper): zero on
        planes, whose inverse depth is linear in the pixel.
    """
    relative = disparity * tf.math.reciprocal(tf.reduce_mean(disparity, axis=[1, 2, 3], keepdims=True))
    if planar:
        return SECOND_ORDER / 2**level * edge_aware_curvature(relative, edges)
    return 1 / 2**level * edge_aware_smoothness(relative, edges)


def flow_smoothness(flow: tf.Tensor, edges: Edges, level: int) -> tf.Tensor:
    """Returns the smoothness, [B], of flow, [B, H, W, 2] in pixels of its level, divided by 2^s."""
    return 1 / 2**level * edge_aware_smoothness(flow, edges)
