"""From a source to batches, as tf.data: the order and every augmentation depend on the seed and a position alone.

A position counts samples over all epochs. Resuming a stream is starting it at a position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.augment import augment, keep_unknown, zoom
from glnet_tf.data.source import Loaded, Source
from glnet_tf.errors import DataError
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.structures import FRAMES, Snippet


class Share(NamedTuple):
    """A worker's part of every batch: of `workers` equal runs of positions, the one with number `worker`."""

    worker: int
    workers: int

    def holds(self, offset: tf.Tensor | int, batch_size: int) -> tf.Tensor | bool:
        """Returns whether the position so many after a batch's first one is in the part."""
        return offset % batch_size // (batch_size // self.workers) == self.worker


WHOLE = Share(0, 1)
# Positions that are read before the first of them is taken, at most.
MAX_READ_AHEAD = 1000


def stream(
    source: Source, config: DataConfig, seed: int, start: int = 0, augmented: bool = True, share: Share = WHOLE
) -> tf.data.Dataset:
    """Returns a dataset of shuffled training batches, endless unless no snippet can be decoded any more.

    A snippet whose images are damaged is left out.

    With a `share`, only that part of every batch is decoded. A damaged snippet is replaced by the next one of the same
    share: every worker still has a full part at every step, but is then ahead of the others by a snippet.

    Args:
      source: where the snippets come from.
      config: size of the images, of the batches, and the augmentation.
      seed: of the order and the augmentation.
      start: position of the first sample; a stream from there equals the rest of a stream from 0.
      augmented: whether to augment as `config` says.
      share: of a worker, whose number divides the batch; by default the whole batch.

    Returns:
      Dataset of (Snippet, positions): images [B, 3, H, W, 3], positions [B] int64, consecutive within the share except
      where snippets were left out (see `missing_positions`).

    Raises:
      DataError: not one snippet of the source can be decoded.
    """
    check_readable(source)

    def sample(loaded: Loaded) -> tuple[Snippet, tf.Tensor]:
        frames, intrinsics = loaded.images, loaded.intrinsics
        augmentation_seed = tf.stack([tf.constant(seed, tf.int64), loaded.position])
        if augmented and config.zoom:
            frames, intrinsics = zoom(frames, intrinsics, augmentation_seed, config.zoom)
        snippet = _fitted(frames, intrinsics, loaded.camera, loaded.index, config)
        if augmented:
            images, intrinsics, mirrored = augment(
                snippet.images, snippet.intrinsics, augmentation_seed, config.flip, config.colour
            )
            snippet = snippet._replace(images=images, intrinsics=intrinsics, mirrored=mirrored)
        return snippet, loaded.position

    with tf.device("/cpu:0"):
        fruitless = tf.Variable(0, dtype=tf.int64, trainable=False)  # positions since the last intact snippet
    # Two intact ones are less than two passes apart; more are under way at a time.
    limit = 2 * len(source) + MAX_READ_AHEAD

    def going_on(position: tf.Tensor) -> tf.Tensor:
        return fruitless.assign_add(1) <= limit

    def intact(loaded: Loaded) -> Loaded:
        with tf.control_dependencies([fruitless.assign(0)]):
            return tf.nest.map_structure(tf.identity, loaded)

    wanted = None if share == WHOLE else lambda position: share.holds(position - start, config.batch_size)
    loaded = source.ordered(seed, start, wanted, going_on).ignore_errors().map(intact)
    samples = loaded.map(sample, tf.data.AUTOTUNE, deterministic=True)
    return samples.batch(config.batch_size // share.workers, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def batches(
    source: Source, config: DataConfig, indices: Sequence[int] | Sequence[Sequence[int]] | None = None
) -> tf.data.Dataset:
    """Returns a finite dataset of batches in order, not augmented; a snippet whose images are damaged is left out.

    Args:
      source: where the snippets come from.
      config: size of the images and of the batches.
      indices: numbers of the snippets; or for every window those of its consecutive snippets, as many for each; None:
        all snippets.

    Returns:
      Dataset of Snippet, images [B, F, H, W, 3]; the last batch may be smaller, and `Snippet.index`, of a window that
      of its first snippet, says which came.
    """
    numbers = np.arange(len(source)) if indices is None else np.asarray(indices)
    windows = numbers.astype(np.int64)[:, np.newaxis] if numbers.ndim == 1 else numbers
    samples = tf.data.Dataset.from_tensor_slices(windows).map(
        lambda window: _read_window(source, config, tf.unstack(window, windows.shape[1])),
        tf.data.AUTOTUNE,
        deterministic=True,
    )
    return samples.ignore_errors().batch(config.batch_size).prefetch(tf.data.AUTOTUNE)


