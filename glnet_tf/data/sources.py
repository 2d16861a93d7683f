"""Sources without files, several sources as one, and the choice of a source by the configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.cityscapes import CityscapesSource
from glnet_tf.data.datasets.flow_pairs import KittiFlowSource, MiddleburyFlowSource
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.datasets.kitti import KittiOdometrySource, KittiRawSource
from glnet_tf.data.datasets.records import RecordsSource
from glnet_tf.data.datasets.rgbd import RgbdSource
from glnet_tf.data.datasets.scenes import SceneSource, split_names
from glnet_tf.data.datasets.video import VideoSource
from glnet_tf.data.source import Source, snippet_frames
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.progress import progress_bar
from glnet_tf.street.street import SKY_DEPTH, Mount, Street
from glnet_tf.structures import GroundTruth

FILE_SOURCES: dict[str, type[SceneSource] | type[RecordsSource]] = {
    "folder": FolderSource,
    "kitti_odometry": KittiOdometrySource,
    "kitti_raw": KittiRawSource,
    "kitti_flow": KittiFlowSource,
    "cityscapes": CityscapesSource,
    "rgbd": RgbdSource,
    "middlebury_flow": MiddleburyFlowSource,
    "video": VideoSource,
    "records": RecordsSource,
}
# Where cars wait at lights.
DEFAULT_MIN_PARALLAX = {"kitti_raw": 1.0}
KINDS = (*FILE_SOURCES, "street")
# Streets kept for their ground truth, 40 MB each; one that is not kept is laid out again.
STREETS_KEPT = 32


class StreetSource(Source):
    """Rendered streets with full ground truth, images held in memory; one camera films all, or a different one each.

    Args:
      seeds: one street each.
      frames: per street.
      height, width: of the images, pixels.
      style: how the streets look, see `street.Street`; "mixed": each in its own, by a camera of its own focal
        length, height and pitch.
      traffic: see `street.Street`.
      stride, holdout_frames, part: see `data.source.snippet_frames`.

    Raises:
      DataError: no snippet remains.
    """

    depth_truth = "rendered"
    calibrated = True
    skipped = ()

    def __init__(
        self,
        seeds: Sequence[int],
        frames: int,
        height: int,
        width: int,
        style: str = "town",
        traffic: str = "passing",
        stride: int = 1,
        holdout_frames: int = 0,
        part: str = "train",
    ) -> None:
        self.name = "street"
        mixed = style == "mixed"
        make = partial(
            mixed_street if mixed else partial(Street, style=style),
            frames=frames,
            height=height,
            width=width,
            traffic=traffic,
        )
        self._street = lru_cache(STREETS_KEPT)(make)
        self.cameras = tuple(f"street{seed}" for seed in seeds) if mixed else ("street",)
        self._seeds, self._frames, self._stride = tuple(seeds), frames, stride
        self.shapes = (width / height,) * len(self.cameras)
        found = snippet_frames(np.zeros(frames, np.int64), stride, holdout_frames, part)
        self._snippets = np.concatenate([number * frames + found for number in range(len(self._seeds))])
        if not len(self._snippets):
            raise DataError(
                f"street: no snippet for {part} (stride {stride}, holdout_frames {holdout_frames}): expected "
                f"{2 * stride + 1} frames or more of the {frames} per street; raise --street_frames"
            )
        images = np.empty((len(self._seeds) * frames, height, width, 3), np.uint8)
        intrinsics = np.empty((len(self._seeds), 3, 3), np.float32)
        with progress_bar(len(images), "rendering streets", "frame") as bar:
            for number, seed in enumerate(self._seeds):
                street = self._street(seed)
                intrinsics[number] = street.intrinsics
                for frame in range(frames):
                    images[number * frames + frame] = street.frame(frame).image
                    bar.update()
        with tf.device("/cpu:0"):
            self._images = tf.constant(images)
            self._snippet_table = tf.constant(self._snippets, tf.int64)
            self._intrinsics = tf.constant(intrinsics)

    def __len__(self) -> int:
        return len(self._snippets)

    def load(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        frames = self._snippet_table[index]
        number = frames[1] // self._frames
        camera = tf.cast(number, tf.int32) if len(self.cameras) > 1 else tf.constant(0, tf.int32)
        return tf.gather(self._images, frames), self._intrinsics[number], camera

    def files(self, index: int) -> tuple[str, str, str]:
        before, middle, after = (
            f"street {self._seeds[frame // self._frames]} frame {frame % self._frames}"
            for frame in self._snippets[index]
        )
        return before, middle, after

    def labels(self, index: int) -> tuple[str, str, str]:
        before, middle, after = (
            f"street{self._seeds[frame // self._frames]}/{frame % self._frames:06d}" for frame in self._snippets[index]
        )
        return before, middle, after

    def ground_truth(self, index: int) -> GroundTruth:
        number = int(self._snippets[index, 1]) // self._frames
        street = self._street(self._seeds[number])
        before, frame, after = (int(frame) - number * self._frames for frame in self._snippets[index])
        rendered = street.frame(frame)
        flow, visible = street.flow(frame, after)
        depth = np.where(rendered.depth < SKY_DEPTH, rendered.depth, 0.0)
        motions = np.stack([street.relative_pose(before, frame), street.relative_pose(frame, after)])
        return GroundTruth(
            depth=depth.astype(np.float32),
            flow=np.asarray(flow, np.float32),
            flow_valid=visible,
            visible=visible,
            moving=rendered.moving,
            poses=motions.astype(np.float32),
        )


def mixed_street(seed: int, frames: int, height: int, width: int, traffic: str) -> Street:
    """Returns a street whose style, focal length and mount of the camera follow from its seed."""
    rng = np.random.default_rng([seed, 1])
    style = str(rng.choice(("town", "country")))
    mount = Mount(raised=rng.uniform(-0.4, 0.5), pitch=np.deg2rad(rng.uniform(-3, 3)))
    focal = width * rng.uniform(0.5, 0.9)
    return Street(seed, frames, height, width, focal, style, mount, traffic)


class JoinedSource(Source):
    """Several sources as one: snippets and cameras follow each other in the order of the sources.

    Args:
      sources: at least one; their images may differ in size.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.name = ",".join(source.name for source in sources)
        self.calibrated = all(source.calibrated for source in sources)
        self.shapes = tuple(shape for source in sources for shape in source.shapes)
        self.depth_truth = ",".join(dict.fromkeys(source.depth_truth for source in sources))
        self.skipped = tuple(line for source in sources for line in source.skipped)
        self.cameras = _distinct_cameras(self.sources)
        self._starts = np.cumsum([0] + [len(source) for source in sources])
        self._camera_starts = np.cumsum([0] + [len(source.cameras) for source in sources])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def load(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        starts = tf.constant(self._starts, tf.int64)
        number = tf.searchsorted(starts, [tf.cast(index, tf.int64)], side="right")[0] - 1
        return tf.switch_case(number, [partial(self._load_from, k, index) for k in range(len(self.sources))])

    def _load_from(self, number: int, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images, intrinsics, camera = self.sources[number].load(index - self._starts[number])
        return images, intrinsics, camera + int(self._camera_starts[number])

    def _locate(self, index: int) -> tuple[Source, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.sources[number], index - int(self._starts[number])

    def files(self, index: int) -> tuple[str, str, str]:
        source, local = self._locate(index)
        return source.files(local)

    def labels(self, index: int) -> tuple[str, str, str]:
        source, local = self._locate(index)
        return source.labels(local)

    def ground_truth(self, index: int) -> GroundTruth | None:
        source, local = self._locate(index)
        return source.ground_truth(local)


def _distinct_cameras(sources: Sequence[Source]) -> tuple[str, ...]:
    names = [camera for source in sources for camera in source.cameras]
    if len(set(names)) < len(names):
        names = [f"{source.name}/{camera}" for source in sources for camera in source.cameras]
    return tuple(names)


def open_source(config: DataConfig, part: str) -> Source:
    """Returns the source that a configuration describes.

    Args:
      config: kinds, folders, scenes, stride and held-out frames.
      part: "train": snippets without a held-out frame; "validation": of these frames only; "all": all snippets;
        "frames": one for every usable frame, in which a frame without a neighbour stands in for it.

    Returns:
      One source; several kinds are joined.

    Raises:
      ConfigError: the kinds, folders and scenes of the configuration do not fit together.
      DataError: the data are missing or not as they should be.

    Example:
      from glnet_tf.config import DataConfig
      from glnet_tf.data.pipeline import batches
      from glnet_tf.data.sources import open_source

      data = DataConfig(dataset="video", data_dir="drive.mp4", batch_size=2)
      source = open_source(data, "all")
      print(len(source), "snippets, of the first", source.files(0))
      for snippet in batches(source, data):
          snippet.images  # [B, 3, 128, 416, 3] float32 RGB from 0 to 1; the last batch may be smaller
          snippet.intrinsics  # [B, 3, 3] K in pixels of these images; zeros where it is not known
    """
    kinds = split_names(config.dataset)
    for kind in kinds or [config.dataset]:
        if kind not in KINDS:
            raise ConfigError(
                f"--dataset={config.dataset}: {kind!r} is not a kind: expected some of {', '.join(KINDS)}"
            )
    if part == "validation" and config.holdout_frames <= 2 * config.stride:
        raise ConfigError(
            f"--holdout_frames={config.holdout_frames}: expected at least {2 * config.stride + 1} for a validation "
            f"part with --stride={config.stride}"
        )
    roots = [entry.strip() for entry in config.data_dir.split(",")]
    if len(roots) != len(kinds) or any(kind in FILE_SOURCES and not root for kind, root in zip(kinds, roots)):
        raise ConfigError(
            f"--data_dir={config.data_dir}: expected {len(kinds)} folder(s) separated by commas, one for each of "
            f"--dataset={config.dataset}; a street's is empty"
        )
    splits = _splits(config, kinds, roots)
    sources = [_open_one(kind, root, split, config, part) for kind, root, split in zip(kinds, roots, splits)]
    source = sources[0] if len(sources) == 1 else JoinedSource(sources)
    if not len(source):
        raise ConfigError(f"--holdout_scenes={config.holdout_scenes}: expected scenes of {config.data_dir}")
    return source


def _splits(config: DataConfig, kinds: Sequence[str], roots: Sequence[str]) -> list[str]:
    """The part of the split that belongs to each source: those of its names that are scenes of that source."""
    wanted = split_names(config.split)
    if not wanted:
        return [""] * len(kinds)
    scenes = [
        list(FILE_SOURCES[kind].discover(Path(root), config)) if kind in FILE_SOURCES else []
        for kind, root in zip(kinds, roots)
    ]
    for name in wanted:
        if not any(name in names for names in scenes):
            known = ", ".join([name for names in scenes for name in names][:20])
            raise ConfigError(f"--split={config.split}: {name} is not in {config.data_dir}: expected some of {known}")
    for root, names in zip(roots, scenes):
        if names and not set(wanted) & set(names):
            raise ConfigError(
                f"--split={config.split}: names no scene of {root}: expected some of {', '.join(names[:20])}; "
                "add one, or leave the folder out"
            )
    return [",".join(name for name in wanted if name in names) for names in scenes]


def _open_one(kind: str, root: str, split: str, config: DataConfig, part: str) -> Source:
    if kind == "street":
        seeds = range(config.street.street_seed, config.street.street_seed + config.street.streets)
        return StreetSource(
            seeds,
            config.street.street_frames,
            config.image_height,
            config.image_width,
            config.street.street_style,
            config.street.street_traffic,
            stride=config.stride,
            holdout_frames=config.holdout_frames,
            part=part,
        )
    if config.min_parallax < 0:
        config = dataclasses.replace(config, min_parallax=DEFAULT_MIN_PARALLAX.get(kind, 0.0))
    return FILE_SOURCES[kind](root, split, part, config)
