"""From a source with ground truth to a table: the published protocols, over a model's or anyone's predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig, EvaluationConfig
from glnet_tf.data.datasets.kitti import LIDAR
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.source import Source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.evaluation.predicted_files import find_files, read_depth, read_flow
from glnet_tf.geometry.ground import flat_share
from glnet_tf.geometry.resize import resize_flow
from glnet_tf.inference.predictor import Predictor
from glnet_tf.inference.source_prediction import SourcePrediction, predict_source
from glnet_tf.metrics.depth import (
    MIN_DEPTH,
    DepthMetrics,
    best_constant_abs_rel,
    best_rows_abs_rel,
    common_scale,
    depth_metrics,
    depth_table,
    garg_crop,
)
from glnet_tf.metrics.flow import FlowErrors, flow_errors, flow_table
from glnet_tf.metrics.intrinsics import intrinsics_errors, intrinsics_table
from glnet_tf.metrics.odometry import STRAIGHT_AHEAD, snippet_ates
from glnet_tf.metrics.trajectory import ate_rmse, chained, kitti_errors, match_times, rpe
from glnet_tf.progress import progress_bar
from glnet_tf.structures import MIDDLE, GroundTruth

FLAT_FRAME = 0.95


class Evaluation(NamedTuple):
    """What is evaluated, and by which protocol; see evaluate."""

    source: Source
    indices: Sequence[int]
    config: EvaluationConfig
    data: DataConfig
    model: Predictor | None

    def truth(self, index: int) -> GroundTruth:
        """Returns the truth of a snippet that is known to have one."""
        truth = self.source.ground_truth(index)
        assert truth is not None
        return truth

    def predicted(self) -> Iterator[SourcePrediction]:
        """Yields what the model predicts, also of the ends of scenes, in the middle of no snippet; with a bar."""
        assert self.model is not None
        with progress_bar(len(self.indices), "predicting", "frame", compiles=True) as bar:
            for batch in predict_source(self.model, self.source, self.data, self.indices):
                yield from batch
                bar.update(sum(found.number is not None for found in batch))

    def predicted_middles(self) -> Iterator[tuple[int, SourcePrediction]]:
        """Yields the number of every snippet, and what the model predicts for its middle frame."""
        return ((found.number, found) for found in self.predicted() if found.number is not None)

    def files(self, kind: str) -> list[Path]:
        """Returns the predicted file of every snippet."""
        labels = [self.source.label(index) for index in self.indices]
        return find_files(Path(self.config.predictions), kind, labels)


class Report(NamedTuple):
    """The outcome of an evaluation.

    Attributes:
      protocol: what was measured, and how.
      metrics: by name.
      trajectories: [N, 4, 4] camera to world by name; odometry only.
    """

    protocol: dict[str, Any]
    metrics: dict[str, float]
    trajectories: dict[str, np.ndarray]


def evaluate(
    source: Source, indices: Sequence[int], config: EvaluationConfig, data: DataConfig, model: Predictor | None
) -> Report:
    """Judges predictions of snippets of a source.

    Args:
      source: from open_source.
      indices: numbers of the snippets; those without a truth do not count.
      config: the protocol.
      data: batch size, and what the protocol says about the data.
      model: whose predictions are evaluated, refined as it refines them; None: those in the files under
        config.predictions.

    Returns:
      The errors by name, and what was compared how.

    Raises:
      ConfigError: files do not tell what config.task asks for.
      DataError: there is no truth, or a prediction is missing or not as it should be.

    Example:
      from glnet_tf.config import DataConfig, EvaluationConfig, StreetConfig
      from glnet_tf.data.sources import open_source
      from glnet_tf.evaluation.protocols import evaluate
      from glnet_tf.inference.predictor import Predictor

      data = DataConfig(dataset="street", street=StreetConfig(streets=1, street_frames=4))
      source = open_source(data, "frames")  # for odometry: "all"
      config = EvaluationConfig(task="depth", scaling="median")
      report = evaluate(source, range(len(source)), config, data, Predictor("street-lite"))
      print(report.protocol, report.metrics["abs_rel"], report.metrics["delta1"])
    """
    protocol = {
        "task": config.task,
        "dataset": data.dataset,
        "data": source.name,
        "split": data.split or "all",
        "predictions": config.predictions,
    }
    protocols = {"depth": _depth, "flow": _flow, "odometry": _odometry, "intrinsics": _intrinsics, "road": _road}
    report = protocols[config.task](Evaluation(source, indices, config, data, model))
    if model is not None:
        height, width = model.depth_size(source.shapes)
        protocol["predictions"] = f"model at {height}x{width}"
    return report._replace(protocol={**protocol, **report.protocol})


def _depth(evaluation: Evaluation) -> Report:
    source, indices, config, data, model = evaluation
    indices = _with_truth(evaluation, "depth")
    crop = (
        "garg" if config.crop == "garg" or (config.crop == "auto" and source.depth_truth.startswith(LIDAR)) else "none"
    )
    truths, predicted, rows_of = [], [], []
    for index, depth in _depths(evaluation._replace(indices=indices)):
        truth = evaluation.truth(index).depth
        assert truth is not None
        if depth.shape != truth.shape:
            raise DataError(
                f"{config.predictions}: {source.label(index)} is {depth.shape[1]}x{depth.shape[0]} pixels: expected "
                f"{truth.shape[1]}x{truth.shape[0]} as the truth; resize the prediction"
            )
        counts = (truth > MIN_DEPTH) & (truth < config.max_depth)
        counts &= garg_crop(*truth.shape) if crop == "garg" else True
        if not counts.any():
            continue
        # Only what counts is kept: a set of dense depth maps would not fit into memory.
        truths.append(truth[counts])
        predicted.append(_checked(depth[counts], source.label(index)))
        rows_of.append((np.nonzero(counts)[0] / truth.shape[0]).astype(np.float32))
    if not truths:
        raise DataError(
            f"{source.name}: no true depth between {MIN_DEPTH:g} and {config.max_depth:g} m, crop {crop}, in "
            f"{len(indices)} frames: expected some; correct --max_depth, --crop or --split"
        )
    scale = {"median": None, "none": 1.0}.get(config.scaling)
    if config.scaling == "set":
        scale = common_scale(truths, predicted, max_depth=config.max_depth)
    rows: list[DepthMetrics] = [depth_metrics(a, b, config.max_depth, scale) for a, b in zip(truths, predicted)]
    metrics = depth_table(rows)
    metrics["abs_rel_constant"] = best_constant_abs_rel(truths, config.max_depth)
    metrics["abs_rel_rows"] = best_rows_abs_rel(truths, rows_of, config.max_depth)
    protocol = {
        "ground truth": source.depth_truth,
        "crop": crop,
        "cap (m)": config.max_depth,
        "scaling": {"median": "median, each image", "set": "one for the set", "none": "none"}[config.scaling],
        "images": len(rows),
    }
    return Report(protocol, metrics, {})


def _depths(evaluation: Evaluation) -> Iterator[tuple[int, np.ndarray]]:
    if evaluation.model is None:
        for index, file in zip(evaluation.indices, evaluation.files("depth")):
            yield index, read_depth(file)
        return
    for number, found in evaluation.predicted_middles():
        yield number, found.frame.depth


def _checked(depth: np.ndarray, label: str) -> np.ndarray:
    bad = np.sum(~(np.isfinite(depth) & (depth > 0)))
    if bad:
        raise DataError(
            f"{label}: the predicted depth is not finite and positive at {bad} of {depth.size} pixels that have a "
            "truth: expected depth everywhere; predict the frame again"
        )
    return depth


def _flow(evaluation: Evaluation) -> Report:
    source = evaluation.source
    indices = _with_truth(evaluation, "flow_valid")
    rows: list[FlowErrors] = []
    references: dict[str, list[FlowErrors]] = {"zero": [], "dis": []}
    for index, flow in _flows(evaluation._replace(indices=indices)):
        truth = evaluation.truth(index)
        assert truth.flow is not None and truth.flow_valid is not None
        noc, moving = (mask if mask is not None and mask.any() else None for mask in (truth.visible, truth.moving))
        try:
            rows.append(flow_errors(truth.flow, flow, truth.flow_valid, noc, moving))
        except DataError as error:
            raise DataError(f"{source.label(index)}: {error}") from None
        images = source.load(tf.constant(index, tf.int64))[0].numpy()[MIDDLE:]
        for name, reference in (("zero", np.zeros_like(truth.flow)), ("dis", _dis_flow(images, *flow.shape[:2]))):
            references[name].append(flow_errors(truth.flow, reference, truth.flow_valid))
    metrics = flow_table(rows)
    metrics |= {f"epe_{name}": flow_table(found)["epe"] for name, found in references.items()}
    protocol = {"averaged over": "images", "references": "no motion, OpenCV's DIS (medium)", "images": len(rows)}
    return Report(protocol, metrics, {})


def _dis_flow(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Flow from the first image to the second, [2, H, W, 3] uint8, by OpenCV's DIS, at [height, width, 2]."""
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images)
    found = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)  # type: ignore
    return resize_flow(found, (height, width))


