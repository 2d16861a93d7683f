"""Snippets of the rendered street with their exact truth, as predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.street.street import Street
from glnet_tf.structures import PAIRS, SCALES, Predictions


class Scene(NamedTuple):
    """A snippet of the street with its truth.

    Attributes:
      images: [1, 3, H, W, 3].
      truth: the true predictions at all levels.
      static: [P, H, W, 1] 1.0 where frame a's pixel is on a standing surface that frame b sees.
      smooth: [P, H, W, 1] 1.0 where, besides, the four pixels around the correspondence are on that surface.
    """

    images: tf.Tensor
    truth: Predictions
    static: tf.Tensor
    smooth: tf.Tensor


def same_surface(a: np.ndarray, b: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """True where all four pixels of frame b around p + F(p) show the quad that frame a shows at p."""
    height, width = a.shape
    target = np.floor(np.moveaxis(np.mgrid[:height, :width][::-1], 0, -1) + flow).astype(int)
    x, y = np.clip(target[..., 0], 0, width - 2), np.clip(target[..., 1], 0, height - 2)
    inside = (x == target[..., 0]) & (y == target[..., 1])
    return inside & np.all([b[y + dy, x + dx] == a for dy in (0, 1) for dx in (0, 1)], axis=0)


def pooled(maps: np.ndarray, factor: float) -> tuple[tf.Tensor, ...]:
    """Every level of maps [K, H, W, C] as [1, K, h, w, C]: means of four pixels, times `factor`."""
    levels = [tf.constant(maps, tf.float32)]
    for _ in range(SCALES - 1):
        levels.append(factor * tf.nn.avg_pool2d(levels[-1], 2, 2, "VALID"))
    return tuple(level[tf.newaxis] for level in levels)


def true_scene(size: tuple[int, int], seed: int = 1, first: int = 3) -> Scene:
    """Returns frames first, first + 1, first + 2 of a street of size (H, W)."""
    numbers = (first, first + 1, first + 2)
    street = Street(seed, numbers[-1] + 1, *size)
    frames = [street.frame(i) for i in numbers]
    flows, statics, smooths = [], [], []
    for a, b in PAIRS:
        flow, visible = street.flow(numbers[a], numbers[b])
        static = visible & ~frames[a].moving & (frames[a].surface >= 0)
        flows.append(flow)
        statics.append(static)
        smooths.append(static & same_surface(frames[a].surface, frames[b].surface, flow))
    truth = Predictions(
        disparities=pooled(np.stack([1 / frame.depth for frame in frames])[..., np.newaxis], 1.0),
        flows=pooled(np.stack(flows), 0.5),
        poses=tf.constant([[street.relative_pose(numbers[a], numbers[b]) for a, b in PAIRS]], tf.float32),
        intrinsics=tf.constant(street.intrinsics[np.newaxis], tf.float32),
    )
    images = tf.constant(np.stack([frame.image for frame in frames])[np.newaxis] / 255, tf.float32)
    return Scene(images, truth, *(tf.constant(np.stack(m)[..., np.newaxis], tf.float32) for m in (statics, smooths)))
