"""Errors of whole trajectories after alignment: ATE, RPE and KITTI's drift. NumPy only.

Trajectories are [N, 4, 4] camera-to-world matrices; the truth is in metres, the prediction up to scale and in a world
frame of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from glnet_tf.errors import DataError
from glnet_tf.metrics.odometry import rotation_error

ALIGNMENTS = ("sim3", "scale", "none")
KITTI_LENGTHS = (100, 200, 300, 400, 500, 600, 700, 800)
KITTI_STEP = 10


class Similarity(NamedTuple):
    """The map x -> scale * rotation x + translation; rotation [3, 3], translation [3]."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray


class RelativeErrors(NamedTuple):
    """Root mean squares of relative pose errors: translation in metres, rotation in degrees."""

    translation: float
    rotation: float


class KittiErrors(NamedTuple):
    """Mean drift over KITTI's segments: translation in % of their length, rotation in degrees per 100 m.

    Attributes:
      translation, rotation: NaN if no segment fits into the trajectory.
      segments: how many were measured.
    """

    translation: float
    rotation: float
    segments: int


def chained(motions: Iterable[np.ndarray]) -> np.ndarray:
    """Returns camera to world, [N + 1, 4, 4] float64, from motions T of consecutive pairs; the world is camera 0."""
    poses = [np.eye(4)]
    for motion in motions:
        poses.append(poses[-1] @ np.linalg.inv(np.asarray(motion, np.float64)))
    return np.stack(poses)


