"""Targets for DepthNet: what the evidence of a teacher's flow proves about every frame, computed once and kept (ours).

The teacher is a trained model: its FlowNet gives the evidence, its DepthNet tells where the ground is and what moves by
itself. A network that has learned from its targets can be the next teacher.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from glnet_tf.config import DataConfig
from glnet_tf.data.augment import change_colours, draw_colour_change, zoom
from glnet_tf.data.pipeline import batches
from glnet_tf.data.source import Source
from glnet_tf.errors import DataError
from glnet_tf.files import check_space, file_state, make_folder, read_json, write_json
from glnet_tf.folders import locked
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.observation import Size, predicted_with_evidence
from glnet_tf.models.sizes import depth_size, flow_size
from glnet_tf.progress import progress_bar
from glnet_tf.structures import FRAMES, Snippet, split

VERSION = 2
# A frame with a smaller mean weight proves too little: the camera stood.
MIN_MEAN_WEIGHT = 0.03
# Targets are in a unit in which a camera of this focal length is HEIGHT above the ground: one scale for all frames, and
# what looks alike is equally far, whatever the lens. FOCAL is relative to the root of the image's pixels.
HEIGHT, FOCAL = 0.22, 1.04
# Snippets that follow each other are seen together, up to so many, and flow between two frames is found once.
MAX_RUN = 6
BYTES_PER_PIXEL = 6  # three of the image, two of the target, one of its weight


class Targets(NamedTuple):
    """Targets of the middle frames of snippets that have images of one size.

    Attributes:
      images: [N, H, W, 3] uint8.
      log_disparity: [N, H, W] float16, logarithm of inverse depth in the teacher's scale.
      weight: [N, H, W] uint8, 255: certain.
      shift: [N] what brings its logarithm to the unit of HEIGHT and FOCAL.
      size: (h, w) at which DepthNet sees these images.
      usable: the frames that prove enough.
    """

    images: np.ndarray
    log_disparity: np.ndarray
    weight: np.ndarray
    shift: np.ndarray
    size: Size
    usable: np.ndarray


def make_targets(
    model: GLNet, digest: str, source: Source, data: DataConfig, flow_scale: float, folder: Path
) -> list[Targets]:
    """Returns targets for the middle frame of every snippet of a source, one group for each size of images.

    What was computed before is read; an interrupted computation goes on.

    Args:
      model: the teacher.
      digest: names the teacher's weights.
      source: of the snippets.
      data: the size of the images that the student sees, whose shape each source keeps.
      flow_scale: size at which the teacher sees them, relative to the student's.
      folder: of all targets; those of this teacher and source get one of their own in it, named by what they depend on.

    Raises:
      DataError: the disk has no room, or another process computes the same.
    """
    trained = (data.image_height, data.image_width)
    sizes = [depth_size(trained, [shape]) for shape in source.shapes]
    # As a graph it leaves out the images, which nobody asks for.
    load = tf.function(
        lambda index: source.load(index)[1:], input_signature=[tf.TensorSpec([], tf.int64)], autograph=False
    )
    intrinsics, camera_of = zip(*(load(tf.constant(i, tf.int64)) for i in range(len(source))))
    groups = {
        size: [i for i, camera in enumerate(camera_of) if sizes[int(camera)] == size] for size in dict.fromkeys(sizes)
    }
    identity = {"version": VERSION, "teacher": digest, "flow_scale": flow_scale, "sizes": list(groups)}
    identity["frames"] = [[(file, *file_state(file)) for file in source.files(i)] for i in range(len(source))]
    identity["street"] = dataclasses.asdict(data.street)
    identity["intrinsics"] = hashlib.sha256(np.stack(intrinsics).tobytes()).hexdigest()
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    folder = make_folder(folder / name, "cache_dir")
    return [
        _group(model, source, data, numbers, size, flow_size(size, flow_scale), folder)
        for size, numbers in groups.items()
        if numbers
    ]


def _group(
    model: GLNet, source: Source, data: DataConfig, numbers: list[int], size: Size, large: Size, folder: Path
) -> Targets:
    count, (height, width) = len(numbers), large
    stem = f"{size[0]}x{size[1]}"
    done_file = folder / f"{stem}_done.json"
    observe = tf.function(lambda window: _targets(model, window, size), autograph=False)
    place = {index: row for row, index in enumerate(numbers)}

    def done_rows() -> int:
        return min(max(read_json(done_file, "a number of targets", int), 0), count) if done_file.exists() else 0

    with (
        locked(folder) if done_rows() < count else contextlib.nullcontext(),
        progress_bar(count, f"targets {stem}", "frame", done := done_rows()) as bar,
    ):
        arrays = {
            name: _array(folder / f"{stem}_{name}.npy", dtype, (count, height, width, *rest), done)
            for name, dtype, rest in (("images", "u1", (3,)), ("log_disparity", "f2", ()), ("weight", "u1", ()))
        }
        known = _array(folder / f"{stem}_known.npy", "f4", (count,), done)
        known[done:] = np.nan
        check_space(folder, (count - done) * height * width * BYTES_PER_PIXEL)
        todo = [run for run in runs(source, numbers) if place[run[-1]] >= done]
        missing = {place[index] for run in todo for index in run}
        bar.set_postfix_str(f"{count * height * width * BYTES_PER_PIXEL / 1e9:.1f} GB")
        for length, group in itertools.groupby(todo, key=len):
            count_in_batch = max(FRAMES * data.batch_size // (length + 2), 1)
            of_size = dataclasses.replace(data, batch_size=count_in_batch, image_height=height, image_width=width)
            for window in batches(source, of_size, list(group)):
                log_disparity, weight, known_shift = observe(window)
                for i, index in enumerate(window.index.numpy()):
                    rows = slice(place[int(index)], place[int(index)] + length)
                    arrays["images"][rows] = np.round(255 * window.images[i, 1:-1])
                    arrays["log_disparity"][rows], known[rows] = log_disparity[i], known_shift[i]
                    arrays["weight"][rows] = np.round(255 * weight[i])
                    done = rows.stop
                    missing -= set(range(rows.start, rows.stop))
                for array in (*arrays.values(), known):
                    array.flush()
                write_json(done_file, done)
                bar.update(done - bar.n)
        if missing:
            named = source.label(numbers[min(missing)])
            tqdm.write(
                f"warning: {len(missing)} frames have no target: an image beside them cannot be decoded ({named})",
                sys.stderr,
            )
        if todo:
            write_json(done_file, count)
    shift = np.where(np.isfinite(known), known, np.nanmedian(known) if np.isfinite(known).any() else 0.0)
    means = arrays["weight"][:, ::4, ::4].reshape(count, -1).mean(axis=1) / 255
    return Targets(**arrays, shift=shift.astype(np.float32), size=size, usable=np.nonzero(means > MIN_MEAN_WEIGHT)[0])


def _array(file: Path, dtype: str, shape: tuple[int, ...], done: int) -> np.memmap:
    """An array in a file, made anew as long as none of its rows is done.

    Raises:
      DataError: rows are, and the file does not hold them.
    """
    if not done:
        return np.lib.format.open_memmap(file, "w+", dtype, shape)
    try:
        np.lib.format.open_memmap(file, "r")  # the other mode makes a short file as long as it says
        found = np.lib.format.open_memmap(file, "r+")
    except Exception as error:  # damaged bytes surface as almost any
        raise DataError(f"{file}: is damaged ({error}): expected {done} targets; remove {file.parent}") from None
    if found.shape != shape or found.dtype != np.dtype(dtype):
        raise DataError(f"{file}: holds {found.dtype} {found.shape}: expected {dtype} {shape}; remove {file.parent}")
    return found


def runs(source: Source, numbers: Sequence[int]) -> list[list[int]]:
    """Returns the numbers of snippets, each at least once, in runs that follow each other in one video.

    As long as a video has that many, all have MAX_RUN: the last one reaches back.
    """
    videos: list[list[int]] = []
    for number in numbers:
        if videos and source.labels(videos[-1][-1])[1:] == source.labels(number)[:2]:
            videos[-1].append(number)
        else:
            videos.append([number])
    starts = [
        (video, min(start, max(len(video) - MAX_RUN, 0))) for video in videos for start in range(0, len(video), MAX_RUN)
    ]
    return [video[start : start + MAX_RUN] for video, start in starts]


def _targets(model: GLNet, window: Snippet, size: Size) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of all frames but the first and last: logarithm of inverse depth and weight, [B, F - 2, H, W]; the shift to
    HEIGHT and FOCAL, [B, F - 2]."""
    seen, found, _, ground, _ = predicted_with_evidence(model, window, size)
    frames = window.images.shape[1]
    log_disparity, weight = (split(x, frames)[:, 1:-1, ..., 0] for x in found)
    normal, is_ground = (split(x, frames)[:, 1:-1] for x in (ground.normal, ground.found))
    focal = seen.intrinsics[:, :1, 0] * size[1] / tf.cast(tf.shape(window.images)[3], tf.float32)
    shift = tf.math.log(focal / (FOCAL * math.sqrt(size[0] * size[1]))) - tf.math.log(HEIGHT * tf.norm(normal, axis=-1))
    return log_disparity, weight, tf.where(is_ground, shift, float("nan"))


