"""Optical flow metrics: NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glnet_tf.errors import DataError

NAN = float("nan")


class FlowErrors(NamedTuple):
    """Errors of one image: mean endpoint errors in pixels over kinds of pixels, NaN where the image has none of a kind.

    Attributes:
      epe: over all valid pixels.
      epe_noc: over those that stay visible.
      epe_moving, epe_static: over those of moving objects and over the others.
      f1: share of valid pixels with an error above 3 px and above 5 % of the true flow.
      pixels: number of valid pixels.
    """

    epe: float
    epe_noc: float
    epe_moving: float
    epe_static: float
    f1: float
    pixels: int


def endpoint_error(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the length of the difference of two flows, [..., H, W] in pixels; flows: [..., H, W, 2] = (u, v)."""
    return np.linalg.norm(truth - predicted, axis=-1)


def flow_metrics(truth: np.ndarray, predicted: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Returns the mean endpoint error in pixels, and F1: the share of errors above 3 px and above 5 % of the truth.

    Args:
      truth, predicted: [..., H, W, 2] pixels.
      valid: [..., H, W], True where the truth is known.

    Raises:
      DataError: no pixel is valid, or the prediction is not finite at one that is.
    """
    errors = flow_errors(truth, predicted, valid)
    return errors.epe, errors.f1


def flow_errors(
    truth: np.ndarray,
    predicted: np.ndarray,
    valid: np.ndarray,
    noc: np.ndarray | None = None,
    moving: np.ndarray | None = None,
) -> FlowErrors:
    """Compares one flow with the truth.

    Args:
      truth, predicted: [..., H, W, 2] = (u, v) in pixels of the truth's size.
      valid: [..., H, W] bool, True where the truth is known.
      noc: [..., H, W] bool, True where it is known and not occluded in the other image; None: not known.
      moving: [..., H, W] bool, True on moving objects; None: not known.

    Raises:
      DataError: no pixel is valid, or the prediction is not finite at one that is.
    """
    if predicted.shape != truth.shape:
        raise DataError(f"flow of shape {predicted.shape}: expected the truth's {truth.shape}; resize and scale it")
    if not valid.any():
        raise DataError("no pixel with a true flow to compare with; leave the image out")
    bad = int(np.sum(~np.isfinite(predicted[valid]).all(axis=-1)))
    if bad:
        raise DataError(
            f"flow is not finite at {bad} of {np.sum(valid)} pixels with a truth: expected finite numbers; "
            "predict the image again"
        )
    error, length = endpoint_error(truth, predicted), np.linalg.norm(truth, axis=-1)

    def epe(kind: np.ndarray | None) -> float:
        return NAN if kind is None or not np.any(valid & kind) else float(np.mean(error[valid & kind]))

    return FlowErrors(
        epe=float(np.mean(error[valid])),
        epe_noc=epe(noc),
        epe_moving=epe(moving),
        epe_static=epe(None if moving is None else ~moving),
        f1=float(np.mean((error[valid] > 3) & (error[valid] > 0.05 * length[valid]))),
        pixels=int(np.sum(valid)),
    )


def flow_table(errors: Sequence[FlowErrors]) -> dict[str, float]:
    """Averages the errors of images, at least one; an image without a kind of pixel does not count for that kind.

    KITTI 2012 averages EPE and outliers over images. KITTI 2015 counts outliers over the pixels of all images at once.

    Returns:
      Every endpoint error that is known, and f1, as means over images; f1_pixels, the share of the pixels of all
      images; images.
    """
    columns = {name: np.array(column) for name, column in zip(FlowErrors._fields, zip(*errors))}
    pixels = columns.pop("pixels")
    means = {name: float(np.nanmean(column)) for name, column in columns.items() if np.isfinite(column).any()}
    return {**means, "f1_pixels": float(np.average(columns["f1"], weights=pixels)), "images": len(errors)}
