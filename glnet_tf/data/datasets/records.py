"""The source that reads records: shards one after the other, some at a time, shuffled among each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.scenes import DEFAULTS, select_scenes, split_names
from glnet_tf.data.files.records import decode_record, read_index
from glnet_tf.data.source import Loaded, OfPosition, Source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.structures import FRAMES, GroundTruth

# Shards whose snippets are shuffled among each other.
GROUP = 16


class RecordsSource(Source):
    """Snippets of a folder that `write_records` filled. There is no ground truth in it.

    Args:
      root: the folder.
      split: comma-separated names of scenes; empty: all.
      part: "train", "validation" or "all", see data.source.snippet_frames.
      config: stride and held-out frames.

    Raises:
      DataError: the folder holds no records, or a shard is not whole.
      ConfigError: the records were written for another stride.
    """

    skipped = ()

    def __init__(self, root: str | Path, split: str = "", part: str = "train", config: DataConfig = DEFAULTS) -> None:
        self.name, root = str(root), Path(root)
        index = read_index(root)
        if part == "frames" or config.stride != index["stride"]:
            raise ConfigError(
                f"{root}: holds snippets of three frames {index['stride']} apart: expected --stride={index['stride']} "
                "and no single frames; use the folder of frames that the records were written from"
            )
        self.cameras, self.calibrated = tuple(index["cameras"]), index["calibrated"]
        self.shapes = tuple(float(shape) for shape in index["shapes"])
        self._scenes: dict[str, list[str]] = index["scenes"]
        snippets = np.reshape(np.array(index["snippets"], np.int64), (-1, 1 + FRAMES))
        self._stored = np.flatnonzero(
            self._chosen(snippets, set(select_scenes(_scenes(root), split, root)), part, config)
        )
        if not len(self._stored) and not (part == "validation" and config.holdout_scenes):
            raise DataError(
                f"{root}: no snippet for {part} (holdout_frames {config.holdout_frames}): expected some of its "
                f"{len(snippets)}; correct --split or --holdout_frames"
            )
        self._snippets = snippets[self._stored]
        self._shards = [str(root / name) for name, _, _ in index["shards"]]
        self._make_tables(np.array([count for _, _, count in index["shards"]], np.int64))

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        """Returns the names of the scenes; there is nothing but the folder of records to find them in."""
        return _scenes(root)

    def _chosen(self, snippets: np.ndarray, names: set[str], part: str, config: DataConfig) -> np.ndarray:
        """Which of the stored snippets [S, 4], scene and frames, belong to a part: [S] bool."""
        held_scenes = split_names(config.holdout_scenes)
        wanted = np.array([name in names for name in self._scenes])[snippets[:, 0]]
        held = [config.holdout_frames if not held_scenes or name in held_scenes else 0 for name in self._scenes]
        boundary = (np.array([len(files) for files in self._scenes.values()]) - held)[snippets[:, 0]]
        if part == "train":
            wanted &= snippets[:, 3] < boundary
        elif part == "validation":
            wanted &= snippets[:, 1] >= boundary
        return wanted

    def _make_tables(self, counts: np.ndarray) -> None:
        ends = np.cumsum(counts)
        numbers = np.full(counts.sum(), -1)
        numbers[self._stored] = np.arange(len(self._stored))
        self._shard_of = np.searchsorted(ends, self._stored, side="right")
        used = np.unique(self._shard_of)
        with tf.device("/cpu:0"):
            self._paths = tf.constant(self._shards, tf.string)
            self._ends, self._counts = tf.constant(ends, tf.int64), tf.constant(counts, tf.int64)
            self._numbers = tf.constant(numbers, tf.int64)
            self._used = tf.constant(used, tf.int64)
            self._used_counts = tf.constant(np.bincount(self._shard_of, minlength=len(counts))[used], tf.int64)
            self._stored_table = tf.constant(self._stored, tf.int64)
            self._shard_table = tf.constant(self._shard_of, tf.int64)

    def __len__(self) -> int:
        return len(self._stored)

    def files(self, index: int) -> tuple[str, str, str]:
        scene, *frames = self._snippets[index]
        name, files = list(self._scenes.items())[scene]
        before, middle, after = (f"{self._shards[self._shard_of[index]]}: {name}/{files[frame]}" for frame in frames)
        return before, middle, after

    def labels(self, index: int) -> tuple[str, str, str]:
        scene, *frames = self._snippets[index]
        name, files = list(self._scenes.items())[scene]
        before, middle, after = (f"{name}/{Path(files[frame]).stem}" for frame in frames)
        return before, middle, after

    def ground_truth(self, index: int) -> GroundTruth | None:
        return None

    def load(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        shard = self._shard_table[index]
        before = self._stored_table[index] - (self._ends[shard] - self._counts[shard])
        records = tf.data.TFRecordDataset(self._paths[shard]).skip(before).take(1)
        return decode_record(records.get_single_element())

    def index_at(self, position: tf.Tensor | int, seed: int) -> tf.Tensor:
        epoch, place = divmod(int(position), len(self))
        for _, _, numbers, first in self._windows(tf.constant(seed, tf.int64), tf.constant(epoch, tf.int64)):
            if place < int(first) % len(self) + len(numbers):
                return numbers[place - int(first) % len(self)]
        raise AssertionError("an epoch's windows hold all of its positions")

    def ordered(
        self, seed: int, start: int, wanted: OfPosition | None = None, going_on: OfPosition | None = None
    ) -> tf.data.Dataset:
        """See Source; of a damaged shard, all from the first damaged record on raise."""
        start_position = tf.constant(start, tf.int64)
        epochs = tf.data.Dataset.range(start // len(self), np.iinfo(np.int64).max)
        windows = epochs.flat_map(lambda epoch: self._windows(tf.constant(seed, tf.int64), epoch))
        windows = windows.filter(
            lambda shards, places, numbers, first: first + tf.size(numbers, tf.int64) > start_position
        )
        records = windows.map(self._read_window).prefetch(1).unbatch()
        rest = records.filter(lambda record, number, position: position >= start_position)
        if wanted is not None:
            rest = rest.filter(lambda record, number, position: wanted(position))
        if going_on is not None:
            rest = rest.take_while(lambda record, number, position: going_on(position))
        return rest.map(
            lambda record, number, position: Loaded(*decode_record(record), number, position),
            tf.data.AUTOTUNE,
            deterministic=True,
        )

    def _windows(self, seed: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        """The windows of an epoch: shards [g], places in these [n], numbers of the snippets there, first position."""
        epoch_seed = tf.stack([seed, epoch])
        order = _shuffled(tf.size(self._used, tf.int64), epoch_seed)
        before = epoch * len(self) + tf.cumsum(tf.gather(self._used_counts, order), exclusive=True)
        groups = tf.data.Dataset.from_tensor_slices(tf.gather(self._used, order)).batch(GROUP).enumerate()

        def window(group: tf.Tensor, shards: tf.Tensor) -> tuple[tf.Tensor, ...]:
            ends = tf.gather(self._ends, shards)
            numbers = tf.gather(self._numbers, tf.ragged.range(ends - tf.gather(self._counts, shards), ends).values)
            places = tf.where(numbers >= 0)[:, 0]
            places = tf.gather(places, _shuffled(tf.size(places, tf.int64), tf.stack([seed + 1 + group, epoch])))
            return shards, places, tf.gather(numbers, places), before[group * GROUP]

        return groups.map(window)

    def _read_window(
        self, shards: tf.Tensor, places: tf.Tensor, numbers: tf.Tensor, first: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The records of a window [n], the numbers of their snippets and their positions."""
        total = tf.reduce_sum(tf.gather(self._counts, shards))
        read = tf.data.Dataset.from_tensor_slices(shards).map(self._read_shard, tf.data.AUTOTUNE, deterministic=True)
        records = read.unbatch().batch(total).get_single_element()
        return tf.gather(records, places), numbers, first + tf.range(tf.size(places, tf.int64))

    def _read_shard(self, shard: tf.Tensor) -> tf.Tensor:
        """The records of a shard [n]; empty ones in place of those that a damage has made unreadable."""
        intact = tf.data.TFRecordDataset(self._paths[shard]).ignore_errors()
        padded = intact.concatenate(tf.data.Dataset.from_tensors("").repeat()).take(self._counts[shard])
        return padded.batch(self._counts[shard]).get_single_element()


def _shuffled(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A permutation [count] of 0 ... count - 1 for a seed [2]."""
    return tf.random.experimental.index_shuffle(tf.range(count), seed, count - 1)


def _scenes(root: Path) -> dict[str, Path]:
    return {name: root for name in read_index(root)["scenes"]}
