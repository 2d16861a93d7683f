"""The epipolar loss: flow correspondences obey the motion of the camera (GLNet, section 3.3)."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.epipolar import algebraic_residual, essential_matrix, fundamental_matrix, sampson_residual
from glnet_tf.losses.reduction import masked_mean

RESIDUALS = {"algebraic": algebraic_residual, "sampson": sampson_residual}


def epipolar_loss(
    pixels_a: tf.Tensor,
    pixels_b: tf.Tensor,
    pose: tf.Tensor,
    intrinsics: tf.Tensor,
    mask: tf.Tensor,
    distance: str,
) -> tf.Tensor:
    """Returns the mean epipolar residual of flow correspondences over masked pixels, [B].

    Args:
      pixels_a: [B, H, W, 2] or [H, W, 2] coordinates p in frame a.
      pixels_b: [B, H, W, 2] p + F_ab(p) in frame b.
      pose: [B, 4, 4] T_ab.
      intrinsics: [B, 3, 3] K at this size.
      mask: [B, H, W, 1].
      distance: "algebraic" (the paper's form, in normalised coordinates) or "sampson" (ours, pixels).
    """
    fundamental = fundamental_matrix(essential_matrix(pose), intrinsics)
    return masked_mean(RESIDUALS[distance](fundamental, pixels_a, pixels_b), mask)
