"""Depth metrics in the published form (Eigen et al., NIPS 2014): NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MIN_DEPTH = 1e-3
MAX_DEPTH = 80.0


class DepthMetrics(NamedTuple):
    """Errors of one image, or averaged over images, and the median scale that was applied."""

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    delta1: float
    delta2: float
    delta3: float
    scale: float


def depth_metrics(truth: np.ndarray, predicted: np.ndarray, max_depth: float = MAX_DEPTH) -> DepthMetrics:
    """Compares one depth map with the truth after scaling it by median(truth) / median(predicted).

    Args:
      truth: [H, W] metres; pixels outside (MIN_DEPTH, max_depth) do not count.
      predicted: [H, W], up to scale.
      max_depth: the cap, metres.
    """
    valid = (truth > MIN_DEPTH) & (truth < max_depth)
    truth, predicted = truth[valid], predicted[valid]
    scale = float(np.median(truth) / np.median(predicted))
    predicted = np.clip(predicted * scale, MIN_DEPTH, max_depth)
    difference = truth - predicted
    ratio = np.maximum(truth / predicted, predicted / truth)
    return DepthMetrics(
        abs_rel=float(np.mean(np.abs(difference) / truth)),
        sq_rel=float(np.mean(difference**2 / truth)),
        rmse=float(np.sqrt(np.mean(difference**2))),
        rmse_log=float(np.sqrt(np.mean((np.log(truth) - np.log(predicted)) ** 2))),
        delta1=float(np.mean(ratio < 1.25)),
        delta2=float(np.mean(ratio < 1.25**2)),
        delta3=float(np.mean(ratio < 1.25**3)),
        scale=scale,
    )


def best_constant_abs_rel(truths: list[np.ndarray], max_depth: float = MAX_DEPTH) -> float:
    """Returns the smallest mean AbsRel that one constant depth per image can reach: the baseline of knowing nothing.

    Median scaling is not applied: every image gets the constant that is best for it, its weighted median with
    weights 1 / truth.
    """
    errors = []
    for truth in truths:
        kept = np.sort(truth[(truth > MIN_DEPTH) & (truth < max_depth)])
        weight = np.cumsum(1 / kept)
        constant = kept[np.searchsorted(weight, weight[-1] / 2)]
        errors.append(np.mean(np.abs(kept - constant) / kept))
    return float(np.mean(errors))
