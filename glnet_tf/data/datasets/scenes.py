"""Scenes, the image sequences that the folder and KITTI layouts have in common, and the source that reads them."""

from __future__ import annotations

import abc
import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.files.calibration import Camera, check_fit, undistort
from glnet_tf.data.files.image_names import frame_name, uninterrupted_runs
from glnet_tf.data.files.images import common_size, image_headers, read_image
from glnet_tf.data.preparation.parallax import distant_frames, scene_parallax, static_snippets
from glnet_tf.data.source import Source, snippet_frames
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.structures import FRAMES, GroundTruth

DEFAULTS = DataConfig()


@dataclasses.dataclass(frozen=True)
class Scene:
    """One video as image files, and what is known about its frames.

    Attributes:
      name: what `--split` calls it.
      files: paths of its frames in temporal order.
      camera: name of the camera that filmed it.
      intrinsics: [3, 3] K in pixels of the files, or None.
      distortion: [5] k1 k2 p1 p2 k3, which is taken out on reading, or None.
      poses: [F, 4, 4] camera to world of every file, metres, or None.
      depth: from the number of a frame to its depth, [h, w] in metres, 0 where unknown, or None without one.
      flow: from the number of a frame to its flow to the next one, or None without one.
      shape: width over height of its frames as they were filmed, or None if nobody resized them since.
      used_rows: share of the images' rows, from the top, that show the world and not the car that carries the camera.
    """

    name: str
    files: tuple[str, ...]
    camera: str
    intrinsics: np.ndarray | None = None
    distortion: np.ndarray | None = None
    poses: np.ndarray | None = None
    depth: Callable[[int], np.ndarray | None] | None = None
    flow: Callable[[int], FlowTruth | None] | None = None
    shape: float | None = None
    used_rows: float = 1.0

    @property
    def lens(self) -> Camera:
        """K, and the distortion that is taken out on reading."""
        return Camera(self.intrinsics, self.distortion)


class FlowTruth(NamedTuple):
    """Flow of a frame to the next, and where it is known, leads to a visible point, is a mover's; see GroundTruth."""

    flow: np.ndarray | None
    valid: np.ndarray | None
    visible: np.ndarray | None
    moving: np.ndarray | None


