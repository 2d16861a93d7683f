"""Matching costs, how alike the features of two frames are at every displacement within a window; and who uses them."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import ModelConfig
from glnet_tf.geometry.fast_ops import window_products
from glnet_tf.models.encoders.build import build_encoder

# How much the best match decides alone, at the start.
SHARPNESS = 12.0


class ComparingFlowNet(keras.Model):
    """What FlowNets that compare features share: an encoder of single frames, and a sharpness for each level.

    Args:
      config: of the networks.
      levels: at which features are compared.
    """

    def __init__(self, config: ModelConfig, levels: tuple[int, ...]):
        # Matching is geometry: in single precision whatever the layers compute in.
        super().__init__(name="flow_net", dtype="float32")
        self.encoder = build_encoder(config.encoder, frames=1, weights=config.encoder_weights)
        self.learns_statistics = config.encoder_weights == "none"
        start = keras.initializers.Constant(SHARPNESS)
        self.sharpness = [self.add_weight(name=f"sharpness{level}", initializer=start) for level in levels]


def cost_volume(first: tf.Tensor, second: tf.Tensor, radius: int) -> tf.Tensor:
    """Returns the cosine similarity of features at p in one frame and p + d in the other, for all |d| <= radius.

    Args:
      first, second: [B, H, W, C] features.
      radius: largest displacement along x and along y, pixels of the features.

    Returns:
      [B, H, W, (2 radius + 1)^2], row by row from d = (-radius, -radius); 0 beyond the border.

    Source: the correlation layer of FlowNetC (Dosovitskiy et al., ICCV 2015), as in PWC-Net (Sun et al., CVPR 2018).
    """
    first, second = (tf.math.l2_normalize(x, axis=-1, epsilon=1e-6) for x in (first, second))
    padded = tf.pad(second, [[0, 0], [radius, radius], [radius, radius], [0, 0]])
    return window_products(first, padded, 2 * radius + 1)


def standardised(features: tf.Tensor) -> tf.Tensor:
    """Returns features, [B, H, W, C], with mean 0 and standard deviation 1 over each image and channel."""
    mean, variance = tf.nn.moments(features, axes=[1, 2], keepdims=True)
    return (features - mean) * tf.math.rsqrt(variance + 1e-6)


def expected_displacement(costs: tf.Tensor, sharpness: tf.Tensor, radius: int) -> tf.Tensor:
    """Returns the displacement (u, v) that similarities speak for, [B, H, W, 2] in pixels of the features.

    Args:
      costs: [B, H, W, (2 radius + 1)^2] from cost_volume; a pixel and its neighbours decide together.
      sharpness: scalar; the larger, the more the best match decides alone.
      radius: of the window.
    """
    window = tf.range(-radius, radius + 1)
    v, u = tf.meshgrid(window, window, indexing="ij")
    displacements = tf.cast(tf.reshape(tf.stack([u, v], axis=-1), [-1, 2]), costs.dtype)
    agreed = tf.nn.avg_pool2d(costs, 3, 1, "SAME")
    return tf.einsum("bhwd,dc->bhwc", tf.nn.softmax(sharpness * agreed), displacements)