def order_of_epoch(groups: list[Targets], batch_size: int, seed: int, epoch: int) -> list[tuple[int, np.ndarray]]:
    """Returns the batches of an epoch: the number of a group and [batch_size] of its frames, each at most once."""
    rng = np.random.default_rng([seed, epoch])
    found = []
    for number, group in enumerate(groups):
        frames = rng.permutation(group.usable)
        whole = len(frames) // batch_size * batch_size
        found += [(number, part) for part in frames[:whole].reshape(-1, batch_size)]
    return [found[i] for i in rng.permutation(len(found))]


def target_batches(groups: list[Targets], data: DataConfig, seed: int, start: int) -> tf.data.Dataset:
    """Returns augmented batches for ever, from the one with number `start` on: images [B, h, w, 3] and Evidence.

    Raises:
      DataError: there are too few frames for one batch.
    """
    per_epoch = len(order_of_epoch(groups, data.batch_size, seed, 0))
    if not per_epoch:
        raise DataError(
            f"--batch_size={data.batch_size}: fewer frames of one size prove enough of their depth; give a smaller "
            "batch, or data in which the camera moves"
        )

    def raw() -> Iterator[tuple]:
        for number in itertools.count(start):
            epoch, place = divmod(number, per_epoch)
            if not place or number == start:
                batches = order_of_epoch(groups, data.batch_size, seed, epoch)
            which, frames = batches[place]
            group, frames = groups[which], np.sort(frames)
            seeds = np.stack([np.full(len(frames), seed), number * data.batch_size + np.arange(len(frames))], axis=1)
            yield (
                *(x[frames] for x in (group.images, group.log_disparity, group.weight, group.shift)),
                seeds,
                group.size,
            )

    signature = (
        tf.TensorSpec([None, None, None, 3], tf.uint8),
        tf.TensorSpec([None, None, None], tf.float16),
        tf.TensorSpec([None, None, None], tf.uint8),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([None, 2], tf.int64),
        tf.TensorSpec([2], tf.int32),
    )

    def augmented(*batch: tf.Tensor) -> tuple[tf.Tensor, Evidence]:
        *rows, size = batch
        maps = tf.map_fn(lambda row: _augmented(row, size, data), tuple(rows), fn_output_signature=tf.float32)
        images, weighted, weight = tf.split(maps, [3, 1, 1], axis=-1)
        return images, Evidence(tf.math.divide_no_nan(weighted, weight), weight)

    dataset = tf.data.Dataset.from_generator(raw, output_signature=signature)
    return dataset.map(augmented, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _augmented(row: tuple[tf.Tensor, ...], size: tf.Tensor, data: DataConfig) -> tf.Tensor:
    """[h, w, 5]: a part of an image, in other colours, and of its target times weight, and weight; mirrored or not."""
    image, log_disparity, weight, shift, seed = row
    # The root: beside what is certain, a network would learn little of the road before the wheels and of what is far.
    weight = tf.sqrt(tf.cast(weight, tf.float32)[..., tf.newaxis] / 255)
    target = tf.cast(log_disparity, tf.float32)[..., tf.newaxis] + shift
    maps = tf.concat([tf.cast(image, tf.float32) / 255, target * weight, weight], axis=-1)[tf.newaxis]
    part, _ = zoom(maps, tf.zeros([3, 3]), seed, data.zoom)
    longer = tf.math.log(tf.cast(tf.shape(maps)[2] / tf.shape(part)[2], tf.float32))
    image, target, weight = tf.split(tf.image.resize(part, size, method="area"), [3, 1, 1], axis=-1)
    if data.colour:
        image = change_colours(image, *draw_colour_change(seed + [1, 0], data.colour))
    maps = tf.concat([image, target + longer * weight, weight], axis=-1)[0]
    mirrored = data.flip & (tf.random.stateless_uniform([], seed) < 0.5)
    return tf.cond(mirrored, lambda: tf.reverse(maps, [1]), lambda: maps)


def whole_targets(groups: list[Targets], max_frames: int) -> Iterator[tuple[tf.Tensor, Evidence]]:
    """Yields whole frames, evenly spread and at most so many of each group, one by one: [1, h, w, 3] and evidence."""
    for group in groups:
        rows = group.usable[np.linspace(0, len(group.usable) - 1, min(max_frames, len(group.usable))).astype(int)]
        for row in rows:
            weight = tf.constant(group.weight[row], tf.float32)[tf.newaxis, ..., tf.newaxis] / 255
            target = tf.constant(group.log_disparity[row].astype(np.float32) + group.shift[row])
            maps = (
                tf.constant(group.images[row : row + 1], tf.float32) / 255,
                target[tf.newaxis, ..., tf.newaxis],
                weight,
            )
            maps = tf.concat([maps[0], maps[1] * weight, weight], axis=-1)
            image, weighted, weight = tf.split(tf.image.resize(maps, group.size, method="area"), [3, 1, 1], axis=-1)
            yield image, Evidence(tf.math.divide_no_nan(weighted, weight), weight)
