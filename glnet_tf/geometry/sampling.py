"""Bilinear sampling of images at pixel coordinates, with one border rule, and image pyramids.

This is the only file that knows tensorflow-addons: its resampler is the fastest differentiable warp on a CPU, but its
wheel has no GPU and no XLA kernel. There, and wherever it is not installed, a plain TensorFlow twin takes its place.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Callable

import tensorflow as tf

from glnet_tf.geometry.layout import only_plain, plain_operators
from glnet_tf.geometry.visibility import inside

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
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    if plain is None:
        plain = only_plain() or _resampler is None
    with plain_operators() if plain else contextlib.nullcontext():
        valid = inside(pixels, height, width)
    return (_gather_bilinear if plain else _resampler)(image, _clamped(pixels, height, width)), valid


def _clamped(pixels: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Coordinates, [B, h, w, 2], moved into an image. Those on or beyond its border get no gradient: at the last column
    or row the resampler's would reach for a neighbour that does not exist."""
    last = tf.cast(tf.stack([width - 1, height - 1]), pixels.dtype)

    @tf.custom_gradient
    def clamped(rows: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        limit = tf.tile(last, [tf.shape(rows)[2] // 2])
        below = rows < limit

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return upstream * tf.cast(below & (rows >= 0), upstream.dtype)

        return tf.where(below, tf.maximum(rows, 0), limit), gradient

    # In rows of x, y, x, y: on a CPU, operations with a last axis of two, broadcast, are several times slower.
    shape = tf.shape(pixels)
    moved = clamped(tf.reshape(pixels, [shape[0], shape[1], 2 * shape[2]]))
    return tf.ensure_shape(tf.reshape(moved, shape), pixels.shape)


def _gather_bilinear(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """The plain twin of the resampler, for coordinates inside the image."""
    height, width = tf.shape(image)[1], tf.shape(image)[2]
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


def window_mean(image: tf.Tensor, size: int = 3) -> tf.Tensor:
    """Returns the mean of every window of size x size pixels inside an image [B, H, W, C]: [B, H - size + 1, ...].

    Sums of shifted rows, then of shifted columns, in rows of W * C values: on a CPU six times faster, forward and
    gradient, than a depthwise convolution over three channels.
    """
    channels = image.shape[-1]
    batch, height, width = tf.unstack(tf.shape(image)[:3])
    rows = _window_sum(tf.reshape(image, [batch, height, width * channels]), size, channels)
    return tf.reshape(rows / size**2, [batch, height - size + 1, width - size + 1, channels])


def _window_sum(rows: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    """Sums of windows of [B, H, W * C]. A pixel's gradient is the sum over the windows that hold it: a window again."""
    columns, lines = (size - 1) * channels, size - 1

    @tf.custom_gradient
    def window_sum(rows: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        batch, height, width = tf.unstack(tf.shape(rows))
        tower = tf.add_n([tf.slice(rows, [0, i, 0], [batch, height - lines, width]) for i in range(size)])
        sums = [tf.slice(tower, [0, 0, i * channels], [batch, height - lines, width - columns]) for i in range(size)]
        return tf.add_n(sums), lambda upstream: _window_sum(
            tf.pad(upstream, [[0, 0], [lines] * 2, [columns] * 2]), size, channels
        )

    return window_sum(rows)


@tf.custom_gradient
def channel_mean(image: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns the mean over the channels of [B, H, W, C], [B, H, W, 1]; on a CPU twice as fast as a reduction."""
    channels = image.shape[-1]
    mean = tf.add_n(tf.unstack(image, axis=-1)) / channels
    return mean[..., tf.newaxis], lambda upstream: tf.tile(upstream / channels, [1, 1, 1, channels])


def pyramid(image: tf.Tensor, levels: int) -> list[tf.Tensor]:
    """Returns `levels` images, [B, H / 2^s, W / 2^s, C]: each pixel the mean of four of the level before."""
    images = [image]
    for _ in range(levels - 1):
        images.append(tf.nn.avg_pool2d(images[-1], 2, 2, "VALID"))
    return images
