"""The residual networks: ResNet-18 in torchvision's form and ResNet-50 in that of keras.applications.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOMENTUM = 0.9


class BasicBlock(keras.layers.Layer):
    """Two 3×3 convolutions and a shortcut, which is a 1×1 convolution where `project` is set."""

    def __init__(self, filters: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = _conv(filters, 3, stride)
        self.bn1 = _batch_norm()
        self.conv2 = _conv(filters, 3, 1)
        self.bn2 = _batch_norm()
        self.downsample = keras.Sequential([_conv(filters, 1, stride), _batch_norm()]) if project else None

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x, training=training)
        x = tf.nn.relu(self.bn1(self.conv1(_pad(x, 1)), training=training))
        x = self.bn2(self.conv2(_pad(x, 1)), training=training)
        return tf.nn.relu(x + shortcut)


class ResNet18(keras.Model):
    """ResNet-18 with PyTorch's symmetric padding, so that torchvision's weights give torchvision's features."""

    channels = (64, 64, 128, 256, 512)

    def __init__(self, frames: int = 1) -> None:
        super().__init__(name="resnet18")
        self.frames = frames
        self.conv1 = _conv(64, 7, 2)
        self.bn1 = _batch_norm()
        self.stages = [
            [BasicBlock(filters, stride, project=stride > 1), BasicBlock(filters, 1, project=False)]
            for filters, stride in zip(self.channels[1:], (1, 2, 2, 2))
        ]

    def call(self, images: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, ...]:
        """Features at strides 2, 4, 8, 16, 32 of [B, H, W, 3 · frames] images in [0, 1]."""
        mean = tf.constant(IMAGENET_MEAN * self.frames, images.dtype)
        std = tf.constant(IMAGENET_STD * self.frames, images.dtype)
        x = self.conv1(_pad((images - mean) / std, 3))
        x = tf.nn.relu(self.bn1(x, training=training))
        features = [x]
        # Zeros are as good as PyTorch's -inf below a rectified map.
        x = tf.nn.max_pool2d(_pad(x, 1), 3, 2, "VALID")
        for stage in self.stages:
            for block in stage:
                x = block(x, training=training)
            features.append(x)
        return tuple(features)


class ResNet50(keras.Model):
    """ResNet-50 of keras.applications, tapped before each down-sampling."""

    channels = (64, 256, 512, 1024, 2048)
    taps = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")

    def __init__(self, frames: int = 1) -> None:
        super().__init__(name="resnet50")
        self.frames = frames
        inputs = keras.Input((None, None, 3 * frames))
        application = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=inputs)
        self.backbone = keras.Model(inputs, [application.get_layer(tap).output for tap in self.taps])
        for layer in self.backbone.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = MOMENTUM

    def call(self, images: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, ...]:
        """Features at strides 2, 4, 8, 16, 32 of [B, H, W, 3 · frames] images in [0, 1]."""
        preprocess = keras.applications.resnet50.preprocess_input
        frames = [preprocess(255.0 * frame) for frame in tf.split(images, self.frames, axis=-1)]
        return tuple(self.backbone(tf.concat(frames, axis=-1), training=training))


def _conv(filters: int, kernel: int, stride: int) -> keras.layers.Conv2D:
    """A convolution of an already padded map."""
    initialiser = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return keras.layers.Conv2D(filters, kernel, stride, "valid", use_bias=False, kernel_initializer=initialiser)


def _batch_norm() -> keras.layers.BatchNormalization:
    """A batch normalisation with torchvision's epsilon whose statistics follow within some tens of steps."""
    return keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-5)


def _pad(x: tf.Tensor, margin: int) -> tf.Tensor:
    """The map with a margin of zeros on its four sides."""
    return tf.pad(x, [[0, 0], [margin, margin], [margin, margin], [0, 0]])
