"""Online refinement of a whole source, snippet by snippet, into a folder; with a table where the truth is known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.source import Source
from glnet_tf.files import write_json
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.resize import resize_mask
from glnet_tf.inference.predictions import MIDDLE, Prediction, prediction_of
from glnet_tf.inference.refined import RefinedFolder, before_and_after
from glnet_tf.inference.task import Task
from glnet_tf.losses.epipolar import epipolar_loss
from glnet_tf.progress import progress_bar
from glnet_tf.refinement.history import History
from glnet_tf.refinement.refiner import Refined
from glnet_tf.structures import GroundTruth, Predictions, Snippet
from glnet_tf.training.validation import snippet_errors
from glnet_tf.visualization.page import Table, chart, path_from_above, write_report

# What the table shows, and the average that is taken of it.
SHOWN: dict[str, Callable[..., Any]] = {
    "depth_abs_rel": np.mean,
    "flow_epe": np.mean,
    "rotation_deg": np.median,
    "translation_deg": np.median,
    "depth_abs_rel_moving": np.mean,
    "epipolar_px": np.mean,
    "moving_iou": np.mean,
}


# Trajectories that report.html shows, at most.
MAX_PATHS = 8
PROTOCOL = (
    "Of the middle frames: AbsRel of depth up to 80 m, each image scaled by its median; end-point error of the flow, "
    "pixels; rotation and direction of translation to the next frame, degrees (medians). _moving: on objects that "
    "move by themselves; epipolar_px: distance of the flow elsewhere from the epipolar lines; moving_iou: of the mask."
)


def refine_source(task: Task, folder: Path) -> str:
    """Refines snippets and keeps every result as it comes; what the folder already holds is not repeated.

    Args:
      task: what to refine.
      folder: existing, for the results, see inference.refined.

    Returns:
      a table of the errors as predicted and refined, where the truth is known, and what could not be refined.
    """
    source, indices, config = task.source, task.indices, task.config
    results = RefinedFolder(folder, task.settings())
    todo = [index for index in indices if source.label(index) not in results.rows]
    refiner = task.refiner()
    carried = CarriedParameters(task, folder)
    with progress_bar(len(indices), "refining", "snippet", len(indices) - len(todo)) as bar:
        for snippet in task.snippets(todo):
            numbers = snippet.index.numpy().tolist()
            truths = [source.ground_truth(number) for number in numbers]
            known = any(truth is not None for truth in truths)
            refined = refiner(snippet)
            # With the truth at hand, what each of the two parts does alone is told too.
            alone = refiner(snippet, outputs_only=True).final if config.refine == "both" and known else None
            stages = stages_of(refined, alone, config.refine)
            for i, number in enumerate(numbers):
                row = {"reason": refined.reasons[i], "errors": errors_by_stage(truths[i], stages, refined.moving, i)}
                row |= histories(refined, i)
                prediction, pictures = prediction_of(refined.final, i), layers(snippet, refined, i)
                results.add(source.label(number), row, size_of(source, number), prediction, pictures)
            carried.keep()
            bar.update(len(numbers))
    for name, run in runs(source, [index for index in indices if source.label(index) in results.rows]):
        motions = [np.array(results.rows[source.label(index)]["motions"]) for index in run]
        results.write_trajectory(name, [motions[0][0], *(pair[1] for pair in motions)])
    return write_summary(results, [source.label(index) for index in indices])


class CarriedParameters:
    """Keeps the parameters that policy "sequence" carries on, so that an interrupted refinement goes on with them.

    Args:
      task: whose model gets the parameters that were kept, if there are any.
      folder: of the results.
    """

    def __init__(self, task: Task, folder: Path):
        self._manager = None
        if task.config.policy == "sequence" and task.config.refine in ("pft", "both"):
            checkpoint = tf.train.Checkpoint(model=task.model)
            self._manager = tf.train.CheckpointManager(checkpoint, str(folder / "carried"), max_to_keep=1)
            if self._manager.latest_checkpoint is not None:
                checkpoint.restore(self._manager.latest_checkpoint).assert_existing_objects_matched()

    def keep(self) -> None:
        """Keeps the parameters as they are; nothing with policy "snippet"."""
        if self._manager is not None:
            self._manager.save()


def runs(source: Source, indices: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Yields the snippets that follow each other frame by frame, and a name: SCENE, or SCENE_FRAME after a gap."""
    names: set[str] = set()
    run: list[int] = []
    for index, following in zip(indices, [*indices[1:], None]):
        run.append(index)
        if following is None or source.labels(index)[1:] != source.labels(following)[:2]:
            scene, _, frame = source.label(run[0]).rpartition("/")
            yield f"{scene}_{frame}" if scene in names else scene, run
            names.add(scene)
            run = []


