"""The coarse-to-fine decoder of DepthNet and FlowNet, in the manner of DispNet (Mayer et al., CVPR 2016)."""

from __future__ import annotations

from typing import Callable, Optional

import tensorflow as tf
import tf_keras as keras

from glnet_tf.structures import SCALES, dimension, height_and_width

layers = keras.layers

Guess = Callable[[int, Optional[tf.Tensor]], tuple[tf.Tensor, list[tf.Tensor]]]

ENCODER_LEVELS = 5

# Widths of the decoder that suit each encoder, from its finest stride (1, or 2 where there are four) to stride 16.
DECODER_CHANNELS = {
    "resnet18": (16, 32, 64, 128, 256),
    "resnet50": (16, 32, 64, 128, 256),
    "efficientnet_lite0": (24, 32, 48, 80),
    "efficientnet_lite2": (24, 32, 48, 80),
}
# The linear bottlenecks of EfficientNet-Lite leave features ten times as large as those of a ResNet; unscaled, they
# drive the first predictions into saturation.
FEATURE_SCALE = {"resnet18": 1.0, "resnet50": 1.0, "efficientnet_lite0": 0.1, "efficientnet_lite2": 0.1}
# A head sums hundreds of features: at its full size, a few steps of Adam would throw the map out of its range.
HEAD_SCALE = 0.1


def _upsample(x: tf.Tensor) -> tf.Tensor:
    """Doubles the size of [B, h, w, C] by repetition; the convolution that follows smooths it."""
    count, (height, width), channels = dimension(x, 0), height_and_width(x), x.shape[-1]
    pixels = tf.reshape(x, [count, height, 1, width, channels])
    return tf.reshape(tf.tile(pixels, [1, 1, 2, 1, 2]), [count, 2 * height, 2 * width, channels])


class Decoder(keras.Model):
    """Turns an encoder's features into a map at four levels; each level corrects the next coarser one.

    Args:
      encoder: name of the encoder whose features it decodes. It decides the widths of the blocks: five from stride 1,
        or four from stride 2, whose full-size map is then the map at stride 2, enlarged (a third of the work for a
        slightly softer map).
      outputs: number of channels of the map.
      start: the value of the whole map at the start.
    """

    def __init__(self, encoder: str, outputs: int, start: float = 0.0, name: str = "decoder"):
        super().__init__(name=name)
        channels = DECODER_CHANNELS[encoder]
        self.feature_scale = FEATURE_SCALE[encoder]
        self.start = start
        self.finest = ENCODER_LEVELS - len(channels)
        self.reduce = [_convolution(width) for width in channels]
        self.merge = [_convolution(width) for width in channels]
        self.heads = [
            layers.Conv2D(
                outputs,
                3,
                padding="same",
                kernel_initializer=keras.initializers.RandomNormal(stddev=2e-2),
                dtype="float32",  # also where the features are in half precision
                name=f"head{level}",
            )
            for level in range(self.finest, SCALES)
        ]
        self.enlarge = layers.UpSampling2D(2, interpolation="bilinear", dtype="float32")

    def call(self, features: tuple[tf.Tensor, ...], guess: Guess | None = None) -> tuple[tf.Tensor, ...]:
        """Returns the maps, finest first.

        Args:
          features: five tensors at strides 2, 4, 8, 16, 32.
          guess: from a level and the enlarged map of the next coarser one, if any, what the level's map would be before
            its block corrects it, and further input of the block; by default the coarser map, or the start.

        Returns:
          SCALES tensors [B, H / 2^s, W / 2^s, outputs].
        """
        skips = [self.feature_scale * feature for feature in features]
        x = skips[-1]
        maps: list[tf.Tensor] = []
        for level in reversed(range(self.finest, ENCODER_LEVELS)):
            block = level - self.finest
            parts = [_upsample(self.reduce[block](x))]
            if level > 0:
                parts.append(skips[level - 1])
            # Each level learns from its own losses: what a fine level asks of a far-off coarse one is noise (ours).
            base = self.enlarge(tf.stop_gradient(maps[0])) if maps else None
            if guess is not None and level < SCALES:
                base, hints = guess(level, base)
                parts += [tf.cast(hint, x.dtype) for hint in hints]
            if base is not None:
                parts.append(tf.cast(base, x.dtype))
            x = self.merge[block](tf.concat(parts, axis=-1))
            if level < SCALES:
                maps.insert(0, HEAD_SCALE * self.heads[block](x) + (self.start if base is None else base))
        if self.finest > 0:
            maps.insert(0, self.enlarge(maps[0]))
        return tuple(maps)


def _convolution(width: int) -> keras.layers.Layer:
    return layers.Conv2D(width, 3, padding="same", activation="elu", kernel_initializer="he_normal")
