"""The coarse-to-fine decoder of DepthNet and FlowNet, in the manner of DispNet (Mayer et al., CVPR 2016)."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.structures import SCALES

layers = tf.keras.layers

ENCODER_LEVELS = 5

# Widths of the decoder that suit each encoder, from its finest stride (1, or 2 where there are four) to stride 16.
DECODER_CHANNELS = {
    "resnet18": (16, 32, 64, 128, 256),
    "resnet50": (16, 32, 64, 128, 256),
    "efficientnet_lite0": (24, 32, 48, 80),
}


def _upsample(x: tf.Tensor) -> tf.Tensor:
    """Doubles the size of [B, h, w, C] by repetition; the convolution that follows smooths it."""
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)


class Decoder(tf.keras.Model):
    """Turns an encoder's features into a map at four levels; each level corrects the next coarser one.

    Args:
      channels: of its blocks, finest first: five from stride 1, or four from stride 2, whose full-size map is then the
        map at stride 2, enlarged (a third of the work for a slightly softer map).
      outputs: number of channels of the map.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int, name: str = "decoder"):
        super().__init__(name=name)
        self.finest = ENCODER_LEVELS - len(channels)
        self.reduce = [_convolution(width) for width in channels]
        self.merge = [_convolution(width) for width in channels]
        # A small start: the first predictions are nearly constant, so that warps begin near the identity.
        initial = tf.keras.initializers.RandomNormal(stddev=1e-3)
        self.heads = [
            layers.Conv2D(outputs, 3, padding="same", kernel_initializer=initial, name=f"head{level}")
            for level in range(self.finest, SCALES)
        ]
        self.enlarge = layers.UpSampling2D(2, interpolation="bilinear")

    def call(self, features: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        """Returns the maps, finest first.

        Args:
          features: five tensors at strides 2, 4, 8, 16, 32.

        Returns:
          SCALES tensors [B, H / 2^s, W / 2^s, outputs].
        """
        x, maps = features[-1], []
        for level in reversed(range(self.finest, ENCODER_LEVELS)):
            block = level - self.finest
            parts = [_upsample(self.reduce[block](x))]
            if level > 0:
                parts.append(features[level - 1])
            coarser = [self.enlarge(maps[0])] if maps else []
            x = self.merge[block](tf.concat(parts + coarser, axis=-1))
            if level < SCALES:
                maps.insert(0, tf.add_n([self.heads[block](x), *coarser]))
        if self.finest > 0:
            maps.insert(0, self.enlarge(maps[0]))
        return tuple(maps)


def _convolution(width: int) -> layers.Layer:
    return layers.Conv2D(width, 3, padding="same", activation="elu", kernel_initializer="he_normal")
