"""The adaptive photometric loss: rigid or flow, whichever explains a pixel better (GLNet, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.fast_ops import channel_mean, similarity_of_means, window_mean
from glnet_tf.losses.reduction import masked_mean

# Share of SSIM in the photometric distance.
ALPHA = 0.85


class Moments(NamedTuple):
    """An image, [B, H, W, C], with mean and mean square of its 3x3 windows, [B, H - 2, W - 2, C]."""

    image: tf.Tensor
    mean: tf.Tensor
    mean_square: tf.Tensor


def moments(image: tf.Tensor) -> Moments:
    """Returns the window moments of an image, [B, H, W, C]; they serve every comparison with it."""
    return Moments(image, window_mean(image), window_mean(tf.square(image)))


def ssim(a: Moments, b: Moments) -> tf.Tensor:
    """Returns the structural similarity of two images in [0, 1], [B, H - 2, W - 2, C] in [-1, 1]; 1 where equal."""
    return similarity_of_means(a.mean, b.mean, a.mean_square + b.mean_square, window_mean(a.image * b.image))


def photometric_distance(a: Moments, b: Moments, alpha: float = ALPHA) -> tf.Tensor:
    """Returns s(I, I^) = alpha (1 - SSIM) / 2 + (1 - alpha) |I - I^|, averaged over channels, [B, H, W, 1].

    The outermost pixels, which no whole window surrounds, take the SSIM of their neighbours.
    """
    structural = 0.5 * (1 - channel_mean(ssim(a, b)))
    structural = tf.pad(structural, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    return alpha * structural + (1 - alpha) * channel_mean(tf.abs(a.image - b.image))


def adaptive_photometric_loss(
    rigid: tf.Tensor, rigid_valid: tf.Tensor, flow: tf.Tensor, flow_valid: tf.Tensor, two_branch: tf.Tensor
) -> tf.Tensor:
    """Returns the mean over pixels of the smaller of two photometric distances, [B].

    An invalid branch never wins; a pixel with neither branch valid is left out. Where flow always wins, depth and
    camera get no gradient from the minimum, so a share `two_branch` trains each branch by itself (ours: all of
    it during the warm-up, a small floor afterwards).

    Args:
      rigid: [B, H, W, 1] s(I_a, I_b<p_rig>).
      rigid_valid: [B, H, W, 1] 1.0 where p_rig is valid.
      flow: [B, H, W, 1] s(I_a, I_b<p_flow>).
      flow_valid: [B, H, W, 1] 1.0 where p_flow is valid.
      two_branch: scalar in [0, 1].
    """
    smaller = tf.where(rigid_valid * flow_valid > 0, tf.minimum(rigid, flow), tf.where(rigid_valid > 0, rigid, flow))
    adaptive = masked_mean(smaller, tf.maximum(rigid_valid, flow_valid))
    separate = (masked_mean(rigid, rigid_valid) + masked_mean(flow, flow_valid)) / 2
    return (1 - two_branch) * adaptive + two_branch * separate


def rigid_wins(rigid: tf.Tensor, rigid_valid: tf.Tensor, flow: tf.Tensor, flow_valid: tf.Tensor) -> tf.Tensor:
    """Returns 1.0 where the rigid branch has the minimum, [B, H, W, 1]; arguments as for adaptive_photometric_loss."""
    return rigid_valid * tf.cast((rigid <= flow) | (flow_valid == 0), rigid.dtype)
