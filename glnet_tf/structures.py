"""The values that flow through the library: named fields with shapes, never string-keyed dictionaries.

Shapes use B for the batch, H and W for the image, s for the pyramid level (h = H / 2^s, w = W / 2^s), F for the frames
(3 in a snippet, more in a window of a video) and P = 2 (F - 1) for their ordered pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

FRAMES = 3
# Of a snippet's frames.
MIDDLE = 1
SCALES = 4


class Pairs(NamedTuple):
    """The ordered pairs (a, b) of neighbouring frames.

    Attributes:
      first, second: a and b of every pair: all pairs in the order of time, then their reverses in the same order.
      reverse: position of every pair's reverse.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    reverse: tuple[int, ...]


def ordered_pairs(frames: int) -> Pairs:
    """Returns the ordered pairs of so many consecutive frames."""
    earlier, later = tuple(range(frames - 1)), tuple(range(1, frames))
    return Pairs(earlier + later, later + earlier, tuple(range(frames - 1, 2 * frames - 2)) + earlier)


def frame_pairs(frames: int, forward_only: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns first and second of the ordered pairs, or only of those in the order of time."""
    first, second, _ = ordered_pairs(frames)
    count = frames - 1 if forward_only else len(first)
    return first[:count], second[:count]


# Of a snippet (t-1, t, t+1) = (0, 1, 2). Pair k's reverse is REVERSE[k].
PAIRS = tuple(zip(*ordered_pairs(FRAMES)[:2]))
REVERSE = ordered_pairs(FRAMES).reverse
# The pair from the middle frame to the next.
NEXT = PAIRS.index((1, 2))


class Snippet(NamedTuple):
    """Consecutive frames of one video, batched: three, or the more of a window.

    Attributes:
      images: [B, F, H, W, 3] float32 RGB in [0, 1], in the order of time.
      intrinsics: [B, 3, 3] float32 K in pixels of these images; all zeros where the source has no calibration.
      camera: [B] int32 index of the camera (videos filmed by one camera share it); -1 for a camera never trained on.
      index: [B] int64 position of the snippet in its source, by which errors name its files.
      mirrored: [B] bool, True where images and intrinsics were mirrored left to right.
    """

    images: tf.Tensor
    intrinsics: tf.Tensor
    camera: tf.Tensor
    index: tf.Tensor
    mirrored: tf.Tensor


def snippet_signature(height: int | None, width: int | None, frames: int = FRAMES, count: int | None = None) -> Snippet:
    """Returns the shapes of a batch of `count` snippets; None: of any number, height or width.

    What is known makes graphs smaller: the shapes of everything in them are then numbers, not operations.
    """
    return Snippet(
        images=tf.TensorSpec([count, frames, height, width, 3], tf.float32),
        intrinsics=tf.TensorSpec([count, 3, 3], tf.float32),
        camera=tf.TensorSpec([count], tf.int32),
        index=tf.TensorSpec([count], tf.int64),
        mirrored=tf.TensorSpec([count], tf.bool),
    )


class GroundTruth(NamedTuple):
    """What a source knows about a snippet's middle frame, in NumPy and at its own size; None: nothing.

    Attributes:
      depth: [H, W] depth z of frame t in metres, 0 where there is none.
      flow: [H, W, 2] flow (u, v) in pixels from frame t to frame t+1.
      flow_valid: [H, W] bool, where `flow` is known.
      visible: [H, W] bool, where `flow` is known and leads to a point that frame t+1 shows.
      moving: [H, W] bool, on independently moving objects of frame t.
      poses: [2, 4, 4] T from camera t-1 to t and from camera t to t+1 (metres).
    """

    depth: np.ndarray | None = None
    flow: np.ndarray | None = None
    flow_valid: np.ndarray | None = None
    visible: np.ndarray | None = None
    moving: np.ndarray | None = None
    poses: np.ndarray | None = None


class Predictions(NamedTuple):
    """What GLNet says about a snippet.

    Attributes:
      disparities: one [B, F, h, w, 1] tensor per level s = 0..3: inverse depth of every frame (up to scale).
      flows: one [B, P, h, w, 2] tensor per level: flow (u, v) of every ordered pair, in pixels of that level.
      poses: [B, P, 4, 4] T_ab of every ordered pair: maps points of camera a into camera b (up to scale).
      intrinsics: [B, 3, 3] K in pixels of the full-size image.
    """

    disparities: tuple[tf.Tensor, ...]
    flows: tuple[tf.Tensor, ...]
    poses: tf.Tensor
    intrinsics: tf.Tensor


class LossReport(NamedTuple):
    """The unweighted loss terms, each averaged over pairs and levels: scalars, or [B], one for each snippet.

    Attributes:
      photometric, structure, epipolar, depth_smoothness, flow_smoothness, consistency: the paper's six terms.
      triangulation: of depth and what flow and motion triangulate (ours).
      evidence: of depth and evidence that was found beforehand (ours).
    """

    photometric: tf.Tensor
    structure: tf.Tensor
    epipolar: tf.Tensor
    depth_smoothness: tf.Tensor
    flow_smoothness: tf.Tensor
    consistency: tf.Tensor
    triangulation: tf.Tensor
    evidence: tf.Tensor


def dimension(tensor: tf.Tensor, axis: int) -> int | tf.Tensor:
    """Returns how long a tensor is along an axis: a number where the graph knows it, which costs it nothing."""
    known = tensor.shape[axis]
    return tf.shape(tensor)[axis] if known is None else known


def height_and_width(maps: tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Returns H and W of [..., H, W, C], see dimension."""
    return dimension(maps, -3), dimension(maps, -2)


def merge(tensor: tf.Tensor) -> tf.Tensor:
    """Returns a [B, K, ...] tensor as [B * K, ...]: frames or pairs of snippets side by side in one batch."""
    count, inner = tensor.shape[:2]
    first = -1 if None in (count, inner) else count * inner
    return tf.reshape(tensor, [first, *(dimension(tensor, axis) for axis in range(2, len(tensor.shape)))])


def split(tensor: tf.Tensor, count: int) -> tf.Tensor:
    """Returns a [B * count, ...] tensor as [B, count, ...]: the inverse of merge."""
    first = -1 if tensor.shape[0] is None else tensor.shape[0] // count
    return tf.reshape(tensor, [first, count, *(dimension(tensor, axis) for axis in range(1, len(tensor.shape)))])


def pick(tensor: tf.Tensor, numbers: Sequence[int]) -> tf.Tensor:
    """Returns frames or pairs of [B, K, ...] by their numbers, side by side in one batch: [B * len(numbers), ...]."""
    # Numbers of 64 bits lie on a GPU; of 32 bits they would travel there at every step.
    return merge(tf.gather(tensor, tf.constant(numbers, tf.int64), axis=1))


class FramePrediction(NamedTuple):
    """Everything predicted for one frame, in NumPy and at its own size; lengths are up to one scale.

    Attributes:
      image: [H, W, 3] uint8 RGB.
      disparity: [H, W] inverse depth.
      confidence: [H, W] how much of the depth is proved by the motion, from 0, the network's word alone, to 1.
      flow: [H, W, 2] to the next frame, pixels; None for the last one.
      moving: [H, W] bool, where flow and rigid flow disagree: the object moves by itself; None for the last frame.
      motion: [4, 4] T from this camera to the next frame's; None for the last one.
      pose: [4, 4] camera to world; the world is the first frame's camera.
      intrinsics: [3, 3] K in pixels.
      reason: why its window was not refined; empty if it was, or was not to be.
      initial: what was predicted before refinement, in the same scale; None if nothing was to be refined.
    """

    image: np.ndarray
    disparity: np.ndarray
    confidence: np.ndarray
    flow: np.ndarray | None
    moving: np.ndarray | None
    motion: np.ndarray | None
    pose: np.ndarray
    intrinsics: np.ndarray
    reason: str = ""
    initial: FramePrediction | None = None

    @property
    def depth(self) -> np.ndarray:
        """[H, W] depth z."""
        return 1 / self.disparity

    @property
    def next_pose(self) -> np.ndarray:
        """[4, 4] camera to world of the next frame; of this one, if it is the last."""
        return pose_after(self.pose, self.motion)


def pose_after(pose: np.ndarray, motion: np.ndarray | None) -> np.ndarray:
    """Returns camera to world, [4, 4], after a motion, [4, 4] from the camera to the next; without one, the same."""
    return pose if motion is None else pose @ np.linalg.inv(motion)


def rescaled(frame: FramePrediction, scale: float) -> FramePrediction:
    """Returns a prediction whose lengths are multiplied by `scale`."""
    return frame._replace(
        disparity=frame.disparity / scale,
        motion=None if frame.motion is None else rescaled_motion(frame.motion, scale),
        pose=rescaled_motion(frame.pose, scale),
        initial=None if frame.initial is None else rescaled(frame.initial, scale),
    )


def rescaled_motion(motion: np.ndarray, scale: float) -> np.ndarray:
    """Returns motions or poses, [..., 4, 4], whose translation is multiplied by `scale`."""
    scaled = motion.copy()
    scaled[..., :3, 3] *= scale
    return scaled
