"""FlowNet: optical flow between two frames at four levels; the paper's, one by matching costs, and pwc.PwcFlowNet."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import ModelConfig
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.sampling import pyramid, warp
from glnet_tf.models.decoder import Decoder
from glnet_tf.models.encoders.build import build_encoder
from glnet_tf.models.flow.cost_volume import ComparingFlowNet, cost_volume, expected_displacement, standardised
from glnet_tf.models.flow.pwc import PwcFlowNet
from glnet_tf.models.flow.variational import normalised, refined_flow
from glnet_tf.structures import SCALES, dimension, frame_pairs, height_and_width, merge, pick, split

# The decoders speak in tenths of the image's width, so that their outputs stay near one at every level.
FLOW_UNIT = 0.1


class StackedFlowNet(keras.Model):
    """The paper's FlowNet: an encoder of two frames stacked along channels, and a decoder."""

    def __init__(self, config: ModelConfig):
        super().__init__(name="flow_net")
        self.encoder = build_encoder(config.encoder, frames=2, weights=config.encoder_weights)
        # Imported encoders keep the statistics of their batch normalisation: small batches would only blur them (ours).
        self.learns_statistics = config.encoder_weights == "none"
        _tell_frames_apart(self.encoder)
        self.decoder = Decoder(config.encoder, outputs=2)

    def call(self, images: tf.Tensor, training: bool = False, forward_only: bool = False) -> tuple[tf.Tensor, ...]:
        """Returns the flow (u, v) of the ordered pairs of a snippet.

        Args:
          images: [B, F, H, W, 3].
          training: whether batch statistics are learned, where the encoder started from random weights.
          forward_only: whether to leave out the reverses of the pairs in the order of time.

        Returns:
          one [B, P, h, w, 2] tensor per level, in pixels of that level.
        """
        first, second = frame_pairs(images.shape[1], forward_only)
        stacked = tf.concat([pick(images, first), pick(images, second)], axis=-1)
        features = self.encoder(stacked, training=training and self.learns_statistics)
        return tuple(split(_in_pixels(x), len(first)) for x in self.decoder(features))


def _tell_frames_apart(encoder: keras.Model) -> None:
    """Lets every filter of the first convolution prefer one of the frames, at random (ours).

    A kernel that is merely duplicated and halved sees the mean of the frames: flow and opposite flow start equal, their
    gradients cancel, and learning stands still. Equal frames still give the features of one.
    """
    kernel = next(v for v in encoder.trainable_variables if len(v.shape) == 4 and v.shape[2] == 6)
    first, second = tf.split(kernel, 2, axis=2)
    preference = tf.random.uniform([kernel.shape[3]], -1, 1)
    shift = preference * (first + second) / 2
    kernel.assign(tf.concat([first + shift, second - shift], axis=2))


class MatchingFlowNet(ComparingFlowNet):
    """A FlowNet that compares features (ours, after PWC-Net): each frame is encoded once, whatever its pairs.

    At strides 8, 4 and 2, frame b's features are warped by the flow so far and compared with frame a's in a window; the
    displacement expected from the costs is added to the flow, a variational step makes that fit the images, and the
    decoder corrects it; at full size comes a last variational step. With ImageNet's features this finds most of the
    motion before any training.
    """

    LEVELS = (3, 2, 1)
    RADIUS = 2

    def __init__(self, config: ModelConfig):
        super().__init__(config, self.LEVELS)
        self.decoder = Decoder(config.encoder, outputs=2)

    def call(self, images: tf.Tensor, training: bool = False, forward_only: bool = False) -> tuple[tf.Tensor, ...]:
        """Returns the flow of the ordered pairs of a snippet; see StackedFlowNet.call."""
        first, second = frame_pairs(images.shape[1], forward_only)
        encoded = self.encoder(merge(images), training=training and self.learns_statistics)
        greys = pyramid(tf.image.rgb_to_grayscale(merge(images)), SCALES)

        def of_pairs(frames: tf.Tensor, which: tuple[int, ...]) -> tf.Tensor:
            return pick(split(frames, images.shape[1]), which)

        def refined(flow: tf.Tensor, level: int) -> tf.Tensor:
            shape = normalised(greys[level])
            frames = of_pairs(shape, first), of_pairs(shape, second)
            return refined_flow(_in_pixels(flow), *frames, of_pairs(greys[level], first)) / _unit(flow)

        def guess(level: int, coarser: tf.Tensor | None) -> tuple[tf.Tensor, list[tf.Tensor]]:
            if level not in self.LEVELS:
                return coarser, []
            standard = standardised(tf.cast(encoded[level - 1], tf.float32))
            a, b = of_pairs(standard, first), of_pairs(standard, second)
            if coarser is None:
                coarser = tf.zeros_like(a[..., :2])
            else:
                pixels = pixel_grid(*height_and_width(a)) + _in_pixels(coarser)
                b, _ = warp(b, pixels)
            costs = cost_volume(a, b, self.RADIUS)
            displacement = expected_displacement(costs, self.sharpness[self.LEVELS.index(level)], self.RADIUS)
            return refined(coarser + displacement / _unit(displacement), level), [costs]

        maps = self.decoder([of_pairs(x, first) for x in encoded], guess)
        maps = (refined(maps[0], 0), *maps[1:])
        return tuple(split(_in_pixels(x), len(first)) for x in maps)


def _unit(flow: tf.Tensor) -> tf.Tensor:
    """The length in pixels that the decoders call one, for a flow [N, h, w, 2]."""
    return FLOW_UNIT * tf.cast(dimension(flow, 2), tf.float32)


def _in_pixels(raw: tf.Tensor) -> tf.Tensor:
    """A decoder's map, [N, h, w, 2], as flow in pixels of its level."""
    return raw * _unit(raw)


FLOW_NETS = {"stacked": StackedFlowNet, "matching": MatchingFlowNet, "pwc": PwcFlowNet}
