"""Forward-backward consistency of flow (GLNet, section 3.4)."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.losses.reduction import masked_mean, norm


def consistency_loss(flow: tf.Tensor, returned: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    """Returns the mean of |F_ab(p) + F_ba<p + F_ab(p)>| over visible pixels, [B] in pixels.

    Args:
      flow: [B, H, W, 2] F_ab.
      returned: [B, H, W, 2] F_ba sampled at p + F_ab(p).
      visible: [B, H, W, 1] 1.0 where the target is inside the image and not occluded.
    """
    return masked_mean(norm(flow + returned), visible)
