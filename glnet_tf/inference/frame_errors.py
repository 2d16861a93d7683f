"""Errors of what is predicted for a frame, where the truth is known, and their averages as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.losses.epipolar import epipolar_loss
from glnet_tf.structures import FramePrediction, GroundTruth
from glnet_tf.training.validation import snippet_errors

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
PROTOCOL = (
    "Of the middle frames: AbsRel of depth up to 80 m, each image scaled by its median; end-point error of the flow, "
    "pixels; rotation and direction of translation to the next frame, degrees (medians). _moving: on objects that "
    "move by themselves; epipolar_px: distance of the flow elsewhere from the epipolar lines; moving_iou: of the mask."
)
# Errors by stage of the refinement and by name.
Errors = dict[str, dict[str, float]]


def frame_errors(truth: GroundTruth, frame: FramePrediction) -> dict[str, float]:
    """Returns the errors of a frame that has a next one, only those whose truth is known.

    Beside those of training.validation.snippet_errors, where the truth tells what moves by itself: epipolar_px, the
    mean Sampson distance of the flow elsewhere, and moving_iou, intersection over union of the mask `moving` with it.
    """
    assert frame.flow is not None and frame.motion is not None
    errors = snippet_errors(truth, frame.disparity, frame.flow, frame.motion)
    if truth.moving is not None and np.any(truth.moving):
        errors["epipolar_px"] = epipolar_error(frame, ~truth.moving)
        if frame.moving is not None:
            both, either = truth.moving & frame.moving, truth.moving | frame.moving
            errors["moving_iou"] = float(np.sum(both) / np.sum(either))
    return errors


def epipolar_error(frame: FramePrediction, mask: np.ndarray) -> float:
    """Returns the mean Sampson distance, pixels, of a frame's flow from its own motion over a mask, [H, W] bool."""
    assert frame.flow is not None and frame.motion is not None
    grid = pixel_grid(*mask.shape)
    motion, intrinsics = (x[np.newaxis].astype(np.float32) for x in (frame.motion, frame.intrinsics))
    weight = mask.astype(np.float32)[np.newaxis, ..., np.newaxis]
    return float(epipolar_loss(grid, grid + frame.flow[np.newaxis], motion, intrinsics, weight, "sampson")[0])


def average_errors(rows: Sequence[Errors]) -> Errors:
    """Returns the averages over frames, of whatever is known of each."""
    table: Errors = {}
    for stage in dict.fromkeys(stage for row in rows for stage in row):
        table[stage] = {}
        for name, average in SHOWN.items():
            values = [row[stage][name] for row in rows if name in row.get(stage, {})]
            if values:
                table[stage][name] = float(average(values))
    return table


def as_table(errors: Errors) -> list[list[str]]:
    """Returns averages as cells: a row for every stage, below a head."""
    names = list(dict.fromkeys(name for stage in errors.values() for name in stage))
    rows = [[stage, *(f"{values[x]:.4f}" if x in values else "" for x in names)] for stage, values in errors.items()]
    return [["refined", *names], *rows] if names else []


def as_text(errors: Errors) -> str:
    """Returns averages as lines to read."""
    return "\n".join(f"{row[0]:10}" + "".join(f"{cell:>22}" for cell in row[1:]) for row in as_table(errors))
