"""How good a model is on snippets of a source: its objective, and its errors where the source knows the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig, LossConfig
from glnet_tf.data.pipeline import batches
from glnet_tf.data.source import Source
from glnet_tf.geometry.resize import resize_disparity, resize_flow
from glnet_tf.losses.objective import LossWeights, objective
from glnet_tf.metrics.depth import MAX_DEPTH, MIN_DEPTH, best_constant_abs_rel, depth_metrics
from glnet_tf.metrics.flow import flow_metrics
from glnet_tf.metrics.odometry import STRAIGHT_AHEAD, direction_error, rotation_error
from glnet_tf.structures import MIDDLE, NEXT, GroundTruth, Predictions, Snippet


def make_objective(weights: LossWeights, loss: LossConfig) -> Callable[[Snippet, Predictions], tf.Tensor]:
    """Returns the compiled objective in its final form, the minimum alone, whatever the state of the warm-up."""
    final = weights._replace(two_branch=tf.constant(0.0))
    return tf.function(lambda snippet, predictions: objective(snippet, predictions, final, loss)[0], autograph=False)


def validate(
    predict: Callable[[Snippet], Predictions],
    source: Source,
    data: DataConfig,
    indices: Sequence[int],
    score: Callable[[Snippet, Predictions], tf.Tensor] | None = None,
) -> dict[str, float]:
    """Averages the errors over snippets.

    Args:
      predict: from models.glnet.make_predict.
      source: where the snippets come from.
      data: size of the images and batches.
      indices: numbers of the snippets.
      score: from make_objective.

    Returns:
      objective, and where the truth is known: depth_abs_rel, depth_rmse, depth_delta1 (median-scaled),
      depth_abs_rel_constant, flow_epe, flow_f1, flow_epe_zero (pixels), and the medians rotation_deg and
      translation_deg, of the prediction and (with the suffix _straight) of a camera that moves straight ahead.
    """
    rows: list[dict[str, float]] = []
    for snippet in batches(source, data, indices):
        predictions = predict(snippet)
        objective_value = {} if score is None else {"objective": float(score(snippet, predictions))}
        disparity = predictions.disparities[0][:, MIDDLE].numpy()
        flow, pose = predictions.flows[0][:, NEXT].numpy(), predictions.poses[:, NEXT].numpy()
        for i, index in enumerate(snippet.index.numpy()):
            truth = source.ground_truth(int(index))
            row = {} if truth is None else snippet_errors(truth, disparity[i, ..., 0], flow[i], pose[i])
            rows.append({**objective_value, **row})
    names = dict.fromkeys(name for row in rows for name in row)
    means = {}
    for name in names:
        average = np.median if "_deg" in name else np.mean
        means[name] = float(average([row[name] for row in rows if name in row]))
    return means


def snippet_errors(truth: GroundTruth, disparity: np.ndarray, flow: np.ndarray, pose: np.ndarray) -> dict[str, float]:
    """Returns the errors of one snippet, only those whose truth is known; see validate for the names.

    Args:
      truth: of the middle frame, at its own size.
      disparity: [h, w] inverse depth of the middle frame.
      flow: [h, w, 2] from the middle frame to the next, pixels.
      pose: [4, 4] T from the middle frame to the next.
    """
    row: dict[str, float] = {}
    if truth.depth is not None and np.any((truth.depth > MIN_DEPTH) & (truth.depth < MAX_DEPTH)):
        depth = 1 / resize_disparity(disparity, truth.depth.shape)
        found = depth_metrics(truth.depth, depth)
        row.update(depth_abs_rel=found.abs_rel, depth_rmse=found.rmse, depth_delta1=found.delta1)
        row["depth_abs_rel_constant"] = best_constant_abs_rel([truth.depth])
        if truth.moving is not None and np.any(truth.moving & (truth.depth < MAX_DEPTH)):
            of_moving = depth_metrics(truth.depth, depth, scale=found.scale, mask=truth.moving)
            row["depth_abs_rel_moving"] = of_moving.abs_rel
    if truth.flow is not None and truth.flow_valid is not None and truth.flow_valid.any():
        resized = resize_flow(flow, truth.flow.shape[:2])
        row["flow_epe"], row["flow_f1"] = flow_metrics(truth.flow, resized, truth.flow_valid)
        row["flow_epe_zero"] = flow_metrics(truth.flow, np.zeros_like(truth.flow), truth.flow_valid)[0]
    if truth.poses is not None:
        for suffix, motion in (("", pose), ("_straight", STRAIGHT_AHEAD)):
            row["rotation_deg" + suffix] = rotation_error(truth.poses[1], motion)
            row["translation_deg" + suffix] = direction_error(truth.poses[1], motion)
    return row
