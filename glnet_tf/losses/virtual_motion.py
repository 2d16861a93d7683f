"""Flow learned from single frames: a made-up camera in a made-up scene moves them, so that their flow is known exactly.

A frame b is sampled at p + F(p), which gives a frame a whose flow to b is F, whatever F is. Photometric losses see only
flow that is already nearly right, and textureless ground says nothing to them; this signal has neither limit.

Source: Aleotti, Poggi, Mattoccia, "Learning Optical Flow From Still Images", CVPR 2021; there the depth is a network's,
here that of half of the frames is drawn at random.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import build_intrinsics, pixel_grid
from glnet_tf.geometry.rigid import rigid_flow
from glnet_tf.geometry.sampling import warp
from glnet_tf.geometry.transform import pose_from_vector
from glnet_tf.losses.reduction import norm
from glnet_tf.structures import dimension

# Length of the flow that a tenth of the pixels exceed without rotation: from and to, in hundredths of the width.
MIN_DISTANCE, MAX_DISTANCE = 0.6, 6.0
# Standard deviations of the rotation about x, y and z, radians.
ROTATION = (0.006, 0.02, 0.006)
# Sideways and vertical motion beside the motion ahead or back, of which SIDEWAYS have little.
ASIDE, UPWARDS, SIDEWAYS = 0.15, 0.08, 0.2
FOCAL = (0.5, 1.2)
BOXES, MOVING_BOXES = 4, 2
# Frames a and b differ in gamma, exposure and colour by about this much, and in noise up to NOISE.
GAMMA, EXPOSURE, COLOUR, NOISE = 0.08, 0.05, 0.03, 0.02
# What pixels count whose match lies beyond frame b: they can only be guessed from their surroundings.
BEYOND = 0.1
# Flow is cut off here, in widths.
MAX_FLOW = 0.2
# A translation, in units of the mean depth, so short that flow is proportional to it.
SMALL_UNIT = 1e-3


class VirtualPairs(NamedTuple):
    """Frames that were moved.

    Attributes:
      images: [B, 2, H, W, 3] frames a and b in [0, 1].
      flow: [B, H, W, 2] F_ab, pixels.
      weight: [B, H, W, 1] 1.0 where the flow leads into frame b, BEYOND elsewhere.
    """

    images: tf.Tensor
    flow: tf.Tensor
    weight: tf.Tensor


class _RandomStream:
    """Random numbers as a function of a seed, [2] integers, and of how many were drawn before."""

    def __init__(self, seed: tf.Tensor, count: tf.Tensor):
        self._seed, self._count, self._drawn = tf.cast(seed, tf.int64), count, itertools.count()

    def uniform(self, low: float, high: float, *shape: int) -> tf.Tensor:
        """[B, *shape], by default [B, 1, 1, 1]."""
        return tf.random.stateless_uniform(self._shape(shape), self._next(), low, high)

    def normal(self, deviation: float | tuple[float, ...], *shape: int) -> tf.Tensor:
        """[B, *shape], by default [B, 1, 1, 1]."""
        return tf.random.stateless_normal(self._shape(shape), self._next()) * deviation

    def _shape(self, shape: tuple[int, ...]) -> tf.Tensor:
        return tf.stack([self._count, *(shape or (1, 1, 1))])

    def _next(self) -> tf.Tensor:
        return self._seed + tf.constant([0, next(self._drawn)], tf.int64)


def virtual_pairs(images: tf.Tensor, seed: tf.Tensor, disparity: tf.Tensor | None = None) -> VirtualPairs:
    """Returns frames and what they looked like before a motion, as a function of the seed.

    Args:
      images: [B, H, W, 3] in [0, 1], frame b.
      seed: [2] integers.
      disparity: [B, H, W, 1] their inverse depth in any scale: in half of the frames the scene is theirs, so that bare
        ground moves as ground does. None: all scenes are made up.
    """
    height, width = images.shape[1:3]
    random = _RandomStream(seed, dimension(images, 0))
    grid = pixel_grid(height, width)
    scene = _scene(random, height, width)
    if disparity is not None:
        own = disparity / tf.reduce_mean(disparity, axis=[1, 2], keepdims=True)
        scene = tf.where(random.uniform(0.0, 1.0) < 0.5, own, scene)
    flow = _motion(random, scene, grid)
    target = grid + flow
    last = tf.constant([width - 1.0, height - 1.0])
    # Beyond its border the frame is continued by its mirror image.
    mirrored = last - tf.abs(last - tf.math.floormod(tf.abs(target), 2 * last))
    moved, _ = warp(images, mirrored)
    inside = tf.reduce_all((target >= 0) & (target <= last), axis=-1, keepdims=True)
    frames = tf.stack([_rendered(random, moved), _rendered(random, images)], axis=1)
    return VirtualPairs(frames, flow, tf.where(inside, 1.0, BEYOND))


def virtual_motion_loss(flows: tuple[tf.Tensor, ...], pairs: VirtualPairs) -> tf.Tensor:
    """Returns the mean of |F - F_true|^0.7 over the pixels, averaged over levels: a scalar.

    The power makes small errors matter; 0.1 pixels are as good as none.

    Args:
      flows: one [B, 1, h, w, 2] tensor per level, pixels of that level.
      pairs: whose flow it should be.
    """
    terms = []
    for level, flow in enumerate(flows):
        size = 2**level
        weight = tf.nn.avg_pool2d(pairs.weight, size, size, "VALID")
        truth = tf.nn.avg_pool2d(pairs.weight * pairs.flow, size, size, "VALID") / weight
        squared = tf.reduce_sum(tf.square(size * flow[:, 0] - truth), axis=-1, keepdims=True)
        terms.append(tf.reduce_sum(weight * tf.pow(squared + 0.01, 0.35)) / tf.reduce_sum(weight))
    return tf.add_n(terms) / len(terms)


def _scene(random: _RandomStream, height: int, width: int) -> tf.Tensor:
    """Inverse depth, [B, H, W, 1] with mean 1: ground, walls to the left and right, boxes that stand, all uneven."""
    x, y = tf.split(pixel_grid(height, width) / [width - 1.0, height - 1.0], 2, axis=-1)
    horizon, left, right = random.uniform(0.25, 0.65), random.uniform(-0.3, 0.5), random.uniform(0.5, 1.3)
    far = random.uniform(0.04, 0.32)

    def ground(row: tf.Tensor) -> tf.Tensor:
        return (row - horizon) / (1 - horizon)

    planes = (
        ground(y) * random.uniform(0.3, 1.0),
        (left - x) / tf.maximum(left + 0.3, 0.1) * random.uniform(0.0, 1.0),
        (x - right) / tf.maximum(1.3 - right, 0.1) * random.uniform(0.0, 1.0),
    )
    disparity = functools.reduce(tf.maximum, planes, far)
    for _ in range(BOXES):
        foot = random.uniform(0.4, 1.0)
        top = foot - random.uniform(0.1, 0.6)
        box = (tf.abs(x - random.uniform(0.0, 1.0)) < random.uniform(0.01, 0.12)) & (y > top) & (y < foot)
        disparity = tf.where(box, tf.maximum(disparity, 0.7 * ground(foot)), disparity)
    uneven = tf.image.resize(random.normal(0.3, 4, 8, 1), [height, width], method="bicubic")
    disparity *= tf.exp(uneven)
    return disparity / tf.reduce_mean(disparity, axis=[1, 2], keepdims=True)


def _motion(random: _RandomStream, disparity: tf.Tensor, grid: tf.Tensor) -> tf.Tensor:
    """The flow, [B, H, W, 2], that a random motion causes in a scene, and boxes in it that move by themselves."""
    height, width = disparity.shape[1:3]
    focal = width * random.uniform(*FOCAL, 1) * tf.ones([2])
    intrinsics = build_intrinsics(focal, [(width - 1) / 2, (height - 1) / 2] * tf.ones_like(focal))
    sideways = tf.cast(random.uniform(0.0, 1.0, 1) < SIDEWAYS, tf.float32)
    ahead = tf.sign(random.uniform(-1.0, 1.0, 1)) * (1 - 0.75 * sideways)
    aside = random.normal(ASIDE, 1) + 0.75 * sideways * random.normal(1.0, 1)
    direction = tf.concat([aside, random.normal(UPWARDS, 1), ahead], axis=-1)

    def moved(translation: tf.Tensor, rotation: tf.Tensor, disparity: tf.Tensor) -> tf.Tensor:
        pose = pose_from_vector(tf.concat([rotation, translation], axis=-1))
        return rigid_flow(1 / disparity, intrinsics, pose)

    lengths = tf.reshape(norm(moved(SMALL_UNIT * direction, 0 * direction, disparity)), [-1, height * width])
    longest = tf.math.top_k(lengths, height * width // 10).values[:, -1:]
    wanted = 0.01 * width * tf.exp(random.uniform(math.log(MIN_DISTANCE), math.log(MAX_DISTANCE), 1))
    translation = SMALL_UNIT * direction * wanted / tf.maximum(longest, 1e-6)
    rotation = random.normal(ROTATION, 3)
    flow = moved(translation, rotation, disparity)
    # The scene belongs to frame b: three times, what frame a sees is looked up where it goes.
    seen = disparity
    for _ in range(3):
        seen, _ = warp(disparity, grid + flow)
        flow = moved(translation, rotation, seen)
    for _ in range(MOVING_BOXES):
        centre = random.uniform(0.0, 1.0, 1, 1, 2) * [width, height]
        extent = random.uniform(0.02, 0.12, 1, 1, 2) * [width, 2.5 * height]
        box = tf.reduce_all(tf.abs(grid - centre) < extent, axis=-1, keepdims=True)
        own = random.normal((0.016 * width, 0.006 * width), 1, 1, 2)
        flow = tf.where(box & (random.uniform(0.0, 1.0) < 0.6), flow + own, flow)
    return tf.clip_by_value(flow, -MAX_FLOW * width, MAX_FLOW * width)


def _rendered(random: _RandomStream, image: tf.Tensor) -> tf.Tensor:
    """The image, [B, H, W, 3], by another exposure and with noise of its own."""
    image = tf.pow(tf.maximum(image, 1e-4), tf.exp(random.normal(GAMMA)))
    image *= tf.exp(random.normal(COLOUR, 1, 1, 3) + random.normal(EXPOSURE))
    image += random.normal(1.0, *image.shape[1:]) * random.uniform(0.0, NOISE)
    return tf.clip_by_value(image, 0, 1)
