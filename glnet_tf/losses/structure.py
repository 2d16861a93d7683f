"""The multi-view 3D structure consistency (GLNet, section 3.2)."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.geometry.camera import MIN_DEPTH
from glnet_tf.geometry.rigid import RigidCorrespondence
from glnet_tf.losses.reduction import masked_mean


def structure_residual(correspondence: RigidCorrespondence, sampled_depth: tf.Tensor) -> tf.Tensor:
    """Returns |X'_b - X_b|_1 with X_b = R X_a + t and X'_b = K^-1 p_rig D_b<p_rig>, [B, H, W, 1] in the unit of depth.

    p_rig is the projection of X_b, so both lie on one ray: X'_b = X_b D_b<p_rig> / Z_b.

    Args:
      correspondence: of frame a's pixels in camera b.
      sampled_depth: [B, H, W, 1] D_b<p_rig>: frame b's depth at the correspondence (not at the same pixel index).
    """
    x, y, z = tf.unstack(correspondence.planes, axis=1)
    excess = tf.abs(sampled_depth[..., 0] * tf.math.reciprocal(tf.maximum(z, MIN_DEPTH)) - 1)
    return ((tf.abs(x) + tf.abs(y) + tf.abs(z)) * excess)[..., tf.newaxis]


def structure_loss(correspondence: RigidCorrespondence, sampled_depth: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    """Returns the mean residual over visible pixels, relative to their mean depth, [B].

    Depth -> 0 with t -> 0 would satisfy the residual trivially; dividing by the mean depth (ours) makes the loss
    independent of scale. The gradient passes through the mean too: held constant, it would leave a pull towards zero
    depth as strong as the loss itself. Arguments as for structure_residual; visible: [B, H, W, 1].
    """
    residual = structure_residual(correspondence, sampled_depth)
    mean_depth = masked_mean(sampled_depth, visible)
    return tf.math.divide_no_nan(masked_mean(residual, visible), mean_depth)
