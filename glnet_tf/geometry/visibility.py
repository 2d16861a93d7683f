"""Masks of what both frames of a pair see, [B, H, W, 1]: 1.0 where visible, else 0.0; no gradient passes them."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.fast_ops import squared_length


def flow_visible(flow: tf.Tensor, returned: tf.Tensor, alpha: float, beta: float) -> tf.Tensor:
    """Returns 1.0 where flow and the opposite flow agree, that is where nothing occludes the pixel.

    Args:
      flow: [B, H, W, 2] F_ab at p, pixels.
      returned: [B, H, W, 2] F_ba sampled at p + F_ab(p), pixels.
      alpha: residual always permitted, pixels.
      beta: residual permitted relative to the flow's length.
    """
    residual, length = squared_length(flow + returned), squared_length(flow)
    return tf.stop_gradient(tf.cast(residual <= tf.maximum(alpha**2, beta**2 * length), flow.dtype))


def depth_visible(transformed: tf.Tensor, sampled: tf.Tensor, tolerance: float) -> tf.Tensor:
    """Returns 1.0 where a point is not behind the surface that the other frame sees on its ray.

    Args:
      transformed: [B, H, W, 1] depth of the point in camera b.
      sampled: [B, H, W, 1] depth of frame b at the point's projection.
      tolerance: relative excess of `transformed` that still counts as the same surface.
    """
    return tf.stop_gradient(tf.cast(transformed <= sampled * (1 + tolerance), sampled.dtype))
