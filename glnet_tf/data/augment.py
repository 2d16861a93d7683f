"""Augmentation as pure functions of a snippet and a seed: the three frames always get the same one."""

from __future__ import annotations

import math

import tensorflow as tf

from glnet_tf.geometry.camera import crop_intrinsics, flip_intrinsics

LUMA = (0.299, 0.587, 0.114)
# The largest turn of the hue is this share of the largest relative change of the other properties.
HUE_SHARE = 0.25


def augment(
    images: tf.Tensor, intrinsics: tf.Tensor, seed: tf.Tensor, flip: bool, colour: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns a snippet that is mirrored in half of the cases and changed in colour, as a function of the seed.

    Args:
      images: [3, H, W, 3] float32 RGB in [0, 1].
      intrinsics: [3, 3] K in pixels of these images, or zeros.
      seed: [2] integers.
      flip: whether to mirror at all.
      colour: largest relative change of brightness, contrast and saturation; 0 leaves the colours alone.

    Returns:
      images: [3, H, W, 3] in [0, 1].
      intrinsics: [3, 3] K of the new images.
      mirrored: [] bool.
    """
    mirrored = tf.constant(False)
    seed = tf.convert_to_tensor(seed)
    if colour:
        images = change_colours(images, *draw_colour_change(seed + tf.constant([1, 0], seed.dtype), colour))
    if flip:
        mirrored = tf.random.stateless_uniform([], seed) < 0.5
        images, intrinsics = tf.cond(mirrored, lambda: mirror(images, intrinsics), lambda: (images, intrinsics))
    return images, intrinsics, mirrored


def zoom(frames: tf.Tensor, intrinsics: tf.Tensor, seed: tf.Tensor, max_zoom: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a random part of frames, of their shape but for rounding, as a function of the seed.

    Resized to the network's images, it is what a longer lens, turned a little aside, would have seen: how high
    something stands in the image alone does not tell its depth any more.

    Args:
      frames: [3, h, w, 3].
      intrinsics: [3, 3] K in pixels of these frames, or zeros.
      seed: [2] integers.
      max_zoom: the part is at least 1 / (1 + max_zoom) as high and wide as the frames.

    Returns:
      frames: [3, h', w', 3].
      intrinsics: [3, 3] K of this part, or zeros.
    """
    size = tf.shape(frames)[1:3]
    seed = tf.convert_to_tensor(seed)
    draws = tf.random.stateless_uniform([3], seed + tf.constant([2, 0], seed.dtype))
    kept = tf.cast(tf.round(tf.cast(size, tf.float32) / (1.0 + max_zoom * draws[0])), tf.int32)
    top, left = tf.unstack(tf.cast(tf.round(draws[1:] * tf.cast(size - kept, tf.float32)), tf.int32))
    part = frames[:, top : top + kept[0], left : left + kept[1]]
    return part, keep_unknown(intrinsics, crop_intrinsics(intrinsics, top, left))


def mirror(images: tf.Tensor, intrinsics: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns images [3, H, W, 3] mirrored left to right, and their K [3, 3]; an unknown K (zeros) stays unknown."""
    return tf.reverse(images, [2]), keep_unknown(intrinsics, flip_intrinsics(intrinsics, tf.shape(images)[2]))


def keep_unknown(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Returns the changed K, [3, 3], or zeros where the K before, [3, 3], was zeros."""
    return tf.where(tf.reduce_any(before != 0.0), after, tf.zeros_like(after))


def draw_colour_change(seed: tf.Tensor, colour: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns factors of brightness, contrast and saturation in 1 +- colour, and a hue angle in radians, each []."""
    draws = tf.unstack(tf.random.stateless_uniform([4], seed, -colour, colour))
    return 1.0 + draws[0], 1.0 + draws[1], 1.0 + draws[2], 2.0 * math.pi * HUE_SHARE * draws[3]


def change_colours(
    images: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, hue: tf.Tensor
) -> tf.Tensor:
    """Returns images after one affine map of colour space, so that all pixels and frames keep their correspondence.

    Args:
      images: [3, H, W, 3] RGB in [0, 1].
      brightness: [] factor of the values.
      contrast: [] factor of their distance from the mean grey of the three frames.
      saturation: [] factor of their distance from their own grey.
      hue: [] angle in radians by which colours turn about the grey axis.

    Returns:
      [3, H, W, 3], clipped to [0, 1].
    """
    luma = tf.constant(LUMA)
    grey_axis = tf.ones([3, 3]) / 3.0
    cross = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    turn = tf.cos(hue) * tf.eye(3) + (1.0 - tf.cos(hue)) * grey_axis + tf.sin(hue) * cross
    saturate = saturation * tf.eye(3) + (1.0 - saturation) * tf.ones([3, 1]) * luma
    # In two steps: a sum over all but the three channels is slow in one.
    mean_grey = tf.reduce_sum(tf.reduce_mean(tf.reduce_mean(images, axis=[0, 1]), axis=0) * luma)
    colours = transform_colours(images, brightness * contrast * turn @ saturate)
    return tf.clip_by_value(colours + brightness * (1.0 - contrast) * mean_grey, 0.0, 1.0)


def transform_colours(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Returns images [..., H, W, 3] with every colour c replaced by M c, M [3, 3].

    Products with so small a matrix are slow: several pixels at once are multiplied by M repeated along a diagonal.
    """
    pixels = math.gcd(images.shape[-2] or 1, 8)
    repeated = tf.einsum("pq,dc->pcqd", tf.eye(pixels), matrix)
    colours = tf.reshape(images, [-1, 3 * pixels]) @ tf.reshape(repeated, [3 * pixels, 3 * pixels])
    return tf.reshape(colours, tf.shape(images))
