"""Depth metrics in the published form (Eigen et al., NIPS 2014): NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glnet_tf.errors import DataError

MIN_DEPTH = 1e-3
MAX_DEPTH = 80.0
# Shares of the height and of the width between which raw LiDAR counts: Garg et al., ECCV 2016.
GARG_ROWS = (0.40810811, 0.99189189)
GARG_COLUMNS = (0.03594771, 0.96405229)
# Bands of a depth that depends on the row alone.
PROFILE_ROWS = 64


class DepthMetrics(NamedTuple):
    """Errors of one image, or averaged over images, and the scale that was applied."""

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    delta1: float
    delta2: float
    delta3: float
    scale: float


def depth_metrics(
    truth: np.ndarray,
    predicted: np.ndarray,
    max_depth: float = MAX_DEPTH,
    scale: float | None = None,
    mask: np.ndarray | None = None,
) -> DepthMetrics:
    """Compares one depth map with the truth after scaling it.

    Args:
      truth: [H, W] metres; pixels outside (MIN_DEPTH, max_depth) do not count.
      predicted: [H, W], up to scale.
      max_depth: the cap, metres.
      scale: the factor for the prediction; None: median(truth) / median(predicted) over the pixels that count.
      mask: [H, W] bool, True where pixels may count, as from garg_crop; None: everywhere.

    Raises:
      DataError: no pixel counts, or the prediction there is not positive and finite.

    Example:
      import numpy as np

      from glnet_tf.metrics.depth import depth_metrics, depth_table

      truth = np.linspace(5.0, 50.0, 64).reshape(8, 8)  # metres; 0 where it is not known
      rows = [depth_metrics(truth, 0.1 * truth), depth_metrics(truth, truth**1.1)]
      print(rows[0].abs_rel, depth_table(rows)["rmse"])  # 0.0, for scaled by the median; the mean of both images
    """
    truth, predicted = _evaluated(truth, predicted, max_depth, mask)
    if scale is None:
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


def depth_table(metrics: Sequence[DepthMetrics]) -> dict[str, float]:
    """Averages the metrics of images, at least one.

    Returns:
      The mean of every error over images by its name; scale_median; scale_std, the standard deviation of
      scale / scale_median as Godard et al. (ICCV 2019) report it: 0 says that one scale fits every image; images.
    """
    columns = {name: np.array(column) for name, column in zip(DepthMetrics._fields, zip(*metrics))}
    scales = columns.pop("scale")
    means = {name: float(np.mean(column)) for name, column in columns.items()}
    median = float(np.median(scales))
    return {**means, "scale_median": median, "scale_std": float(np.std(scales / median)), "images": len(metrics)}


def common_scale(
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
    max_depth: float = MAX_DEPTH,
) -> float:
    """Returns one scale for a whole set: the median over images of median(truth) / median(predicted).

    Args:
      truths, predictions, masks, max_depth: as for depth_metrics, one per image; the set has at least one image.

    Raises:
      DataError: as from depth_metrics.
    """
    ratios = []
    for truth, predicted, mask in zip(truths, predictions, [None] * len(truths) if masks is None else masks):
        truth, predicted = _evaluated(truth, predicted, max_depth, mask)
        ratios.append(np.median(truth) / np.median(predicted))
    return float(np.median(ratios))


def garg_crop(height: int, width: int) -> np.ndarray:
    """Returns where raw LiDAR counts as ground truth, [H, W] bool: the bounds are cut to integers, as published."""
    top, bottom = (int(share * height) for share in GARG_ROWS)
    left, right = (int(share * width) for share in GARG_COLUMNS)
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def best_constant_abs_rel(truths: list[np.ndarray], max_depth: float = MAX_DEPTH) -> float:
    """Returns the smallest mean AbsRel that one constant depth per image can reach: the baseline of knowing nothing.

    Median scaling is not applied: every image gets the constant that is best for it, its weighted median with
    weights 1 / truth.
    """
    errors = []
    for truth in truths:
        kept = truth[(truth > MIN_DEPTH) & (truth < max_depth)]
        errors.append(np.mean(np.abs(kept - _best_constant(kept)) / kept))
    return float(np.mean(errors))


def best_rows_abs_rel(truths: Sequence[np.ndarray], rows: Sequence[np.ndarray], max_depth: float = MAX_DEPTH) -> float:
    """Returns the mean AbsRel of a depth that only depends on the image row: the baseline of a road under a sky.

    One profile serves all images: in each of PROFILE_ROWS bands the constant that is best for all truths, each divided
    by its median. It is made from the truth that it is judged by: no network that reads rows only can be much better.

    Args:
      truths: [P] metres, one per image; pixels outside (MIN_DEPTH, max_depth) do not count.
      rows: [P] where they lie: 0 at the image's upper edge, 1 at its lower.
      max_depth: the cap, metres.
    """
    counting = [(truth > MIN_DEPTH) & (truth < max_depth) for truth in truths]
    truths = [truth[counts] for truth, counts in zip(truths, counting)]
    bands = [
        np.minimum(row[counts] * PROFILE_ROWS, PROFILE_ROWS - 1).astype(int) for row, counts in zip(rows, counting)
    ]
    relative = np.concatenate([truth / np.median(truth) for truth in truths])
    every = np.concatenate(bands)
    profile = np.array([_best_constant(relative[every == k]) if (every == k).any() else 0 for k in range(PROFILE_ROWS)])
    errors = [depth_metrics(truth, profile[band], max_depth).abs_rel for truth, band in zip(truths, bands)]
    return float(np.mean(errors))


def _best_constant(truth: np.ndarray) -> float:
    """The constant of smallest AbsRel: the median with weights 1 / truth."""
    truth = np.sort(truth)
    weight = np.cumsum(1 / truth)
    return float(truth[np.searchsorted(weight, weight[-1] / 2)])


def _evaluated(
    truth: np.ndarray, predicted: np.ndarray, max_depth: float, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The truth and the prediction, [P] each, at the pixels that count."""
    if predicted.shape != truth.shape:
        raise DataError(f"depth of shape {predicted.shape}: expected the truth's {truth.shape}; resize it")
    valid = (truth > MIN_DEPTH) & (truth < max_depth)
    if mask is not None:
        valid &= mask
    truth, predicted = truth[valid], predicted[valid]
    if not len(truth):
        raise DataError(f"no true depth between {MIN_DEPTH:g} and {max_depth:g} m to compare with; leave the image out")
    bad = predicted[~(np.isfinite(predicted) & (predicted > 0))]
    if len(bad):
        raise DataError(
            f"depth is {bad[0]:g} at {len(bad)} of {len(truth)} pixels with a truth: expected finite positive depth; "
            "predict the image again"
        )
    return truth, predicted
