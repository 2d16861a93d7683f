"""What every source of snippets offers: an image loader that runs in the graph, and names for its messages."""

from __future__ import annotations

import abc
from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.structures import GroundTruth

# Which snippets of a video a source yields, see snippet_frames.
PARTS = ("train", "validation", "all", "frames")
OfPosition = Callable[[tf.Tensor], tf.Tensor]


class Loaded(NamedTuple):
    """A snippet as a source reads it.

    Attributes:
      images: [3, h, w, 3] uint8 RGB, ordered t-1, t, t+1, at the source's own size.
      intrinsics: [3, 3] float32 K in pixels of these images; zeros when unknown.
      camera: [] int32 index into the source's cameras.
      index: [] int64 number of the snippet.
      position: [] int64 count of samples over all epochs.
    """

    images: tf.Tensor
    intrinsics: tf.Tensor
    camera: tf.Tensor
    index: tf.Tensor
    position: tf.Tensor


class Source(abc.ABC):
    """Videos, seen as a numbered list of snippets of three frames.

    Attributes:
      name: what messages call it (its folder).
      cameras: names of the cameras; `load` returns indices into them.
      calibrated: whether K is known for every snippet.
      shapes: width over height of each camera's own images, before any resizing: of square pixels.
      depth_truth: where the true depth comes from; empty without one.
      skipped: what was left out when the source was opened, one line each, with the reason.
    """

    name: str
    cameras: tuple[str, ...]
    calibrated: bool
    shapes: tuple[float, ...]
    depth_truth: str = ""
    skipped: tuple[str, ...]

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the number of snippets."""

    @abc.abstractmethod
    def load(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns a snippet's frames, in TensorFlow operations only.

        Args:
          index: [] int64 number of the snippet.

        Returns:
          images: [3, h, w, 3] uint8 RGB, ordered t-1, t, t+1, at the source's own size.
          intrinsics: [3, 3] float32 K in pixels of these images; zeros when unknown.
          camera: [] int32 index into `cameras`.
        """

    def index_at(self, position: tf.Tensor | int, seed: int) -> tf.Tensor:
        """Returns which snippet, [] int64, comes at a position of `ordered`."""
        return snippet_index(position, seed, len(self))

    def ordered(
        self, seed: int, start: int, wanted: OfPosition | None = None, going_on: OfPosition | None = None
    ) -> tf.data.Dataset:
        """Returns a dataset of shuffled snippets, each once per epoch; damaged images raise in it.

        Args:
          seed: of the order.
          start: position of the first snippet; a dataset from there equals the rest of one from 0.
          wanted: position -> whether its snippet is decoded; None: all are.
          going_on: position -> whether the dataset does not end there; None: it never does.

        Returns:
          Dataset of Loaded, positions increasing, consecutive where all are wanted.
        """

        def read(position: tf.Tensor) -> Loaded:
            index = self.index_at(position, seed)
            return Loaded(*self.load(index), index, position)

        positions = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        if wanted is not None:
            positions = positions.filter(wanted)
        if going_on is not None:
            positions = positions.take_while(going_on)
        return positions.map(read, tf.data.AUTOTUNE, deterministic=True)

    @abc.abstractmethod
    def files(self, index: int) -> tuple[str, str, str]:
        """Returns the names of a snippet's three frames."""

    @abc.abstractmethod
    def labels(self, index: int) -> tuple[str, str, str]:
        """Returns SCENE/FRAME of a snippet's three frames."""

    def label(self, index: int) -> str:
        """Returns SCENE/FRAME of a snippet's middle frame, by which predictions and splits name it."""
        return self.labels(index)[1]

    @abc.abstractmethod
    def ground_truth(self, index: int) -> GroundTruth | None:
        """Returns what is known about a snippet, None if nothing is."""


def snippet_index(position: tf.Tensor | int, seed: int, size: int) -> tf.Tensor:
    """Returns which snippet comes at a position: every epoch of `size` positions is a permutation of its own.

    Args:
      position: [] int64 count of samples over all epochs.
      seed: of the order.
      size: number of snippets of the source.

    Returns:
      [] int64 in 0 ... size - 1.
    """
    position = tf.convert_to_tensor(position, tf.int64)
    epoch_seed = tf.stack([tf.constant(seed, tf.int64), position // size])
    return tf.random.experimental.index_shuffle(position % size, epoch_seed, tf.constant(size - 1, tf.int64))


def snippet_frames(runs: np.ndarray, stride: int | np.ndarray, holdout_frames: int, part: str) -> np.ndarray:
    """Returns the frames (t - stride, t, t + stride) of all snippets of one scene.

    Args:
      runs: [F] number of the uninterrupted run that each frame belongs to, non-decreasing but for the -1 of a frame
        that cannot be used.
      stride: frames between the frames of a snippet; or [F, 2] back and forth from each.
      holdout_frames: frames at the scene's end that are kept for validation.
      part: "train": snippets that touch none of those frames; "validation": snippets of those frames only; "all":
        all snippets; "frames": one for every usable frame, in which a frame without a neighbour stands in for it.

    Returns:
      [S, 3] int64 indices into the scene's frames; no snippet reaches from one run into another.
    """
    middle = np.arange(len(runs))
    back, forth = np.broadcast_to(stride, (len(runs), 2)).T
    frames = np.stack([middle - back, middle, middle + forth], axis=1)
    inside = (frames >= 0) & (frames < len(runs))
    of_run = inside & (runs[np.where(inside, frames, 0)] == runs[:, np.newaxis]) & (runs[:, np.newaxis] >= 0)
    if part == "frames":
        return np.where(of_run, frames, middle[:, np.newaxis])[runs >= 0]
    boundary = len(runs) - holdout_frames
    wanted = {"train": frames[:, 2] < boundary, "validation": frames[:, 0] >= boundary, "all": True}[part]
    return frames[of_run.all(axis=1) & wanted]
