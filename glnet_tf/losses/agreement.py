"""Agreement of the rigid flow with the flow (ours): depth, camera and K learn from what FlowNet has found."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.losses.reduction import masked_mean, norm


def agreement_loss(rigid_pixels: tf.Tensor, flow_pixels: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    """Returns the mean of |p_rig - p_flow| over visible pixels, [B] in pixels; the flow is held constant.

    The photometric terms say nothing where there is no texture, and little where the error is more than a pixel.

    Args:
      rigid_pixels: [B, H, W, 2] p_rig.
      flow_pixels: [B, H, W, 2] p_flow.
      visible: [B, H, W, 1] 1.0 where both targets are valid and the flow's is not occluded.
    """
    return masked_mean(norm(rigid_pixels - tf.stop_gradient(flow_pixels)), visible)
