"""Optical flow metrics: NumPy only."""

from __future__ import annotations

import numpy as np


def endpoint_error(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the length of the difference of two flows, [..., H, W] in pixels; flows: [..., H, W, 2] = (u, v)."""
    return np.linalg.norm(truth - predicted, axis=-1)


def flow_metrics(truth: np.ndarray, predicted: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Returns the mean endpoint error in pixels, and F1: the share of errors above 3 px and above 5 % of the truth.

    Args:
      truth, predicted: [..., H, W, 2] pixels.
      valid: [..., H, W], True where the truth is known.
    """
    error = endpoint_error(truth, predicted)[valid]
    length = np.linalg.norm(truth, axis=-1)[valid]
    return float(np.mean(error)), float(np.mean((error > 3) & (error > 0.05 * length)))