def match_times(true: np.ndarray, ours: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns which of [N] and which of [M] times, seconds, belong together: the nearest ones, each at most once."""
    nearest = np.abs(true[:, np.newaxis] - ours).argmin(axis=1)
    # Rounding in the file is no difference.
    close = np.abs(true - ours[nearest]) <= tolerance + 1e-6
    back = np.abs(true[:, np.newaxis] - ours).argmin(axis=0)
    chosen = np.flatnonzero(close & (back[nearest] == np.arange(len(true))))
    return chosen, nearest[chosen]


def align_sim3(truth: np.ndarray, predicted: np.ndarray) -> Similarity:
    """Returns the similarity that maps predicted positions onto the true ones with the least squared distances.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. For
    positions on one line the turn about that line is arbitrary; for a prediction that stands still the scale is 0.

    Args:
      truth, predicted: [N, 3] positions.
    """
    a, b = truth - truth.mean(axis=0), predicted - predicted.mean(axis=0)
    u, singular, vt = np.linalg.svd(a.T @ b)
    # A reflection would fit mirrored positions better, but no camera moves like that.
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    spread = np.sum(b**2)
    scale = float(singular @ signs / spread) if spread > 0 else 0.0
    return Similarity(scale, rotation, truth.mean(axis=0) - scale * rotation @ predicted.mean(axis=0))


def aligned_trajectory(truth: np.ndarray, predicted: np.ndarray, alignment: str = "sim3") -> np.ndarray:
    """Returns a predicted trajectory in the true one's world frame and scale.

    Args:
      truth, predicted: [N, 4, 4].
      alignment: "sim3": the similarity of all positions (align_sim3); "scale": the first poses are put onto each other,
        and the scale is the one with the least squared distances; "none": the prediction is in metres, and only the
        first poses are put onto each other.

    Returns:
      [N, 4, 4] camera to world.

    Raises:
      DataError: the trajectories differ in length, are not finite, or have fewer than two poses.
    """
    _check(truth, predicted)
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment {alignment!r}: expected one of {', '.join(ALIGNMENTS)}")
    if alignment == "sim3":
        scale, rotation, translation = align_sim3(truth[:, :3, 3], predicted[:, :3, 3])
    else:
        rotation = truth[0, :3, :3] @ predicted[0, :3, :3].T
        moved, turned = truth[:, :3, 3] - truth[0, :3, 3], (predicted[:, :3, 3] - predicted[0, :3, 3]) @ rotation.T
        norm = np.sum(turned**2)
        best = np.sum(moved * turned) / norm if norm > 0 else 0.0
        scale = float(best) if alignment == "scale" else 1.0
        translation = truth[0, :3, 3] - scale * rotation @ predicted[0, :3, 3]
    result = np.tile(np.eye(4), (len(predicted), 1, 1))
    result[:, :3, :3] = rotation @ predicted[:, :3, :3]
    result[:, :3, 3] = scale * predicted[:, :3, 3] @ rotation.T + translation
    return result


def ate_rmse(truth: np.ndarray, predicted: np.ndarray, alignment: str = "sim3") -> float:
    """Returns the absolute trajectory error: the root mean squared distance of positions after alignment, metres.

    Args:
      truth, predicted, alignment: see aligned_trajectory.
    """
    aligned = aligned_trajectory(truth, predicted, alignment)
    return float(np.sqrt(np.mean(np.sum((truth[:, :3, 3] - aligned[:, :3, 3]) ** 2, axis=-1))))


def rpe(truth: np.ndarray, predicted: np.ndarray, delta: int = 1, alignment: str = "sim3") -> RelativeErrors:
    """Returns the relative pose error over all pairs of frames (i, i + delta) after alignment.

    Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012. Only the scale of the alignment
    matters.

    Args:
      truth, predicted, alignment: see aligned_trajectory.
      delta: frames between the poses of a pair.

    Raises:
      DataError: as from aligned_trajectory, or the trajectory has no such pair.
    """
    aligned = aligned_trajectory(truth, predicted, alignment)
    if not 0 < delta < len(truth):
        raise DataError(f"delta {delta}: expected 1 to {len(truth) - 1} for {len(truth)} poses; choose another")
    first = np.arange(len(truth) - delta)
    translations, rotations = _relative_errors(truth, aligned, first, first + delta)
    return RelativeErrors(*(float(np.sqrt(np.mean(errors**2))) for errors in (translations, rotations)))


def kitti_errors(truth: np.ndarray, predicted: np.ndarray, alignment: str = "sim3") -> KittiErrors:
    """Returns the drift that the KITTI odometry benchmark reports (Geiger et al., CVPR 2012).

    Segments of 100, 200 ... 800 m start at every tenth frame and end at the first frame that is farther along the true
    path than that. The errors of a segment are those of its end seen from its start, over its nominal length.

    Args:
      truth, predicted, alignment: see aligned_trajectory. Only the scale of the alignment matters.

    Raises:
      DataError: as from aligned_trajectory.
    """
    aligned = aligned_trajectory(truth, predicted, alignment)
    path = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=-1))])
    first, lengths = (grid.ravel() for grid in np.meshgrid(np.arange(0, len(truth), KITTI_STEP), KITTI_LENGTHS))
    last = np.searchsorted(path, path[first] + lengths, side="right")
    fits = last < len(truth)
    if not fits.any():
        return KittiErrors(float("nan"), float("nan"), 0)
    translations, rotations = _relative_errors(truth, aligned, first[fits], last[fits])
    translation, rotation = (float(100 * np.mean(errors / lengths[fits])) for errors in (translations, rotations))
    return KittiErrors(translation, rotation, int(fits.sum()))


def _relative_errors(
    truth: np.ndarray, aligned: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Metres and degrees, [P] each, by which the motions between pairs of frames differ from the true ones."""
    true = np.linalg.inv(truth[first]) @ truth[last]
    ours = np.linalg.inv(aligned[first]) @ aligned[last]
    angles = np.array([rotation_error(a, b) for a, b in zip(true, ours)])
    # As long as the translation of inv(true) @ ours, which is this one in other axes.
    return np.linalg.norm(ours[:, :3, 3] - true[:, :3, 3], axis=-1), angles


def _check(truth: np.ndarray, predicted: np.ndarray) -> None:
    if truth.shape != predicted.shape:
        raise DataError(f"has {len(predicted)} poses: expected {len(truth)} as in the truth; predict the same frames")
    if len(truth) < 2:
        raise DataError(f"has {len(truth)} pose(s): expected at least 2; predict a longer video")
    bad = np.flatnonzero(~(np.isfinite(truth) & np.isfinite(predicted)).all(axis=(1, 2)))
    if len(bad):
        raise DataError(f"pose {bad[0]} is not finite: expected finite numbers; predict the trajectory again")
