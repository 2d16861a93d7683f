"""A FlowNet with cost volumes from coarse to fine, after PWC-Net."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import ModelConfig
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.sampling import warp
from glnet_tf.models.flow.cost_volume import ComparingFlowNet, cost_volume, expected_displacement, standardised
from glnet_tf.models.flow.variational import normalised, refined_flow
from glnet_tf.structures import SCALES, frame_pairs, height_and_width, merge, pick, split

layers = keras.layers

# Blocks speak in this many pixels of the full-size image, so that their outputs stay near one at every level.
FLOW_UNIT = 32.0
FEATURES = 32
DILATIONS = (2, 4)
# What a dilated convolution adds to the features that it looks at.
CONTEXT_SCALE = 0.3


class PwcFlowNet(ComparingFlowNet):
    """A FlowNet that compares features from coarse to fine: each frame is encoded once, whatever its pairs.

    At strides 8, 4 and 2, frame b's features are warped by the flow so far and compared with frame a's in a window; the
    displacement expected from the costs is added to the flow, and a block that reads costs, features, flow and what the
    coarser block saw corrects it, twice where most of the motion is found. At full size a variational step makes the
    flow fit the images.

    Source: Sun et al., PWC-Net, CVPR 2018; the start from expected displacements and the last step are ours.
    """

    LEVELS = (3, 2, 1)
    RADII = (4, 3, 2)
    ROUNDS = (2, 2, 1)
    WIDTHS = ((96, 64, 64), (64, 64, 48), (32, 32))

    def __init__(self, config: ModelConfig):
        super().__init__(config, self.LEVELS)
        self.context = layers.Conv2D(2 * FEATURES, 1, activation="elu", kernel_initializer="he_normal", name="context")
        self.reduced = [layers.Conv2D(FEATURES, 1, name=f"reduced{level}") for level in self.LEVELS]
        self.blocks = [_Block(widths, name=f"block{level}") for level, widths in zip(self.LEVELS, self.WIDTHS)]

    def call(self, images: tf.Tensor, training: bool = False, forward_only: bool = False) -> tuple[tf.Tensor, ...]:
        """Returns the flow of the ordered pairs of a snippet; see StackedFlowNet.call."""
        first, second = frame_pairs(images.shape[1], forward_only)

        def of_pairs(frames: tf.Tensor, which: tuple[int, ...]) -> tf.Tensor:
            return pick(split(frames, images.shape[1]), which)

        encoded = self.encoder(merge(images), training=training and self.learns_statistics)
        features = [standardised(tf.cast(feature, tf.float32)) for feature in encoded]
        surroundings = tf.concat([features[3], _enlarged(features[4])], axis=-1)
        seen = tf.cast(self.context(of_pairs(surroundings, first)), tf.float32)
        flow = tf.zeros_like(seen[..., :2])
        flows: list[tf.Tensor] = []
        for number, level in enumerate(self.LEVELS):
            a, b = of_pairs(features[level - 1], first), of_pairs(features[level - 1], second)
            # Each level learns from its own losses: what a fine level asks of a far-off coarse one is noise (ours).
            flow, coarser = enlarged_flow(tf.stop_gradient(flow)), _enlarged(seen)
            reduced = tf.cast(self.reduced[number](a), tf.float32)
            for _ in range(self.ROUNDS[number]):
                flow, seen = self._corrected(tf.stop_gradient(flow), number, a, b, [reduced, coarser])
            flows.insert(0, flow)

        greys = tf.image.rgb_to_grayscale(merge(images))
        shape = normalised(greys)
        full = refined_flow(
            enlarged_flow(flows[0]), of_pairs(shape, first), of_pairs(shape, second), of_pairs(greys, first)
        )
        return tuple(split(x, len(first)) for x in (full, *flows[: SCALES - 1]))

    def _corrected(
        self, flow: tf.Tensor, number: int, a: tf.Tensor, b: tf.Tensor, hints: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One round at one level: the better flow, [N, h, w, 2], and the features of the block."""
        radius, unit = self.RADII[number], FLOW_UNIT / 2 ** self.LEVELS[number]
        warped, _ = warp(b, pixel_grid(*height_and_width(a)) + flow)
        costs = cost_volume(a, warped, radius)
        displacement = expected_displacement(costs, self.sharpness[number], radius)
        correction, seen = self.blocks[number](tf.concat([costs, flow / unit, displacement / radius, *hints], axis=-1))
        return flow + displacement + unit * correction, seen


class _Block(keras.Model):
    """Convolutions, the wider ones followed by dilated ones that see far, and a head that starts near zero."""

    def __init__(self, widths: tuple[int, ...], name: str):
        super().__init__(name=name)
        options = {"padding": "same", "activation": "elu", "kernel_initializer": "he_normal"}
        self.convolutions = [layers.Conv2D(width, 3, **options) for width in widths]
        dilations = DILATIONS if len(widths) > 2 else ()
        self.context = [layers.Conv2D(widths[-1], 3, dilation_rate=rate, **options) for rate in dilations]
        small = keras.initializers.RandomNormal(stddev=2e-3)
        self.head = layers.Conv2D(2, 3, padding="same", kernel_initializer=small, dtype="float32")

    def call(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the correction [N, h, w, 2], and the features that it was read off, both in single precision."""
        for convolution in self.convolutions:
            x = convolution(x)
        for convolution in self.context:
            x += tf.cast(CONTEXT_SCALE, x.dtype) * convolution(x)
        return self.head(x), tf.cast(x, tf.float32)


def _enlarged(x: tf.Tensor) -> tf.Tensor:
    """Doubles the size of [N, h, w, C], bilinearly."""
    return tf.image.resize(x, [2 * side for side in height_and_width(x)])


def enlarged_flow(flow: tf.Tensor) -> tf.Tensor:
    """Returns a flow, [N, h, w, 2] in pixels, at twice the size and in pixels of that size."""
    return 2 * _enlarged(flow)
