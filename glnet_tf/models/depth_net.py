"""DepthNet: inverse depth of one frame at four levels."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import ModelConfig
from glnet_tf.models.decoder import Decoder
from glnet_tf.models.encoders.build import build_encoder

MIN_DISPARITY = 1 / 100
MAX_DISPARITY = 1 / 0.1
# Far from the middle of the range, so that CameraNet explains the first motion it sees by rotation, not by a sideways
# translation past a near wall, and near things can still come nearer (ours).
START_DISPARITY = 0.5


class DepthNet(keras.Model):
    """Encoder and decoder; a sigmoid mapped to inverse depths from 1/100 to 1/0.1."""

    def __init__(self, config: ModelConfig):
        super().__init__(name="depth_net")
        self.encoder = build_encoder(config.encoder_of_depth, frames=1, weights=config.encoder_weights)
        # Imported encoders keep the statistics of their batch normalisation: small batches would only blur them (ours).
        self.learns_statistics = config.encoder_weights == "none"
        share = (START_DISPARITY - MIN_DISPARITY) / (MAX_DISPARITY - MIN_DISPARITY)
        self.decoder = Decoder(config.encoder_of_depth, outputs=1, start=math.log(share / (1 - share)))

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        """Returns inverse depth, [B, h, w, 1] at every level, of images [B, H, W, 3]."""
        maps = self.decoder(self.encoder(images, training=training and self.learns_statistics))
        span = MAX_DISPARITY - MIN_DISPARITY
        return tuple(MIN_DISPARITY + span * tf.sigmoid(x) for x in maps)
