"""Errors of whole trajectories worked out by hand, and against evo."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glnet_tf.errors import DataError
from glnet_tf.metrics.trajectory import align_sim3, aligned_trajectory, ate_rmse, kitti_errors, rpe


def trajectory(rotations: np.ndarray, positions: np.ndarray) -> np.ndarray:
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotations, positions
    return poses


def straight(count: int, step: float = 1.0) -> np.ndarray:
    """A camera that drives along z and does not turn."""
    return trajectory(np.eye(3), np.arange(count)[:, None] * [0, 0, step])


def drive(count: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A camera that winds its way, each motion a little off."""
    rng = np.random.default_rng(seed)
    poses = [np.eye(4)]
    for i in range(count - 1):
        motion = np.eye(4)
        turn = [0.01 * np.sin(i / 7), 0.05 * np.cos(i / 11), 0]
        motion[:3, :3] = Rotation.from_rotvec(turn + noise * rng.normal(size=3)).as_matrix()
        motion[:3, 3] = [0, 0, 1 + 0.3 * np.sin(i / 5)] + 5 * noise * rng.normal(size=3)
        poses.append(poses[-1] @ motion)
    return np.array(poses)


def moved(poses: np.ndarray, scale: float) -> np.ndarray:
    """The same trajectory in another world frame and at another scale."""
    turn = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    return trajectory(turn @ poses[:, :3, :3], scale * poses[:, :3, 3] @ turn.T + [5, 6, -7])


def test_umeyama_recovers_a_similarity():
    points = np.random.default_rng(0).normal(size=(10, 3))
    turn = Rotation.from_rotvec([1.0, 2.0, -0.5]).as_matrix()
    truth = 2.5 * points @ turn.T + [1, 2, 3]
    scale, rotation, translation = align_sim3(truth, points)
    np.testing.assert_allclose(scale, 2.5)
    np.testing.assert_allclose(rotation, turn, atol=1e-12)
    np.testing.assert_allclose(translation, [1, 2, 3], atol=1e-12)


def test_umeyama_does_not_mirror():
    points = np.random.default_rng(1).normal(size=(10, 3))
    scale, rotation, _ = align_sim3(points * [1, 1, -1], points)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    assert 0 < scale < 1


def test_umeyama_of_degenerate_positions():
    """A line leaves the turn about itself open, and a prediction that stands still the scale: both still align."""
    line = straight(5)[:, :3, 3]
    scale, rotation, translation = align_sim3(line, 3 * line[:, ::-1] + 1)
    np.testing.assert_allclose(scale * (3 * line[:, ::-1] + 1) @ rotation.T + translation, line, atol=1e-12)
    scale, _, translation = align_sim3(line, np.ones((5, 3)))
    assert scale == 0
    np.testing.assert_allclose(translation, [0, 0, 2])


@pytest.mark.parametrize("alignment", ["sim3", "scale"])
def test_another_world_frame_and_scale_do_not_matter(alignment):
    truth = drive(200)
    predicted = moved(truth, scale=0.1)
    np.testing.assert_allclose(aligned_trajectory(truth, predicted, alignment), truth, atol=1e-9)
    assert ate_rmse(truth, predicted, alignment) < 1e-9
    assert max(rpe(truth, predicted, alignment=alignment)) < 1e-5
    errors = kitti_errors(truth, predicted, alignment)
    assert errors.segments > 0 and max(errors[:2]) < 1e-5


def test_without_alignment_only_the_first_poses_are_put_onto_each_other():
    truth = drive(20)
    np.testing.assert_allclose(aligned_trajectory(truth, moved(truth, 1), "none"), truth, atol=1e-9)
    doubled = aligned_trajectory(truth, moved(truth, 2), "none")
    np.testing.assert_allclose(doubled[:, :3, 3], 2 * truth[:, :3, 3], atol=1e-9)


def test_ate_by_hand():
    """Corners of a square against the same with two opposite ones 1 m up and two 1 m down.

    Nothing but a smaller scale could bring them nearer: sum(truth . predicted) / sum(predicted^2) = 8 / 12.
    """
    corners = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], float)
    bent = corners + np.array([[0, 0, 1], [0, 0, -1], [0, 0, 1], [0, 0, -1]])
    truth, predicted = trajectory(np.eye(3), corners), trajectory(np.eye(3), bent)
    np.testing.assert_allclose(align_sim3(corners, bent).scale, 2 / 3)
    # Each corner is 1/3 off in x and in y, and 2/3 in z.
    np.testing.assert_allclose(ate_rmse(truth, predicted), np.sqrt(1 / 9 + 1 / 9 + 4 / 9))
    # All are 1 m up or down, but the first is put onto the first: 0, 2, 0 and 2 m off.
    np.testing.assert_allclose(ate_rmse(truth, predicted, "none"), np.sqrt(2))