def _read_window(source: Source, config: DataConfig, indices: Sequence[tf.Tensor]) -> Snippet:
    """Snippets that follow each other as one: the first frame of each, and the other two of the last."""
    snippets = [read_snippet(source, config, index) for index in indices]
    images = [snippet.images[:1] for snippet in snippets] + [snippets[-1].images[1:]]
    return snippets[0]._replace(images=tf.concat(images, axis=0))


def read_snippet(source: Source, config: DataConfig, index: tf.Tensor) -> Snippet:
    """Returns a snippet at the network's size: images [3, H, W, 3], intrinsics [3, 3], without batch axis."""
    return _fitted(*source.load(index), index, config)


def _fitted(
    frames: tf.Tensor, intrinsics: tf.Tensor, camera: tf.Tensor, index: tf.Tensor, config: DataConfig
) -> Snippet:
    size = (config.image_height, config.image_width)
    shape = tf.shape(frames)
    scaled = resize_intrinsics(intrinsics, (shape[1], shape[2]), size)
    images = tf.ensure_shape(resize(frames, size), [FRAMES, *size, 3])
    return Snippet(images, keep_unknown(intrinsics, scaled), camera, index, tf.constant(False))


def resize(frames: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns frames resized without aliasing, about the pixel convention x' + 0.5 = (x + 0.5) W' / W.

    Args:
      frames: [F, h, w, 3] uint8.
      size: (H, W).

    Returns:
      [F, H, W, 3] float32 in [0, 1].
    """
    shape = tf.shape(frames)
    # Averaging over areas is the exact filter for shrinking, but repeats pixels where it enlarges.
    resized = tf.case(
        [
            (tf.reduce_all(shape[1:3] == tf.constant(size)), lambda: tf.cast(frames, tf.float32)),
            (
                tf.reduce_all(shape[1:3] >= tf.constant(size)),
                lambda: tf.image.resize(frames, size, method="area"),
            ),
        ],
        lambda: tf.image.resize(frames, size, antialias=True),
    )
    return resized / 255.0


def missing_positions(expected_start: int, positions: Iterable[int]) -> list[int]:
    """Returns the positions that a batch of a stream left out because their images are damaged.

    Args:
      expected_start: the position after the last one of the batch before.
      positions: those of the batch, increasing.

    Returns:
      The positions from `expected_start` to the batch's last one that are not in the batch.
    """
    present = [int(position) for position in positions]
    return sorted(set(range(expected_start, present[-1] + 1)) - set(present))


def check_readable(source: Source) -> None:
    """Raises a DataError if no snippet of a source can be decoded: a stream of it would never yield a batch."""
    whole = tf.data.Dataset.range(len(source)).map(source.load)
    for _ in whole.ignore_errors().take(1):
        return
    raise unreadable(source)


def unreadable(source: Source) -> DataError:
    """Returns the error that no snippet of a source can be decoded."""
    return DataError(
        f"{source.name}: none of its {len(source)} snippets can be decoded, e.g. {', '.join(source.files(0))}: "
        "expected complete JPEG or PNG images; copy or extract them again"
    )
