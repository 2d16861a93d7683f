"""Scenes, the image sequences that the folder and KITTI layouts have in common, and the source that reads them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from glnet_tf.data.base import Source, snippet_middles
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.structures import GroundTruth

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class Scene:
    """One video as image files.

    Attributes:
      name: what `--split` calls it.
      files: paths of its frames in temporal order.
      camera: name of the camera that filmed it.
      intrinsics: [3, 3] K in pixels of the files, or None.
      poses: [F, 4, 4] camera to world of every file, metres, or None.
    """

    name: str
    files: tuple[str, ...]
    camera: str
    intrinsics: np.ndarray | None = None
    poses: np.ndarray | None = None


class SceneSource(Source):
    """Snippets of scenes: three readable frames of one uninterrupted run of one scene.

    Args:
      name: what messages call the source.
      scenes: the videos.
      stride, holdout_frames, part: see `snippet_middles`.
      holdout_scenes: comma-separated names of the scenes that `holdout_frames` is meant for; empty: all.

    Raises:
      DataError: no snippet remains, or the frames of a scene differ in size, or K does not fit them.
    """

    def __init__(
        self, name: str, scenes: Iterable[Scene], stride: int, holdout_frames: int, part: str, holdout_scenes: str = ""
    ) -> None:
        self.name = name
        self.scenes = tuple(scenes)
        self.cameras = tuple(dict.fromkeys(scene.camera for scene in self.scenes))
        self.calibrated = all(scene.intrinsics is not None for scene in self.scenes)
        self._paths = [file for scene in self.scenes for file in scene.files]
        self._starts = np.cumsum([0] + [len(scene.files) for scene in self.scenes])
        self._stride = stride
        held_scenes = split_names(holdout_scenes)
        skipped: list[str] = []
        middles = []
        self._sizes = []
        for scene, start in zip(self.scenes, self._starts):
            sizes = image_sizes(scene.files)
            readable = np.array([size is not None for size in sizes], bool)
            skipped += [f"{file}: not a JPEG or PNG image" for file, good in zip(scene.files, readable) if not good]
            self._sizes.append(common_size(scene.files, sizes))
            check_intrinsics_fit(scene, self._sizes[-1])
            runs = np.where(readable, uninterrupted_runs(scene.files, readable), -1)
            held = holdout_frames if not held_scenes or scene.name in held_scenes else 0
            found = snippet_middles(runs, stride, held, part)
            if not len(found):
                skipped.append(f"{scene.name}: no snippet, {_few(readable.sum(), len(np.unique(runs[readable])))}")
            middles.append(start + found)
        self.skipped = tuple(skipped)
        self._middles = np.concatenate(middles) if middles else np.zeros(0, np.int64)
        # Of several sources, some may have no scene that is held out; their cameras keep their numbers all the same.
        if not len(self._middles) and not (part == "validation" and held_scenes):
            raise DataError(
                f"{name}: no snippet for {part} (stride {stride}, holdout_frames {holdout_frames}): expected a scene "
                f"with {2 * stride + 1} consecutive readable frames; {'; '.join(skipped[:5])}"
            )
        self._scene_of = np.searchsorted(self._starts, self._middles, side="right") - 1
        self._make_tables()

    def _make_tables(self) -> None:
        unknown = np.zeros((3, 3))
        known = [unknown if scene.intrinsics is None else scene.intrinsics for scene in self.scenes]
        cameras = [self.cameras.index(scene.camera) for scene in self.scenes]
        # Input pipelines run on the CPU, and a table on a GPU would be copied for each snippet.
        with tf.device("/cpu:0"):
            self._path_table = tf.constant([os.fsencode(path) for path in self._paths])
            self._middle_table = tf.constant(self._middles, tf.int64)
            self._scene_table = tf.constant(self._scene_of, tf.int64)
            self._intrinsics_table = tf.constant(np.stack(known), tf.float32)
            self._camera_table = tf.constant(cameras, tf.int32)

    def __len__(self) -> int:
        return len(self._middles)

    def load(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        middle, scene = self._middle_table[index], self._scene_table[index]
        frames = [decode(self._path_table[middle + step * self._stride]) for step in (-1, 0, 1)]
        return tf.stack(frames), self._intrinsics_table[scene], self._camera_table[scene]

    def files(self, index: int) -> tuple[str, str, str]:
        before, middle, after = (self._paths[self._middles[index] + step * self._stride] for step in (-1, 0, 1))
        return before, middle, after

    def ground_truth(self, index: int) -> GroundTruth | None:
        number = self._scene_of[index]
        poses = self.scenes[number].poses
        if poses is None:
            return None
        frame = self._middles[index] - self._starts[number]
        earlier, later = poses[[frame - self._stride, frame]], poses[[frame, frame + self._stride]]
        motions = (np.linalg.inv(later) @ earlier).astype(np.float32)
        nothing = np.zeros((*self._sizes[number], 1), np.float32)
        return GroundTruth(nothing, np.repeat(nothing, 2, axis=-1), nothing, nothing, motions)


def _few(readable: int, runs: int) -> str:
    return f"{readable} readable frames" + (f" in {runs} uninterrupted runs" if runs > 1 else "")


def decode(path: tf.Tensor) -> tf.Tensor:
    """Returns the image in a file as [h, w, 3] uint8 RGB: grey is repeated, alpha dropped, 16 bits are cut to 8."""
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def image_files(folder: Path) -> tuple[str, ...]:
    """Returns the images directly in a folder, in natural order (2 before 10).

    Raises:
      DataError: two files bear the same number, as a picture and its depth map would.
    """
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in visible if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    # Names as 000001.left.png and 000001.depth.png are two views of one moment, never two frames of one video.
    moments: dict[tuple[str, ...], str] = {}
    for file in sorted(files):
        digits = tuple(number.lstrip("0") for number in re.findall(r"\d+", file.stem))
        if digits and digits in moments:
            raise DataError(
                f"{file}: has the number of {moments[digits]}: expected one image per frame; "
                "move depth maps, masks and the images of other cameras to another folder"
            )
        moments[digits] = file.name
    return tuple(str(file) for file in sorted(files, key=lambda file: natural_key(file.name)))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Returns a sorting key under which numbers within names compare by value."""
    return [(int(part), "") if part.isdecimal() else (0, part.lower()) for part in re.split(r"(\d+)", name) if part]


