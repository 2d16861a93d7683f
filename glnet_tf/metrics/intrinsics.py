"""Errors of predicted intrinsics: NumPy only."""

from __future__ import annotations

import numpy as np

NAMES = ("fx", "fy", "cx", "cy")


def intrinsics_errors(truth: np.ndarray, predicted: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns the signed relative errors of focal lengths and principal points.

    Args:
      truth, predicted: [N, 3, 3] K in pixels of one image size; the truth may also be [3, 3], one for all.
      width, height: of these images.

    Returns:
      [N, 4]: (predicted - truth) / truth of fx and fy, and (predicted - truth) / width of cx, / height of cy. The
      principal point is measured against the image, as its own value depends on where the image was cropped.
    """
    rows, columns = [0, 1, 0, 1], [0, 1, 2, 2]
    true, ours = truth[..., rows, columns], predicted[..., rows, columns]
    sizes = np.broadcast_to([width, height], (*true.shape[:-1], 2))
    return (ours - true) / np.concatenate([true[..., :2], sizes], axis=-1)


def intrinsics_table(errors: np.ndarray) -> dict[str, float]:
    """Summarises the errors of many frames.

    Args:
      errors: [N, 4] from intrinsics_errors.

    Returns:
      fx, fy, cx, cy: medians of the signed errors; fx_std ... cy_std: their standard deviations; frames.
    """
    medians = dict(zip(NAMES, np.median(errors, axis=0).tolist()))
    spreads = {f"{name}_std": spread for name, spread in zip(NAMES, np.std(errors, axis=0).tolist())}
    return {**medians, **spreads, "frames": len(errors)}