class SceneSource(Source):
    """Snippets of scenes: three readable frames of one uninterrupted run of one scene.

    A data set derives from it and says where its scenes are and how one is read.

    Args:
      root: folder of the data set.
      split: comma-separated names of scenes; empty: all.
      part: see data.source.snippet_frames.
      config: stride, held-out frames and what the data set asks for; its dataset, data_dir and split do not matter.

    Raises:
      DataError: no snippet remains, or the frames of a scene differ in size, or K does not fit them.
    """

    def __init__(self, root: str | Path, split: str = "", part: str = "train", config: DataConfig = DEFAULTS) -> None:
        self.name, self.root, self.config = str(root), Path(root), config
        places = select_scenes(self.discover(self.root, config), split, root)
        excluded = {name: reason for name in places if (reason := self.exclusion(name, part))}
        self.scenes = tuple(self.read_scene(name, place) for name, place in places.items() if name not in excluded)
        self.cameras = tuple(dict.fromkeys(scene.camera for scene in self.scenes))
        self.calibrated = all(scene.intrinsics is not None for scene in self.scenes)
        self._paths = [file for scene in self.scenes for file in scene.files]
        self._starts = np.cumsum([0] + [len(scene.files) for scene in self.scenes])
        self._sizes = []
        # Whether TensorFlow decodes all images: only then no Python runs in the pipeline.
        self._plain = True
        skipped = [f"{name}: {reason}" for name, reason in excluded.items()]
        found = [np.zeros((0, 3), np.int64)]
        for scene, start in zip(self.scenes, self._starts):
            size, frames, reasons = self._snippets(scene, part)
            self._sizes.append(size)
            skipped += reasons
            found.append(start + frames)
        self.shapes = tuple(self._shape(camera) for camera in self.cameras)
        self.skipped = tuple(skipped)
        self._frames = np.concatenate(found)
        # Of several sources, some may have no scene that is held out; their cameras keep their numbers all the same.
        if not len(self._frames) and not (part == "validation" and config.holdout_scenes):
            raise DataError(
                f"{root}: no snippet for {part} (stride {config.stride}, holdout_frames {config.holdout_frames}): "
                f"expected a scene with {2 * config.stride + 1} consecutive readable frames; {'; '.join(skipped[:5])}"
            )
        self._scene_of = np.searchsorted(self._starts, self._frames[:, 1], side="right") - 1
        self._make_tables()

    @staticmethod
    @abc.abstractmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        """Returns where each scene under a root is, by name."""

    @abc.abstractmethod
    def read_scene(self, name: str, place: Path) -> Scene:
        """Returns the scene at a place that `discover` found."""

    def exclusion(self, name: str, part: str) -> str:
        """Returns why a scene does not belong to a part; empty if it does."""
        return ""

    def _snippets(self, scene: Scene, part: str) -> tuple[tuple[int, int], np.ndarray, list[str]]:
        """The size of a scene's files (height, width), the frames of its snippets [S, 3], and what was left out."""
        headers = image_headers(scene.files)
        self._plain &= all(header is None or header.plain for header in headers)
        sizes = [None if header is None else header.size for header in headers]
        readable = np.array([size is not None for size in sizes], bool)
        skipped = [f"{file}: not an image, or damaged" for file, good in zip(scene.files, readable) if not good]
        size = common_size(scene.files, sizes)
        if scene.intrinsics is not None and size != (0, 0):
            check_fit(scene.intrinsics, size, scene.name)
        runs = np.where(readable, uninterrupted_runs(scene.files, readable), -1)
        held_scenes = split_names(self.config.holdout_scenes)
        held = self.config.holdout_frames if not held_scenes or scene.name in held_scenes else 0
        measure = partial(scene_parallax, scene.files, scene.lens, scene.used_rows, self.config.cache_dir)
        target = self.config.target_parallax
        stride = distant_frames(measure(), target) if target and len(runs) else self.config.stride
        frames = snippet_frames(runs, stride, held, part)
        if part in ("train", "validation") and self.config.min_parallax > 0 and len(frames):
            steps = measure()
            static = static_snippets(frames, steps, self.config.min_parallax)
            if static.any():
                skipped.append(f"{scene.name}: {_left_out_as_static(static.sum(), self.config.min_parallax)}")
            frames = frames[~static]
        if not len(frames):
            skipped.append(f"{scene.name}: no snippet, {_few(readable.sum(), len(np.unique(runs[readable])))}")
        return size, frames, skipped

    def _shape(self, camera: str) -> float:
        number = next(number for number, scene in enumerate(self.scenes) if scene.camera == camera)
        scene, (height, width) = self.scenes[number], self._sizes[number]
        # Without one readable frame there is no snippet either.
        return scene.shape or width / max(_used_height(scene, (height, width)), 1)

    def _make_tables(self) -> None:
        unknown = np.zeros((3, 3))
        known = [unknown if scene.intrinsics is None else scene.intrinsics for scene in self.scenes]
        nothing = np.zeros(5)
        distortions = [nothing if scene.distortion is None else scene.distortion for scene in self.scenes]
        self._plain &= not np.any(distortions)
        rows = [_used_height(scene, size) for scene, size in zip(self.scenes, self._sizes)]
        # Input pipelines run on the CPU, and a table on a GPU would be copied for each snippet.
        with tf.device("/cpu:0"):
            self._path_table = tf.constant([os.fsencode(path) for path in self._paths], tf.string)
            self._frame_table = tf.constant(self._frames, tf.int64)
            self._scene_table = tf.constant(self._scene_of, tf.int64)
            self._intrinsics_table = tf.constant(np.reshape(known, (-1, 3, 3)), tf.float32)
            self._distortion_table = tf.constant(distortions, tf.float32)
            self._camera_table = tf.constant([self.cameras.index(scene.camera) for scene in self.scenes], tf.int32)
            self._row_table = tf.constant(rows, tf.int32)

    def __len__(self) -> int:
        return len(self._frames)

    def load(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        frames, scene = tf.unstack(self._frame_table[index], num=FRAMES), self._scene_table[index]
        K, paths = self._intrinsics_table[scene], [self._path_table[frame] for frame in frames]
        if self._plain:
            images = tf.stack([decode(path) for path in paths])
        else:
            images = tf.stack([decode_any(path, K, self._distortion_table[scene]) for path in paths])
        return images[:, : self._row_table[scene]], K, self._camera_table[scene]

    def files(self, index: int) -> tuple[str, str, str]:
        before, middle, after = (self._paths[frame] for frame in self._frames[index])
        return before, middle, after

    def labels(self, index: int) -> tuple[str, str, str]:
        name = self.scenes[self._scene_of[index]].name
        before, middle, after = (f"{name}/{frame_name(file)}" for file in self.files(index))
        return before, middle, after

    def ground_truth(self, index: int) -> GroundTruth | None:
        number = self._scene_of[index]
        scene, size = self.scenes[number], self._sizes[number]
        before, frame, after = (int(frame - self._starts[number]) for frame in self._frames[index])
        depth = None if scene.depth is None else scene.depth(frame)
        flow = None if scene.flow is None or after != frame + 1 else scene.flow(frame)
        if depth is None and flow is None and scene.poses is None:
            return None
        motions = None
        if scene.poses is not None:
            earlier, later = scene.poses[[before, frame]], scene.poses[[frame, after]]
            motions = (np.linalg.inv(later) @ earlier).astype(np.float32)
        for kind, value in (("depth", depth), ("flow", None if flow is None else flow.flow)):
            if value is not None and value.shape[:2] != size:
                raise DataError(
                    f"{self.label(index)}: its true {kind} is {value.shape[1]}x{value.shape[0]} pixels: expected "
                    f"{size[1]}x{size[0]} as its image; restore the file"
                )
        rows = _used_height(scene, size)
        known = flow or FlowTruth(None, None, None, None)
        maps = (depth, known.flow, known.valid, known.visible, known.moving)
        return GroundTruth(*(None if x is None else x[:rows] for x in maps))._replace(poses=motions)


def _used_height(scene: Scene, size: tuple[int, int]) -> int:
    return round(scene.used_rows * size[0])


def decode(path: tf.Tensor) -> tf.Tensor:
    """Returns the image in a plain file (images.Header) as [h, w, 3] uint8 RGB: grey is repeated, alpha dropped."""
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def decode_any(path: tf.Tensor, intrinsics: tf.Tensor, distortion: tf.Tensor) -> tf.Tensor:
    """Returns the image in a file as [h, w, 3] uint8 RGB, by read_image and undistort, in Python."""

    def read(path: bytes, *camera: np.ndarray) -> np.ndarray:
        image = read_image(Path(os.fsdecode(np.asarray(path).item())))
        return undistort(image, Camera(*camera)) if camera[1].any() else image

    image = tf.numpy_function(read, [path, intrinsics, distortion], tf.uint8, stateful=False)
    return tf.ensure_shape(image, [None, None, 3])


def _few(readable: int, runs: int) -> str:
    return f"{readable} readable frames" + (f" in {runs} uninterrupted runs" if runs > 1 else "")


def _left_out_as_static(count: int, least: float) -> str:
    unit = "thousandth" if least == 1 else "thousandths"
    return f"{count} snippets left out as static (parallax below {least:g} {unit} of the width)"


def select_scenes(available: dict[str, Path], split: str, root: str | Path) -> dict[str, Path]:
    """Returns the scenes that a comma-separated split names, in its order; all of them for an empty split.

    Raises:
      ConfigError: a name is not among the available ones.
    """
    wanted = split_names(split)
    for name in wanted:
        if name not in available:
            raise ConfigError(
                f"--split={split}: {name} is not in {root}: expected some of {', '.join(list(available)[:20])}"
            )
    return {name: available[name] for name in wanted} if wanted else available


def split_names(text: str) -> list[str]:
    """Returns the names in a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]
