"""EfficientNet-Lite: mobile inverted bottlenecks without squeeze-and-excitation, with ReLU6.

Source: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in its Lite
variant, which drops what integer hardware cannot do well.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras


class Stage(NamedTuple):
    """A run of blocks: how many, their depthwise kernel, the stride of the first, their expansion and width."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STEM_FILTERS = 32
# Of Lite0; the others have wider and more of them, see SCALING.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# The last stage at each of the strides 2, 4, 8, 16, 32.
TAPS = (0, 1, 2, 4, 6)
# By how much the variants are wider and deeper than Lite0.
SCALING = {0: (1.0, 1.0), 2: (1.1, 1.2)}


def scaled_stages(variant: int) -> tuple[Stage, ...]:
    """Returns the stages of a variant: widths to multiples of 8, the first and the last as deep as Lite0's."""
    width, depth = SCALING[variant]
    return tuple(
        stage._replace(
            filters=int(stage.filters * width + 4) // 8 * 8,
            repeats=stage.repeats if stage in (STAGES[0], STAGES[-1]) else math.ceil(stage.repeats * depth),
        )
        for stage in STAGES
    )


class InvertedBottleneck(keras.layers.Layer):
    """Expansion (1×1), depthwise convolution and projection (1×1), with a shortcut where the shape is kept."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        self.has_shortcut = stride == 1 and inputs == stage.filters
        self.expand = _conv(inputs * stage.expansion, 1, 1) if stage.expansion > 1 else None
        self.bn0 = _batch_norm() if stage.expansion > 1 else None
        self.depthwise = keras.layers.DepthwiseConv2D(
            stage.kernel, stride, "same", use_bias=False, depthwise_initializer=_initialiser()
        )
        self.bn1 = _batch_norm()
        self.project = _conv(stage.filters, 1, 1)
        self.bn2 = _batch_norm()

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        x = inputs
        if self.expand is not None and self.bn0 is not None:
            x = tf.nn.relu6(self.bn0(self.expand(x), training=training))
        x = tf.nn.relu6(self.bn1(self.depthwise(x), training=training))
        x = self.bn2(self.project(x), training=training)
        return x + inputs if self.has_shortcut else x


class EfficientNetLite(keras.Model):
    """EfficientNet-Lite with TensorFlow's padding, with which its weights were trained.

    Args:
      variant: one of SCALING.
      frames: number of images concatenated along the channels.
    """

    def __init__(self, variant: int, frames: int = 1) -> None:
        super().__init__(name=f"efficientnet_lite{variant}")
        self.variant, self.frames = variant, frames
        stages = scaled_stages(variant)
        self.channels = tuple(stages[tap].filters for tap in TAPS)
        self.stem = _conv(STEM_FILTERS, 3, 2)
        self.bn0 = _batch_norm()
        widths = (STEM_FILTERS, *(stage.filters for stage in stages))
        self.stages = [
            [
                InvertedBottleneck(stage.filters if repeat else width, stage, 1 if repeat else stage.stride)
                for repeat in range(stage.repeats)
            ]
            for width, stage in zip(widths, stages)
        ]

    def call(self, images: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, ...]:
        """Features at strides 2, 4, 8, 16, 32 of [B, H, W, 3 · frames] images in [0, 1]."""
        x = self.stem((255.0 * images - 127.0) / 128.0)
        x = tf.nn.relu6(self.bn0(x, training=training))
        features = []
        for stage in self.stages:
            for block in stage:
                x = block(x, training=training)
            features.append(x)
        return tuple(features[tap] for tap in TAPS)


def _initialiser() -> keras.initializers.Initializer:
    """He's normal initialisation; by the outputs, as Keras counts all channels among a depthwise kernel's inputs."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _conv(filters: int, kernel: int, stride: int) -> keras.layers.Conv2D:
    """A convolution without bias, as a batch normalisation follows."""
    return keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, kernel_initializer=_initialiser())


def _batch_norm() -> keras.layers.BatchNormalization:
    """A batch normalisation with the weights' epsilon whose statistics follow within some tens of steps."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
