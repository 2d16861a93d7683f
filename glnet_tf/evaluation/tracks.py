"""Two trajectories of one video, whoever made them, compared pose by pose: by the frames' names, or by their times."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from glnet_tf.config import EvaluationConfig
from glnet_tf.data.files.colmap import read_colmap
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.evaluation.protocols import Report, trajectory_metrics
from glnet_tf.files import SETTINGS
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.inference.result_folder import read_rows
from glnet_tf.metrics.intrinsics import intrinsics_errors, intrinsics_table
from glnet_tf.metrics.trajectory import match_times


class Track(NamedTuple):
    """A trajectory, and what is known of its frames.

    Attributes:
      poses: [N, 4, 4] camera to world.
      times: [N] seconds, or None.
      names: of the frames, or None.
      intrinsics: [N, 3, 3] K in pixels, or None.
      size: (H, W) of the images of K, or None.
    """

    poses: np.ndarray
    times: np.ndarray | None = None
    names: list[str] | None = None
    intrinsics: np.ndarray | None = None
    size: tuple[int, int] | None = None


def read_track(place: Path) -> Track:
    """Returns the trajectory of a TUM or KITTI file, of COLMAP's text model, or the longest one of a result folder.

    Raises:
      DataError: it is none of these, or damaged.
    """
    if not place.is_dir():
        return Track(*read_trajectory(place))
    if (place / SETTINGS).exists():
        rows = read_rows(place)
        paths = [row.path for row in rows]
        rows = [row for row in rows if row.path == max(paths, key=paths.count)]
        if not rows:
            raise DataError(f"{place}: holds no frame: expected the results of a video; predict it again")
        times = [row.time for row in rows]
        return Track(
            poses=np.array([row.pose for row in rows]),
            times=None if None in times else np.array(times, float),
            names=[row.name for row in rows],
            intrinsics=np.array([row.intrinsics for row in rows]),
            size=(rows[0].height, rows[0].width),
        )
    model = read_colmap(place)
    return Track(model.poses, None, model.names, model.intrinsics, model.size)


def compare_tracks(config: EvaluationConfig) -> Report:
    """Compares the trajectory of `config.predictions` with that of `config.truth`, and K where both know it.

    Args:
      config: these two places, each a file of TUM or KITTI, COLMAP's text model or a result folder; the alignment; and
        the tolerance of times.

    Returns:
      ATE, RPE and KITTI's drift (see trajectory_metrics), errors of K, and both trajectories, [N, 4, 4].

    Raises:
      ConfigError: only one of them is given.
      DataError: one cannot be read, or fewer than two poses belong together.
    """
    if not config.predictions:
        raise ConfigError(f"--truth={config.truth}: expected --predictions= beside it, a trajectory of the same frames")
    truth, found = read_track(Path(config.truth)), read_track(Path(config.predictions))
    if truth.names and found.names:
        by, place = "name", {name: number for number, name in enumerate(found.names)}
        pairs = [(number, place[name]) for number, name in enumerate(truth.names) if name in place]
        first, second = np.array(pairs, int).reshape(-1, 2).T
    elif truth.times is not None and found.times is not None:
        by = f"time, within {config.tolerance:g} s"
        first, second = match_times(truth.times, found.times, config.tolerance)
    elif len(truth.poses) == len(found.poses):
        by, first = "place in the file", np.arange(len(truth.poses))
        second = first
    else:
        raise DataError(
            f"{config.predictions}: has {len(found.poses)} poses, the truth {len(truth.poses)}, not both with times: "
            "expected as many; give TUM files"
        )
    if len(first) < 2:
        raise DataError(
            f"{config.predictions}: {len(first)} of {len(found.poses)} poses belong to one of the truth by {by}: "
            "expected two or more; correct the names or times, or --tolerance"
        )
    true, ours = truth.poses[first], found.poses[second]
    metrics = trajectory_metrics(true, ours, config.alignment)
    if truth.intrinsics is not None and truth.size and found.intrinsics is not None and found.size:
        height, width = truth.size
        scaled = np.asarray(resize_intrinsics(found.intrinsics[second], found.size, truth.size))
        metrics |= intrinsics_table(intrinsics_errors(truth.intrinsics[first], scaled, width, height))
    protocol = {
        "task": "odometry",
        "truth": config.truth,
        "predictions": config.predictions,
        "poses": f"{len(first)} of {len(truth.poses)} and {len(found.poses)}, by {by}",
        "whole trajectory": f"alignment {config.alignment}; lengths as in the truth",
    }
    return Report(protocol, metrics, {"truth": true, "prediction": ours})
