"""CameraNet: relative pose of two frames and, where there is no calibration, the intrinsics."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from glnet_tf.geometry.camera import build_intrinsics, pixel_grid
from glnet_tf.geometry.transform import (
    pose_from_rotation_translation,
    rotation_from_axis_angle,
    rotation_of,
    translation_of,
)
from glnet_tf.models.depth_net import START_DISPARITY
from glnet_tf.structures import dimension, height_and_width

layers = keras.layers

# Rotations (radians) and translations both start about a hundredth of the network's output.
POSE_UNIT = 0.01
# What one of the network's output, or of a learned parameter, changes: a solved translation, relative to its length; c,
# relative to the image; the logarithm of a pixel's shape.
TRANSLATION_UNIT = 0.1
PRINCIPAL_POINT_UNIT = 0.1
PIXEL_SHAPE_UNIT = 0.01
KERNELS_AND_WIDTHS = ((7, 16), (5, 32), (3, 64), (3, 128), (3, 256))


def intrinsics_from_parameters(parameters: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns K, [B, 3, 3] in pixels, from raw parameters, [B, 4] = (fx, fy, cx, cy).

    f = softplus(raw) (W, H) and c + 0.5 = (0.1 raw + 0.5) (W, H): resizing the image leaves the parameters as they are.
    The 0.1 is ours: c is nearly always in the middle, and shifting it imitates a turn or a sideways motion.
    """
    size = tf.cast(tf.stack([width, height]), parameters.dtype)
    shift = PRINCIPAL_POINT_UNIT * parameters[:, 2:]
    return build_intrinsics(tf.nn.softplus(parameters[:, :2]) * size, (shift + 0.5) * size - 0.5)


def camera_intrinsics(parameters: tf.Tensor, shapes: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns the K of cameras, [B, 3, 3] in pixels, from raw parameters, [B, 4] = (f, pixel's shape, cx, cy).

    fx = softplus(raw) W, and fy follows it as square pixels have it, whatever the resizing, but for the pixel's shape,
    which hardly changes (ours): without much pitch a video says nothing about fy alone.

    Args:
      parameters: [B, 4].
      shapes: [B] width over height of the camera's own images.
      height, width: of the image that K is for.
    """
    size = tf.cast(tf.stack([width, height]), parameters.dtype)
    focal = tf.nn.softplus(parameters[:, :1])
    relative = tf.concat([focal, focal * (shapes[:, tf.newaxis] * tf.exp(PIXEL_SHAPE_UNIT * parameters[:, 1:2]))], 1)
    return build_intrinsics(relative * size, (PRINCIPAL_POINT_UNIT * parameters[:, 2:] + 0.5) * size - 0.5)


def initial_parameters(field_of_view: float, height: int, width: int) -> list[float]:
    """Returns the raw parameters of square pixels, a horizontal field of view in degrees and a centred image."""
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    return [math.log(math.expm1(focal / width)), math.log(math.expm1(focal / height)), 0.0, 0.0]


def corrected(solved: tf.Tensor, parallax: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """Returns T, [B, 4, 4], from a solved motion and CameraNet's correction of it (ours).

    Args:
      solved: [B, 4, 4] T with a translation of unit length.
      parallax: [B] inverse depth that a translation of this length implies, median over the image.
      vector: [B, 6] CameraNet's: the rotation that follows the solved one (axis-angle, radians), and the change of the
        translation, of which POSE_UNIT stands for TRANSLATION_UNIT times its length.
    """
    # This length puts the median of the image where DepthNet starts.
    length = parallax[:, tf.newaxis] / START_DISPARITY
    change = TRANSLATION_UNIT / POSE_UNIT * vector[:, 3:]
    rotation = tf.matmul(rotation_from_axis_angle(vector[:, :3]), rotation_of(solved))
    return pose_from_rotation_translation(rotation, length * (translation_of(solved) + change))


class CameraNet(keras.Model):
    """A small convolutional network over two frames, or the flow between them, averaged over the image at its end."""

    def __init__(self, predicts_intrinsics: bool, initial: list[float], corrects: bool = False):
        super().__init__(name="camera_net")
        self.convolutions = [
            layers.Conv2D(width, kernel, strides=2, padding="same", activation="elu", kernel_initializer="he_normal")
            for kernel, width in KERNELS_AND_WIDTHS
        ]

        def small() -> keras.initializers.Initializer:
            # One for each layer: an initializer without a seed repeats itself.
            return keras.initializers.RandomNormal(stddev=1e-2)

        # What corrects a solved motion starts without any correction.
        start = "zeros" if corrects else small()
        self.pose = layers.Conv2D(6, 1, kernel_initializer=start, dtype="float32", name="pose")
        self.intrinsics = (
            layers.Conv2D(
                4,
                1,
                kernel_initializer=small(),
                bias_initializer=keras.initializers.Constant(initial),
                dtype="float32",
                name="intrinsics",
            )
            if predicts_intrinsics
            else None
        )

    def call(self, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the motion from frame a to frame b.

        Args:
          seen: [B, H, W, C] what tells the motion, about one in size: both frames stacked, or the flow between them.

        Returns:
          [B, 6] axis-angle (radians) and translation (unit of the depth), and the raw parameters of K, [B, 4], or None.
        """
        grid = pixel_grid(*height_and_width(seen))
        place = tf.broadcast_to(2 * grid / grid[-1, -1] - 1, [dimension(seen, 0), *height_and_width(seen), 2])
        # What a motion looks like depends on where: convolutions alone would not know (CoordConv, NeurIPS 2018; ours).
        x = tf.concat([seen, tf.cast(place, seen.dtype)], axis=-1)
        for convolution in self.convolutions:
            x = convolution(x)
        pose = POSE_UNIT * tf.reduce_mean(self.pose(x), axis=[1, 2])
        if self.intrinsics is None:
            return pose, None
        return pose, tf.reduce_mean(self.intrinsics(x), axis=[1, 2])