def _flows(evaluation: Evaluation) -> Iterator[tuple[int, np.ndarray]]:
    if evaluation.model is None:
        for index, file in zip(evaluation.indices, evaluation.files("flow")):
            yield index, read_flow(file)
        return
    for number, found in evaluation.predicted_middles():
        assert found.frame.flow is not None
        yield number, found.frame.flow


def _odometry(evaluation: Evaluation) -> Report:
    source, indices, config, data, model = evaluation
    follows = all(source.files(a)[1] == source.files(b)[0] for a, b in zip(indices, indices[1:]))
    if not follows or _with_truth(evaluation, "poses") != list(indices):
        raise DataError(f"{source.name}: expected one uninterrupted video with poses; choose it with --split")
    motions = [pair for index in indices if (pair := evaluation.truth(index).poses) is not None]
    true = chained([motions[0][0], *(pair[1] for pair in motions)])
    scene = source.label(indices[0]).rpartition("/")[0]
    if model is not None:
        ours = np.stack([found.frame.pose for found in evaluation.predicted()])
        place = source.name
    else:
        file = find_files(Path(config.predictions), "trajectory", [scene])[0]
        (ours, times), place = read_trajectory(file), str(file)
        if times is not None and len(ours) != len(true):
            # The times of a data set's frames are their numbers, as in inference.summary.
            chosen, found = match_times(np.arange(len(true)), times, config.tolerance)
            true, ours = true[chosen], ours[found]
    if len(ours) != len(true):
        raise DataError(f"{place}: has {len(ours)} poses: expected {len(true)}, one per frame; predict every frame")
    straight = chained([STRAIGHT_AHEAD] * (len(true) - 1))
    metrics = {**trajectory_metrics(true, ours, config.alignment)}
    for suffix, errors in (("", snippet_ates(true, ours)), ("_straight", snippet_ates(true, straight))):
        metrics |= {f"ate{suffix}": float(np.mean(errors)), f"ate{suffix}_std": float(np.std(errors))}
    protocol = {
        "scene": scene,
        "ate": "mean over 5-frame snippets, metres, first position and scale aligned (SfMLearner)",
        "whole trajectory": f"alignment {config.alignment}",
        "baseline": "straight ahead at constant speed",
        "frames": len(true),
    }
    return Report(protocol, metrics, {"truth": true, "prediction": ours})