def write_summary(results: RefinedFolder, labels: Sequence[str]) -> str:
    """Writes table.json and the TensorBoard file of finished snippets, and returns the table to print."""
    labels = [label for label in labels if label in results.rows]
    rows = [results.rows[label] for label in labels]
    table = summary(rows)
    write_json(results.folder / "table.json", table)
    _write_scalars(results.folder, rows)
    _write_report(results, labels, table)
    return as_text(table, rows)


def errors_by_stage(
    truth: GroundTruth | None, stages: dict[str, Predictions], moving: tf.Tensor, i: int, frame: int = MIDDLE
) -> dict[str, dict[str, float]]:
    """Returns the errors of one frame of member i of a batch, by stage; empty where the truth is not known.

    Beside those of training.validation.snippet_errors, where the truth tells what moves by itself: epipolar_px, the
    mean Sampson distance of the flow elsewhere, and, of the last stage, moving_iou: intersection over union of the mask
    `moving` with it.
    """
    if truth is None:
        return {}
    errors: dict[str, dict[str, float]] = {}
    for name, predictions in stages.items():
        prediction = prediction_of(predictions, i, frame)
        errors[name] = snippet_errors(truth, *prediction.for_evaluation())
        if np.any(truth.moving):
            moves = resize_mask(np.asarray(truth.moving)[..., 0] > 0, prediction.disparity.shape)
            errors[name]["epipolar_px"] = epipolar_error(prediction, ~moves)
            said_to_move = moving[i, frame, ..., 0].numpy() > 0
            if name == list(stages)[-1]:
                errors[name]["moving_iou"] = float(np.sum(moves & said_to_move) / np.sum(moves | said_to_move))
    return errors


def epipolar_error(prediction: Prediction, mask: np.ndarray) -> float:
    """Returns the mean Sampson distance, pixels, of a prediction's flow from its own motion over masked pixels."""
    grid = pixel_grid(*prediction.disparity.shape)
    return float(
        epipolar_loss(
            grid,
            grid + prediction.flow[np.newaxis],
            prediction.motions[np.newaxis, 1],
            prediction.intrinsics[np.newaxis],
            mask.astype(np.float32)[np.newaxis, ..., np.newaxis],
            "sampson",
        )[0]
    )


def stages_of(refined: Refined, alone: Predictions | None, mode: str) -> dict[str, Predictions]:
    """Returns what was predicted, and what the parts of a refinement made of it, by the names of the table."""
    stages = {"none": refined.initial}
    if mode == "none":
        return stages
    stages["fusion"] = refined.fused
    if mode != "both":
        return {**stages, mode: refined.final}
    if refined.tuned is not None:
        stages["pft"] = refined.tuned
    if alone is not None:
        stages["oft"] = alone
    return {**stages, "pft_oft": refined.final}


def layers(snippet: Snippet, refined: Refined, i: int, frame: int = MIDDLE) -> dict[str, np.ndarray]:
    """Returns the pictures of a frame before and after."""
    height, width = refined.final.disparities[0].shape[2:4]
    return before_and_after(
        cv2.resize(snippet.images[i, frame].numpy(), (width, height), interpolation=cv2.INTER_AREA),
        prediction_of(refined.initial, i, frame),
        prediction_of(refined.final, i, frame),
        refined.moving[i, frame, ..., 0].numpy(),
    )


def size_of(source: Source, index: int) -> tuple[int, int]:
    """Returns (H, W) of a snippet's images in the source."""
    height, width = source.load(tf.constant(index, tf.int64))[0].shape[1:3]
    return int(height), int(width)


