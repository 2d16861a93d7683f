"""FlowNet: optical flow between two frames at four levels."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.config import ModelConfig
from glnet_tf.models.decoder import Decoder
from glnet_tf.models.encoders import build_encoder

# The decoder speaks in tenths of the image's width, so that its outputs stay near one at every level.
FLOW_UNIT = 0.1


class FlowNet(tf.keras.Model):
    """Encoder of two stacked frames, and decoder."""

    def __init__(self, config: ModelConfig):
        super().__init__(name="flow_net")
        self.encoder = build_encoder(config.encoder, frames=2, weights=config.encoder_weights)
        # Imported encoders keep the statistics of their batch normalisation: small batches would only blur them (ours).
        self.learns_statistics = config.encoder_weights == "none"
        _tell_frames_apart(self.encoder)
        self.decoder = Decoder(config.encoder, outputs=2)

    def call(self, frames: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        """Returns flow (u, v) from frame a to frame b.

        Args:
          frames: [B, H, W, 6], frame a and frame b stacked along channels.

        Returns:
          one [B, h, w, 2] tensor per level, in pixels of that level.
        """
        maps = self.decoder(self.encoder(frames, training=training and self.learns_statistics))
        return tuple(tf.cast(x, tf.float32) * FLOW_UNIT * tf.cast(tf.shape(x)[2], tf.float32) for x in maps)


def _tell_frames_apart(encoder: tf.keras.Model) -> None:
    """Lets every filter of the first convolution prefer one of the frames, at random (ours).

    A kernel that is merely duplicated and halved sees the mean of the frames: flow and opposite flow start equal, their
    gradients cancel, and learning stands still. Equal frames still give the features of one.
    """
    kernel = next(v for v in encoder.trainable_variables if len(v.shape) == 4 and v.shape[2] == 6)
    first, second = tf.split(kernel, 2, axis=2)
    preference = tf.random.uniform([kernel.shape[3]], -1, 1)
    shift = preference * (first + second) / 2
    kernel.assign(tf.concat([first + shift, second - shift], axis=2))
