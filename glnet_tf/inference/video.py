"""Refinement of whole videos: windows that share frames, brought to one scale and chained to one trajectory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.data.source import Source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.files import read_array, write_npz
from glnet_tf.inference.predictions import prediction_of
from glnet_tf.inference.refined import RefinedFolder
from glnet_tf.inference.refining import (
    CarriedParameters,
    errors_by_stage,
    histories,
    layers,
    runs,
    size_of,
    stages_of,
    write_summary,
)
from glnet_tf.inference.task import Task
from glnet_tf.progress import progress_bar
from glnet_tf.refinement.refiner import Refined
from glnet_tf.structures import Predictions, Snippet


class Window(NamedTuple):
    """A refined window in the scale of its video.

    Attributes:
      disparity: [F, h, w] inverse depth.
      motions: [F - 1, 4, 4] T from each frame to the next.
    """

    disparity: np.ndarray
    motions: np.ndarray


def refine_video(task: Task, folder: Path) -> str:
    """Refines videos in windows of config.window frames; K is one for all windows, so OFT leaves it alone.

    Neighbouring windows share a frame (the last two more, where the video's length asks for it). Refined, every window
    is brought back to the scale in which the network predicted it, see `scale_between`: that of the frames shared with
    the window before drifts, because each ratio adds its error to all that follows.

    Args:
      task: the snippets, of whose frames the windows are made, and how they are refined.
      folder: existing, for the results, see inference.refined; a window that is finished is not repeated.

    Returns:
      a table of the errors as predicted and refined, where the truth is known, and what could not be refined.
    """
    source, frames = task.source, task.config.window
    if task.data.target_parallax:
        raise ConfigError(
            f"--target_parallax={task.data.target_parallax}, --window={frames}: frames of a window follow each "
            "other; give one of them"
        )
    results = RefinedFolder(folder, task.settings())
    config = dataclasses.replace(task.config, oft_intrinsics_rate=0.0)
    refiner = dataclasses.replace(task, config=config).refiner()
    carried = CarriedParameters(task, folder)
    videos = [(name, run) for name, run in runs(source, task.indices) if len(run) + 2 >= frames]
    if not videos:
        raise DataError(f"{source.name}: no {frames} frames follow each other; give a smaller --window")
    total = sum(len(starts(len(run) + 2, frames)) for _, run in videos)
    with progress_bar(total, "refining", "window") as bar:
        for name, run in videos:
            motions: list[np.ndarray] = []
            previous: tuple[int, Window] | None = None
            for start in starts(len(run) + 2, frames):
                file = folder / "windows" / (source.labels(run[start])[0] + ".npz")
                if file.exists():
                    window = Window(read_array(file, "disparity"), read_array(file, "motions"))
                else:
                    snippet = _joined(task, run[start : start + frames - 2])
                    refined = refiner(snippet)
                    window = _keep(results, source, run, start, snippet, refined, config.refine, previous)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_npz(file, **window._asdict())
                    carried.keep()
                motions += list(window.motions[len(motions) - start :])
                previous = start, window
                bar.update()
            results.write_depth(source.labels(run[-1])[2], size_of(source, run[-1]), window.disparity[-1])
            results.write_trajectory(name, motions)
    return write_summary(results, [label for _, run in videos for label in map(source.label, run)])


def starts(count: int, frames: int) -> list[int]:
    """Returns the first frames of the windows that cover so many frames; neighbours share at least one frame."""
    return [*range(0, count - frames, frames - 1), count - frames]


def scale_between(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Returns the factor on inverse depth that brings an estimate to another one's scale: the median ratio."""
    return float(np.median(reference / estimate))


def _joined(task: Task, numbers: Sequence[int]) -> Snippet:
    """Consecutive snippets as one window."""
    snippets = next(task.snippets(numbers, batch_size=len(numbers)), None)
    if snippets is None or len(snippets.index) < len(numbers):
        file = task.source.files(numbers[0])[0]
        raise DataError(f"{file} and what follows: an image cannot be decoded; remove it, or give --window=3")
    first = tf.nest.map_structure(lambda x: x[:1], snippets)
    images = tf.concat([snippets.images[:, 0], snippets.images[-1, 1:]], axis=0)
    return first._replace(images=images[tf.newaxis])


def _keep(
    results: RefinedFolder,
    source: Source,
    run: Sequence[int],
    start: int,
    snippet: Snippet,
    refined: Refined,
    mode: str,
    previous: tuple[int, Window] | None,
) -> Window:
    """Keeps what a window says about its frames, but for the last and those that are kept already; returns it scaled.

    `run` are the snippets of the video: its frame f is the middle of run[f - 1]. `previous` is the first frame of the
    window before, and that window.
    """
    frames = snippet.images.shape[1]
    kept = 0 if previous is None else previous[0] + frames - start - 1
    scale = scale_between(refined.initial.disparities[0][0].numpy(), refined.final.disparities[0][0].numpy())
    final = scaled(refined.final, scale)
    for frame in range(kept, frames - 1):
        prediction = prediction_of(final, 0, frame)
        if not frame and previous is not None:
            prediction = prediction._replace(motions=np.stack([previous[1].motions[-1], prediction.motions[1]]))
        label, truth = source.labels(run[0])[0], None
        if start + frame:
            label, truth = source.label(run[start + frame - 1]), source.ground_truth(run[start + frame - 1])
        errors = errors_by_stage(truth, stages_of(refined, None, mode), refined.moving, 0, frame)
        row = {"reason": refined.reasons[0], "scale": scale, "errors": errors}
        row |= histories(refined, 0) if frame == kept else {}
        results.add(label, row, size_of(source, run[0]), prediction, layers(snippet, refined, 0, frame))
    return Window(final.disparities[0][0, ..., 0].numpy(), final.poses[0, : frames - 1].numpy())


def scaled(predictions: Predictions, scale: float) -> Predictions:
    """Returns predictions whose inverse depth is multiplied by `scale`, and lengths divided by it."""
    translation = predictions.poses[..., :3, 3:] / scale
    rigid = tf.concat([predictions.poses[..., :3, :3], translation], axis=-1)
    return predictions._replace(
        disparities=tuple(level * scale for level in predictions.disparities),
        poses=tf.concat([rigid, predictions.poses[..., 3:, :]], axis=-2),
    )