def trajectory_metrics(true: np.ndarray, ours: np.ndarray, alignment: str) -> dict[str, float]:
    """Returns the errors of a whole trajectory; KITTI's drift only where a segment of 100 m fits.

    Args:
      true, ours: [N, 4, 4] camera to world.
      alignment: see EvaluationConfig.
    """
    relative, drift = rpe(true, ours, alignment=alignment), kitti_errors(true, ours, alignment=alignment)
    metrics = {
        "ate_rmse": ate_rmse(true, ours, alignment),
        "rpe_translation": relative.translation,
        "rpe_rotation_deg": relative.rotation,
    }
    if drift.segments:
        metrics |= {"t_err_percent": drift.translation, "r_err_deg_per_100m": drift.rotation}
    return metrics


def _intrinsics(evaluation: Evaluation) -> Report:
    source, indices, config, data, model = evaluation
    if model is None:
        raise ConfigError("--predictions: intrinsics are read from a run only; give --run_dir")
    rows = []
    for _, found in evaluation.predicted_middles():
        if found.given_intrinsics is None:
            raise DataError(f"{source.name}: has no calibration to compare with; choose calibrated scenes with --split")
        height, width = found.frame.disparity.shape
        rows.append(intrinsics_errors(found.given_intrinsics, found.frame.intrinsics, width, height))
    metrics = intrinsics_table(np.stack(rows))
    protocol = {
        "intrinsics": model.model.source_of_intrinsics,
        "errors": "signed medians, relative to the true focal length and to the image's size; std: spread over frames",
        "frames": len(rows),
    }
    return Report(protocol, metrics, {})


def _road(evaluation: Evaluation) -> Report:
    source, indices, config, data, model = evaluation
    if model is None:
        raise ConfigError("--predictions: roads are found in the depth of a model only; give --run_dir or --weights")
    shares = np.array(
        [
            flat_share(found.frame.disparity[np.newaxis, ..., np.newaxis], found.frame.intrinsics[np.newaxis])[0]
            for _, found in evaluation.predicted_middles()
        ]
    )
    metrics = {"flat_share": float(shares.mean()), "flat_frames": float(np.mean(shares >= FLAT_FRAME))}
    protocol = {
        "flat_share": "share of the road ahead whose depth is within 25 % of its plane's",
        "flat_frames": f"share of the frames in which that is {FLAT_FRAME:.0%} or more",
        "frames": len(shares),
    }
    return Report(protocol, metrics, {})


def _with_truth(evaluation: Evaluation, field: str) -> list[int]:
    """Those of the snippets that have a truth of a kind.

    Raises:
      DataError: none has.
    """
    source, indices = evaluation.source, evaluation.indices
    truths = ((index, source.ground_truth(index)) for index in indices)
    found = [index for index, truth in truths if truth is not None and np.any(getattr(truth, field))]
    if not found:
        raise DataError(
            f"{source.name}: none of {len(indices)} frames has a true {field.partition('_')[0]}: expected a data set "
            "with ground truth; choose another --dataset or --split"
        )
    return found