def histories(refined: Refined, i: int) -> dict[str, dict[str, list[float]]]:
    """Returns the objective and its terms against the iterations of member i of a batch, by the part's name."""
    # They hold only the members that were refined, or tried.
    tried = [k for k, reason in enumerate(refined.reasons) if not reason or reason.startswith("the objective")]
    parts = {"pft": refined.pft, "oft": refined.oft}
    if i not in tried:
        return {}
    return {name: _terms(part, tried.index(i)) for name, part in parts.items() if part is not None}


def _terms(history: History, column: int) -> dict[str, list[float]]:
    terms = {"total": history.total, **history.report._asdict()}
    return {name: [round(float(x), 6) for x in values[:, column]] for name, values in terms.items()}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the average errors by stage and name, of the snippets whose truth is known."""
    stages = dict.fromkeys(stage for row in rows for stage in row["errors"])
    table: dict[str, dict[str, float]] = {}
    for stage in stages:
        table[stage] = {}
        for name, average in SHOWN.items():
            values = [row["errors"][stage][name] for row in rows if name in row["errors"].get(stage, {})]
            if values:
                table[stage][name] = float(average(values))
    return table


def as_text(table: dict[str, dict[str, float]], rows: Sequence[dict[str, Any]]) -> str:
    """Returns the summary as lines to read, and why snippets were not refined."""
    names = list(dict.fromkeys(name for stage in table.values() for name in stage))
    lines = [" " * 10 + "".join(f"{name:>22}" for name in names)] if names else []
    for stage, values in table.items():
        if values:
            lines.append(f"{stage:10}" + "".join(f"{values.get(name, np.nan):22.4f}" for name in names))
    reasons = [row["reason"] for row in rows if row["reason"]]
    lines.append(f"{len(rows) - len(reasons)} of {len(rows)} snippets refined")
    for kind in dict.fromkeys(reason.partition(":")[0] for reason in reasons):
        lines.append(f"{sum(reason.startswith(kind) for reason in reasons)} not: {kind}")
    return "\n".join(lines)


def _write_report(results: RefinedFolder, labels: Sequence[str], table: dict[str, dict[str, float]]) -> None:
    rows = [results.rows[label] for label in labels]
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for part, name, step, value in _averages(rows):
        if name == "total":
            steps, values = curves.setdefault(part, ([], []))
            steps.append(step)
            values.append(value)
    charts = [("The objective, averaged over the snippets", chart(curves, "iteration", "objective"))] if curves else []
    files = sorted((results.folder / "trajectory").rglob("*.txt"))
    paths = {file.stem: read_trajectory(file)[0] for file in files[:MAX_PATHS]}
    if paths:
        charts.append(("The camera's path from above", path_from_above(paths, "up to scale")))
    names = list(dict.fromkeys(name for stage in table.values() for name in stage))
    stages = [[stage, *(f"{values[x]:.4f}" if x in values else "" for x in names)] for stage, values in table.items()]
    tables = [Table("Errors against the truth", ["refined", *names], stages, PROTOCOL)] if names else []
    not_refined = sum(bool(row["reason"]) for row in rows)
    lines = [f"{len(rows) - not_refined} of {len(rows)} snippets refined"]
    frames = results.report_frames(labels)
    write_report(results.folder / "report.html", f"Refinement in {results.folder.name}", lines, frames, charts, tables)


def _write_scalars(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The objective and its terms against the iterations, averaged over the snippets, for TensorBoard."""
    writer = tf.summary.create_file_writer(str(folder / "tensorboard"))
    with contextlib.closing(writer), writer.as_default():
        for part, name, step, value in _averages(rows):
            tf.summary.scalar(f"{part}/{name}", value, step)


def _averages(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, int, float]]:
    for part in ("pft", "oft"):
        histories = [row[part] for row in rows if part in row]
        for name in histories[0] if histories else ():
            longest = max(len(history[name]) for history in histories)
            for step in range(longest):
                # What has stopped counts with its last value.
                values = [history[name][min(step, len(history[name]) - 1)] for history in histories]
                yield part, name, step, float(np.mean(values))
