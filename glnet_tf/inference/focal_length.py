"""The focal length of an uncalibrated camera, from how it moves: that under which a rigid motion explains the flow."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.data.frames import Frame
from glnet_tf.geometry.camera import intrinsics_from_field_of_view
from glnet_tf.geometry.motion import motion_from_flow
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.sizes import depth_size
from glnet_tf.progress import progress_bar

# Candidates, relative to the images' longer side: fields of view from 118 to 28 degrees.
FOCAL = np.geomspace(0.3, 2.0, 20)
# Pairs of frames, evenly over no more than so many frames.
PAIRS, MAX_FRAMES = 24, 2000
# Frames from one of a pair to the other: the first that gives a median flow of so much of the longer side, or the last.
STEPS, FLOW = (1, 2, 4, 8), 0.025
FLOW_SIDE = 208
# Pixels: a smaller misfit is noise.
NOISE = 0.01
# What is believed: at most that spread of the logarithm over draws of the pairs, and a mean logarithm of the misfit
# that much below those at either end of the candidates. A camera that never turns tells nothing of its focal length.
MAX_SPREAD, MIN_GAIN, DRAWS = 0.1, 0.03, 100


class FocalLength(NamedTuple):
    """What the motion tells of a camera.

    Attributes:
      focal: focal length relative to the images' longer side.
      spread: standard deviation of its logarithm.
      certain: whether to believe it.
    """

    focal: float
    spread: float
    certain: bool


def estimate_focal_length(model: GLNet, frames: Iterable[Frame], count: int | None = None) -> FocalLength | None:
    """Returns the focal length that explains the flow of a video best; None where it has fewer than PAIRS pairs.

    For every candidate the rigid motion of every pair is found from FlowNet's flow (geometry.motion), and the one with
    the least mean logarithm of the misfits is taken: square pixels, the principal point in the middle. Its spread is
    that over draws of the pairs with replacement.

    Args:
      model: whose FlowNet.
      frames: of the video; at most MAX_FRAMES are read.
      count: how many there are; None: not known.
    """
    if count is not None and count < PAIRS + STEPS[-1]:
        return None
    every = max((min(count or MAX_FRAMES, MAX_FRAMES) - STEPS[-1]) // PAIRS, 1)
    found = []
    with progress_bar(PAIRS, "finding the focal length", "pair", compiles=True) as bar:
        for pair in _pairs(model, frames, every):
            found.append(_misfits(model, pair).numpy())
            bar.update()
            if len(found) == PAIRS:
                break
    if len(found) < PAIRS:
        return None
    misfits = np.log(np.maximum(found, NOISE))
    misfits -= misfits.min(axis=1, keepdims=True)
    focal, gain = _best(misfits)
    rng = np.random.default_rng(0)
    draws = [np.log(_best(misfits[rng.integers(0, PAIRS, PAIRS)])[0]) for _ in range(DRAWS)]
    spread = float(np.std(draws))
    return FocalLength(focal, spread, spread <= MAX_SPREAD and gain >= MIN_GAIN)


def _best(misfits: np.ndarray) -> tuple[float, float]:
    """The focal length of the least mean over the pairs, [P, C], and how much less it is than at either end."""
    means = misfits.mean(axis=0)
    place = int(means.argmin())
    gain = float(min(means[0], means[-1]) - means[place])
    if gain == 0:
        return float(FOCAL[place]), gain
    left, middle, right = means[place - 1 : place + 2]
    # The vertex of the parabola through three candidates, which are evenly spaced in the logarithm.
    shift = 0.5 * (left - right) / max(left - 2 * middle + right, 1e-12)
    return float(FOCAL[place] * (FOCAL[1] / FOCAL[0]) ** shift), gain


def _pairs(model: GLNet, frames: Iterable[Frame], every: int) -> Iterator[tf.Tensor]:
    """Pairs of frames of one scene, [1, 2, H, W, 3] at the networks' size, of which the last ones are `every` apart."""
    seen: deque[tuple[int, np.ndarray]] = deque(maxlen=STEPS[-1] + 1)
    for number, frame in enumerate(frames):
        height, width = depth_size(model.image_size, [frame.image.shape[1] / frame.image.shape[0]])
        seen.append((frame.scene, cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA)))
        if number % every or number < STEPS[-1]:
            continue
        earlier = [seen[-1 - step][1] for step in STEPS if seen[-1 - step][0] == frame.scene]
        if earlier:
            last = seen[-1][1]
            first = next((image for image in earlier if _flow_length(image, last) >= FLOW), earlier[-1])
            yield tf.constant(np.stack([first, last])[np.newaxis], tf.float32) / 255


def _flow_length(first: np.ndarray, second: np.ndarray) -> float:
    """The median length of the flow between two images, relative to their longer side."""
    share = FLOW_SIDE / max(first.shape)
    before, after = (
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        for image in (first, second)
    )
    start = np.zeros((*before.shape, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(before, after, start)
    return float(np.median(np.linalg.norm(flow, axis=-1))) / FLOW_SIDE


@tf.function(autograph=False)
def _misfits(model: GLNet, pair: tf.Tensor) -> tf.Tensor:
    """Pixels by which the best rigid motion misses the flow of a pair, [C], under every candidate."""
    flow = model.flow_net(pair)[0][0]
    height, width = pair.shape[2:4]
    degrees = [2 * math.degrees(math.atan(1 / (2 * focal))) for focal in FOCAL]
    intrinsics = tf.stack([intrinsics_from_field_of_view(x, height, width) for x in degrees])
    forward, backward = (tf.repeat(x[tf.newaxis], len(FOCAL), axis=0) for x in tf.unstack(flow))
    return motion_from_flow(forward, backward, intrinsics).misfit
