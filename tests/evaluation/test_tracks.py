"""Trajectories of one video, compared by name or by time."""

from __future__ import annotations

import numpy as np
import pytest

from glnet_tf.config import EvaluationConfig
from glnet_tf.data.files.colmap import write_colmap
from glnet_tf.data.files.trajectories import write_kitti_trajectory, write_tum_trajectory
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.evaluation.tracks import compare_tracks
from glnet_tf.inference.result_folder import ResultFolder
from glnet_tf.metrics.trajectory import match_times
from glnet_tf.structures import FramePrediction

K = np.array([[90.0, 0, 47.5], [0, 90.0, 31.5], [0, 0, 1]])


def track(count: int = 9) -> np.ndarray:
    """A camera on a bend, faster and faster: every pose has its own place and direction."""
    angles = 0.01 * np.arange(count) ** 2
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angles)
    poses[:, 0, 2], poses[:, 2, 0] = np.sin(angles), -np.sin(angles)
    poses[:, 0, 3], poses[:, 2, 3] = 1 - np.cos(angles), np.sin(angles)
    return poses


def compare(truth, predictions, **settings):
    return compare_tracks(EvaluationConfig(task="odometry", truth=str(truth), predictions=str(predictions), **settings))


def test_times_belong_together_once():
    first, second = match_times(np.array([0.0, 0.1, 0.2, 0.3]), np.array([0.09, 0.11, 0.215, 0.5]), 0.02)
    assert first.tolist() == [1, 2] and second.tolist() in ([0, 2], [1, 2])


def test_fewer_poses_are_compared_by_time(tmp_path):
    poses, times = track(), 0.1 * np.arange(9)
    write_tum_trajectory(tmp_path / "truth.tum", poses, times)
    some = [1, 2, 4, 5, 8]
    write_tum_trajectory(tmp_path / "ours.tum", poses[some], times[some] + 0.015)
    report = compare(tmp_path / "truth.tum", tmp_path / "ours.tum")
    assert report.metrics["ate_rmse"] < 1e-6 and report.protocol["poses"] == "5 of 9 and 5, by time, within 0.02 s"
    write_tum_trajectory(tmp_path / "late.tum", poses[some], times[some] + 0.115)
    assert compare(tmp_path / "truth.tum", tmp_path / "late.tum").metrics["ate_rmse"] > 1e-3
    with pytest.raises(DataError, match=r"0 of 5 poses belong to one of the truth by time, within 0.001 s"):
        compare(tmp_path / "truth.tum", tmp_path / "ours.tum", tolerance=0.001)
    write_kitti_trajectory(tmp_path / "ours.txt", poses[some])
    with pytest.raises(DataError, match="has 5 poses, the truth 9, not both with times: expected as many"):
        compare(tmp_path / "truth.tum", tmp_path / "ours.txt")
    with pytest.raises(ConfigError, match="expected --predictions="):
        compare(tmp_path / "truth.tum", "")


def test_a_result_folder_is_compared_with_colmap_by_name(tmp_path):
    """COLMAP saw images twice as large, half of them, and calls the focal length a tenth longer."""
    poses = track()
    blank = np.ones((64, 96))
    with ResultFolder(tmp_path / "out", {}, outputs=["depth_png"]) as results:
        for number, pose in enumerate(poses):
            frame = FramePrediction(np.zeros((64, 96, 3), np.uint8), blank, blank, None, None, None, pose, K)
            results.add(f"{number:06}", frame, time=number / 10)
    larger = np.array([[198.0, 0, 95.5], [0, 198.0, 63.5], [0, 0, 1]])
    scaled = poses.copy()
    scaled[:, :3, 3] *= 7
    names = [f"images/{number:06}.png" for number in range(0, 9, 2)]
    write_colmap(tmp_path / "model", names, scaled[::2], larger, (128, 192), np.zeros((0, 3)), np.zeros((0, 3)))
    report = compare(tmp_path / "model", tmp_path / "out")
    assert report.protocol["poses"] == "5 of 5 and 9, by name" and report.metrics["ate_rmse"] < 1e-6
    np.testing.assert_allclose(report.metrics["fx"], 1 / 1.1 - 1, rtol=1e-5)
    np.testing.assert_allclose(report.metrics["cx"], 0, atol=1e-6)