def test_rpe_by_hand():
    """One of four steps is 3 m instead of 1 m, and the camera turns by 2 degrees in another."""
    truth = straight(5)
    predicted = trajectory(np.eye(3), np.array([0, 1, 4, 5, 6])[:, None] * [0, 0, 1.0])
    predicted[4:, :3, :3] = Rotation.from_rotvec([0, 0, np.radians(2)]).as_matrix()
    translation, rotation = rpe(truth, predicted, alignment="none")
    np.testing.assert_allclose([translation, rotation], [np.sqrt(4 / 4), np.sqrt(4 / 4)])
    # Of the three pairs two frames apart, two contain the long step and one the turn.
    translation, rotation = rpe(truth, predicted, delta=2, alignment="none")
    np.testing.assert_allclose([translation, rotation], [np.sqrt(8 / 3), np.sqrt(4 / 3)])


def test_kitti_errors_of_a_wrong_scale():
    """1 % too long: segments end at the first frame beyond 100 and 200 m, which is 100.5 and 200.5 m away.

    Of 441 frames, 220 m long, starts at frames 0, 10, ... 230 fit 100.5 m (to frame 431), and 0 ... 30 fit 200.5 m.
    """
    truth = straight(441, step=0.5)
    errors = kitti_errors(truth, straight(441, step=0.505), alignment="none")
    expected = (24 * 1.005 / 100 + 4 * 2.005 / 200) / 28 * 100
    np.testing.assert_allclose(errors.translation, expected, rtol=1e-9)
    np.testing.assert_allclose(errors.translation, 1.0, rtol=0.01)
    assert errors.segments == 28 and errors.rotation < 1e-6
    for alignment in ("sim3", "scale"):
        assert kitti_errors(truth, straight(441, step=0.505), alignment).translation < 1e-9


def test_kitti_errors_of_a_turn():
    """0.01 degrees a frame about the optical axis, along which it drives: 1.01 degrees in 101 m, no shift."""
    truth, angles = straight(111), np.radians(0.01) * np.arange(111)
    predicted = truth.copy()
    predicted[:, :3, :3] = Rotation.from_rotvec(angles[:, None] * [0, 0, 1]).as_matrix()
    errors = kitti_errors(truth, predicted)
    assert errors.segments == 1 and errors.translation < 1e-9
    np.testing.assert_allclose(errors.rotation, 1.01)


def test_kitti_errors_of_a_short_drive():
    """100 m exactly are not farther than 100 m."""
    errors = kitti_errors(straight(101), straight(101))
    assert errors.segments == 0 and np.isnan(errors[:2]).all()
    assert kitti_errors(straight(102), straight(102)).segments == 1


@pytest.mark.parametrize("metric", [ate_rmse, rpe, kitti_errors])
def test_trajectories_that_cannot_be_compared(metric):
    with pytest.raises(DataError, match="has 4 poses: expected 5 as in the truth"):
        metric(straight(5), straight(4))
    with pytest.raises(DataError, match=r"has 1 pose\(s\): expected at least 2"):
        metric(straight(1), straight(1))
    broken = straight(5)
    broken[3, 0, 3] = np.nan
    with pytest.raises(DataError, match="pose 3 is not finite"):
        metric(straight(5), broken)


def test_delta_beyond_the_trajectory():
    assert rpe(straight(5), straight(5), delta=4).translation == 0
    for delta in (0, 5):
        with pytest.raises(DataError, match=f"delta {delta}: expected 1 to 4 for 5 poses"):
            rpe(straight(5), straight(5), delta=delta)


@pytest.mark.parametrize("delta", [1, 10])
def test_against_evo(delta):
    pytest.importorskip("evo")
    from evo.core import metrics
    from evo.core.trajectory import PosePath3D

    truth, predicted = drive(150), moved(drive(150, noise=0.01, seed=3), scale=0.2)
    reference, estimate = PosePath3D(poses_se3=list(truth)), PosePath3D(poses_se3=list(predicted))
    estimate.align(reference, correct_scale=True)

    def rmse(metric: metrics.PE) -> float:
        metric.process_data((reference, estimate))
        return metric.get_statistic(metrics.StatisticsType.rmse)

    relations = metrics.PoseRelation
    ate = ate_rmse(truth, predicted)
    assert ate > 0.1
    np.testing.assert_allclose(ate, rmse(metrics.APE(relations.translation_part)), rtol=1e-9)
    for ours, relation in zip(rpe(truth, predicted, delta), (relations.translation_part, relations.rotation_angle_deg)):
        assert ours > 0.01
        evos = rmse(metrics.RPE(relation, delta=delta, delta_unit=metrics.Unit.frames, all_pairs=True))
        np.testing.assert_allclose(ours, evos, rtol=1e-6)
