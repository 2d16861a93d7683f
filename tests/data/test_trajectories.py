"""Trajectory files, with SciPy rotations as reference for the quaternions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glnet_tf.data.files.trajectories import read_trajectory, write_kitti_trajectory, write_tum_trajectory
from glnet_tf.errors import DataError


def random_poses(count: int, seed: int = 0) -> np.ndarray:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    poses[:, :3, 3] = np.random.default_rng(seed).normal(scale=100, size=(count, 3))
    return poses


def test_kitti_by_hand(tmp_path):
    (tmp_path / "a.txt").write_text("1 0 0 5 0 1 0 6 0 0 1 7\n\n0 -1 0 1e1 1 0 0 -2.5e-1 0 0 1 0\n")
    poses, times = read_trajectory(tmp_path / "a.txt")
    assert times is None and poses.dtype == np.float64
    expected = [
        [[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]],
        [[0, -1, 0, 10], [1, 0, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]],
    ]
    np.testing.assert_array_equal(poses, expected)


def test_tum_by_hand(tmp_path):
    """The second quaternion turns by 90 degrees about z (x becomes y), the third is the same, twice as long."""
    (tmp_path / "a.txt").write_text(
        "# ground truth trajectory\n# timestamp tx ty tz qx qy qz qw\n"
        "1305031098.6659 1 2 3 0 0 0 1\n1305031098.7 4 5 6 0 0 0.5 0.5\n1305031098.8 4 5 6 0 0 -1 -1\n"
    )
    poses, times = read_trajectory(tmp_path / "a.txt", stamps=True)
    np.testing.assert_array_equal(times, [1305031098.6659, 1305031098.7, 1305031098.8])
    turned = [[0, -1, 0, 4], [1, 0, 0, 5], [0, 0, 1, 6], [0, 0, 0, 1]]
    expected = [[[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], turned, turned]
    np.testing.assert_allclose(poses, expected, atol=1e-15)


def test_quaternions_against_scipy(tmp_path):
    poses = random_poses(50)
    # Half turns, where w is 0, and the identity.
    poses[:4, :3, :3] = Rotation.from_rotvec(
        np.pi * np.array([[1, 0, 0], [0, 1, 0], [0.6, 0, 0.8], [0, 0, 0]])
    ).as_matrix()
    write_tum_trajectory(tmp_path / "a.txt", poses, np.arange(50) / 10)
    quaternions = np.loadtxt(tmp_path / "a.txt")[:, 4:]
    assert (quaternions[:, 3] >= 0).all()
    agreement = np.abs(np.sum(quaternions * Rotation.from_matrix(poses[:, :3, :3]).as_quat(), axis=-1))
    np.testing.assert_allclose(agreement, 1, atol=1e-12)
    read, times = read_trajectory(tmp_path / "a.txt")
    np.testing.assert_allclose(read, poses, atol=1e-12)
    np.testing.assert_array_equal(read[:, :3, 3], poses[:, :3, 3])
    np.testing.assert_array_equal(times, np.arange(50) / 10)


def test_kitti_round_trip_is_exact(tmp_path):
    poses = random_poses(20, seed=1)
    write_kitti_trajectory(tmp_path / "a.txt", poses)
    np.testing.assert_array_equal(read_trajectory(tmp_path / "a.txt")[0], poses)
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    write_kitti_trajectory(tmp_path / "b.txt", poses[:1].astype(np.float32))
    np.testing.assert_array_equal(read_trajectory(tmp_path / "b.txt")[0], poses[:1].astype(np.float32))


IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"row 1 has 0 numbers: expected 12 \(a 3x4 pose\) or 8"),
        ("# only a comment\n", "row 1 has 0 numbers"),
        ("1 2 3 4 5 6 7\n", "row 1 has 7 numbers"),
        (IDENTITY + "0 0 0 0 0 0 0 1\n", "row 2 has 8 numbers: expected 12 finite ones as in row 1"),
        (IDENTITY.replace("0", "nan", 1), "row 1 has 12 numbers: expected 12 finite ones"),
        ("0 0 0 0 0 0 0 1\n0 0 0 inf 0 0 0 1\n", "row 2 .*finite"),
        ("0 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 0\n", "row 2 has a quaternion of length 0: expected a unit one"),
        (IDENTITY + IDENTITY.replace("1", "2"), r"row 2 has \[\[2.0, .* as its rotation: expected orthonormal"),
        (IDENTITY.replace("1", "-1"), "row 1 has .* as its rotation"),
        (IDENTITY.replace("1", "1e300"), "row 1 has .* as its rotation"),
        ("0 0 0 0 1e300 0 0 0\n", "row 1 has a quaternion of length inf"),
        ("a b c\n", "a.txt:1: 'a b c': expected numbers only"),
    ],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_trajectory(tmp_path / "a.txt")
    assert "a.txt" in str(error.value) and "\n" not in str(error.value)


def test_time_stamps_may_be_asked_for(tmp_path):
    (tmp_path / "a.txt").write_text(IDENTITY)
    assert read_trajectory(tmp_path / "a.txt")[1] is None
    with pytest.raises(DataError, match=r"row 1 has 12 numbers: expected 8 \(t x y z qx qy qz qw\)"):
        read_trajectory(tmp_path / "a.txt", stamps=True)


def test_poses_that_are_not_finite_are_not_written(tmp_path):
    poses = random_poses(3)
    poses[1, 0, 3] = np.nan
    with pytest.raises(DataError, match="a.txt: pose 1 is not finite"):
        write_kitti_trajectory(tmp_path / "a.txt", poses)
    assert not list(tmp_path.iterdir())