def uninterrupted_runs(files: Sequence[str], readable: np.ndarray) -> np.ndarray:
    """Returns the number of the run of consecutive frames that each file belongs to.

    A frame that cannot be read ends a run. So does a gap in the numbering when every name is one number with the same
    text around it: a step that differs from the scene's typical (median) one by half of it or more.

    Args:
      files: [F] paths in temporal order.
      readable: [F] bool.

    Returns:
      [F] int64, non-decreasing.
    """
    breaks = ~readable
    names = [re.fullmatch(r"(\D*)(\d+)(\D*)", Path(file).stem) for file in files]
    if len(files) > 1 and all(names) and len({(name[1], name[3]) for name in names if name}) == 1:
        steps = np.diff([int(name[2]) for name in names if name])
        typical = np.sort(steps)[(len(steps) - 1) // 2]
        breaks[1:] |= 2 * np.abs(steps - typical) >= typical
    return np.cumsum(breaks)


def image_sizes(files: Sequence[str]) -> list[tuple[int, int] | None]:
    """Returns (height, width) of every image from its header, None where that cannot be read."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_image_size, files))


def _image_size(file: str) -> tuple[int, int] | None:
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def common_size(files: Sequence[str], sizes: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    """Returns the one (height, width) of a scene's readable images; (0, 0) if there are none.

    Raises:
      DataError: an image differs from the others.
    """
    counts = Counter(size for size in sizes if size is not None)
    if not counts:
        return 0, 0
    expected = counts.most_common(1)[0][0]
    for file, size in zip(files, sizes):
        if size is not None and size != expected:
            raise DataError(
                f"{file}: is {size[1]}x{size[0]} pixels: expected {expected[1]}x{expected[0]} as most of its scene; "
                "resize it, or move it to a scene of its own"
            )
    return expected


def check_intrinsics_fit(scene: Scene, size: tuple[int, int]) -> None:
    """Raises a DataError if the principal point of a scene is outside of its images (height, width)."""
    if scene.intrinsics is None or 0 in size:
        return
    cx, cy = scene.intrinsics[:2, 2]
    if not (0 <= cx < size[1] and 0 <= cy < size[0]):
        raise DataError(
            f"{scene.name}: principal point ({cx:g}, {cy:g}) is outside of its {size[1]}x{size[0]} images: expected K "
            "in pixels of these images; scale it by their size over the size that it was calibrated for"
        )


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
