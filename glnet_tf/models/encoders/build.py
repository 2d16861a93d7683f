"""The encoders by name: networks that turn images into features at strides 2, 4, 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf
import tf_keras as keras

from glnet_tf.errors import ConfigError
from glnet_tf.models.encoders.efficientnet_lite import EfficientNetLite
from glnet_tf.models.encoders.pretrained import load_efficientnet_lite, load_resnet18, load_resnet50
from glnet_tf.models.encoders.resnet import ResNet18, ResNet50

ENCODERS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "resnet18": (ResNet18, load_resnet18),
    "resnet50": (ResNet50, load_resnet50),
    "efficientnet_lite0": (partial(EfficientNetLite, 0), load_efficientnet_lite),
    "efficientnet_lite2": (partial(EfficientNetLite, 2), load_efficientnet_lite),
}


def build_encoder(name: str, frames: int = 1, weights: str = "imagenet") -> keras.Model:
    """An encoder with all its variables made.

    It maps [B, H, W, 3 · frames] images in [0, 1], H and W multiples of 32, to a tuple of five feature maps
    [B, H / stride, W / stride, channels[i]] at strides 2, 4, 8, 16, 32, and does its own input normalisation.

    Args:
      name: "resnet18", "resnet50", "efficientnet_lite0" or "efficientnet_lite2".
      frames: number of images concatenated along the channels. The first kernel of imported weights is repeated over
        them and divided by their number, so that equal frames give the features of one.
      weights: "imagenet", "none" (random, from the global seed), or the path of a checkpoint: a state dict (.pth) for
        resnet18 and EfficientNet-Lite, Keras's no-top file (.h5) for resnet50.

    Returns:
      A model with `call(images, training)` and the attribute `channels`, the five widths.

    Raises:
      ConfigError: the name is unknown, or ImageNet weights are not to be had here.
      CheckpointError: the file at `weights` does not fit the network.
    """
    if name not in ENCODERS:
        raise ConfigError(f"--encoder={name}: expected one of {', '.join(ENCODERS)}")
    network, load = ENCODERS[name]
    encoder = network(frames)
    encoder(tf.zeros([1, 64, 64, 3 * frames]))
    if weights != "none":
        load(encoder, weights)
    return encoder
