"""Bilinear sampling of images at pixel coordinates, with one border rule, and image pyramids.

This is the only file that knows tensorflow-addons: its resampler is the fastest differentiable warp on a CPU, but its
wheel has no GPU and no XLA kernel. There, and wherever it is not installed, a plain TensorFlow twin takes its place.
"""

from __future__ import annotations

import contextlib
import warnings

import tensorflow as tf

from glnet_tf.geometry.fast_ops import clamped_pixels, equal_pixels, only_plain, plain_operators
from glnet_tf.structures import height_and_width

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the end-of-life notice of tensorflow-addons
        from tensorflow_addons.image import resampler

    # Without its own tf.function, which would trace once more for every new shape.
    _resampler = resampler.python_function
except ImportError:
    _resampler = None


def warp(image: tf.Tensor, pixels: tf.Tensor, plain: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples images bilinearly; coordinates beyond the border take the border's value.

    Args:
      image: [B, H, W, C].
      pixels: [B, h, w, 2] coordinates (x, y) in pixels of `image`.
      plain: True for TensorFlow's own operators only (XLA, exported graphs), False for the resampler; by default the
        resampler where it is installed and the machine has no GPU.

    Returns:
      values [B, h, w, C], and validity [B, h, w, 1], 1.0 where the coordinate lies inside the image. Gradients
      reach both arguments; a coordinate beyond the border, or on the last column or row, gets none. NaN coordinates
      are invalid.
    """
    height, width = height_and_width(image)
    if plain is None:
        plain = only_plain() or _resampler is None
    clamped = clamped_pixels(pixels, height, width)
    with plain_operators() if plain else contextlib.nullcontext():
        valid = equal_pixels(pixels, clamped)
    return (_gather_bilinear if plain else _resampler)(image, clamped), valid


def _gather_bilinear(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """The plain twin of the resampler, for coordinates inside the image."""
    height, width = height_and_width(image)
    # The upper neighbour always exists: at the last column or row the weight of the lower one becomes 0.
    corner_limit = tf.maximum(tf.stack([width, height]) - 2, 0)
    corner = tf.minimum(tf.cast(tf.floor(pixels), tf.int32), corner_limit)
    weight = pixels - tf.cast(corner, pixels.dtype)
    left, top = corner[..., 0], corner[..., 1]
    right, bottom = tf.minimum(left + 1, width - 1), tf.minimum(top + 1, height - 1)

    def at(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.gather_nd(image, tf.stack([y, x], axis=-1), batch_dims=1)

    wx, wy = weight[..., :1], weight[..., 1:]
    upper = at(left, top) * (1 - wx) + at(right, top) * wx
    lower = at(left, bottom) * (1 - wx) + at(right, bottom) * wx
    return upper * (1 - wy) + lower * wy


def pyramid(image: tf.Tensor, levels: int) -> list[tf.Tensor]:
    """Returns `levels` images, [B, H / 2^s, W / 2^s, C]: each pixel the mean of four of the level before."""
    images = [image]
    for _ in range(levels - 1):
        images.append(tf.nn.avg_pool2d(images[-1], 2, 2, "VALID"))
    return images
