"""Predictions with and without their coarser levels."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.evidence import Evidence
from glnet_tf.geometry.sampling import pyramid
from glnet_tf.structures import SCALES, Predictions, Snippet, merge, split


def with_levels(disparity: tf.Tensor, flow: tf.Tensor, poses: tf.Tensor, intrinsics: tf.Tensor) -> Predictions:
    """Returns predictions whose levels all follow from the finest.

    Args:
      disparity: [B, F, H, W, 1] inverse depth.
      flow: [B, P, H, W, 2] pixels.
      poses, intrinsics: [B, P, 4, 4], [B, 3, 3].
    """
    return Predictions(
        disparities=disparity_levels(disparity),
        flows=flow_levels(flow),
        poses=poses,
        intrinsics=intrinsics,
    )


def disparity_levels(disparity: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Returns inverse depth, [B, F, h, w, 1], at every level from that at the finest."""
    return tuple(split(x, disparity.shape[1]) for x in pyramid(merge(disparity), SCALES))


def flow_levels(flow: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Returns flow, [B, P, h, w, 2] in pixels of each level, from that at the finest."""
    return tuple(0.5**s * split(x, flow.shape[1]) for s, x in enumerate(pyramid(merge(flow), SCALES)))


def finest(predictions: Predictions) -> Predictions:
    """Returns predictions without their coarser levels."""
    return predictions._replace(disparities=predictions.disparities[:1], flows=predictions.flows[:1])


def finest_signature(signature: Snippet) -> Predictions:
    """Returns the shapes of what `finest` gives for a batch of this signature."""
    count, frames, height, width, _ = signature.images.shape
    pairs = 2 * (frames - 1)
    return Predictions(
        disparities=(tf.TensorSpec([count, frames, height, width, 1]),),
        flows=(tf.TensorSpec([count, pairs, height, width, 2]),),
        poses=tf.TensorSpec([count, pairs, 4, 4]),
        intrinsics=tf.TensorSpec([count, 3, 3]),
    )


def evidence_signature(signature: Snippet) -> Evidence:
    """Returns the shapes of evidence about the frames of a batch of this signature, [B, F, H, W, 1]."""
    count, frames, height, width, _ = signature.images.shape
    return Evidence(*[tf.TensorSpec([count, frames, height, width, 1])] * 2)
