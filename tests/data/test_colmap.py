"""COLMAP's text model: a point of the cloud projects through what was written to where it was seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glnet_tf.data.files import colmap
from glnet_tf.data.files.colmap import read_colmap, write_colmap
from glnet_tf.errors import DataError


def test_points_project_where_they_were_seen(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    K = np.array([[90.0, 0, 47.0], [0, 80.0, 31.0], [0, 0, 1]])
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3] = Rotation.random(3, random_state=0).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(3, 3))
    points, colours = rng.normal(size=(7, 3)) + [0, 0, 9], rng.integers(0, 256, (7, 3), np.uint8)
    write_colmap(tmp_path / "model", ["a/0.jpg", "a/1.jpg", "a/2.jpg"], poses, K, (64, 96), points, colours)

    number, kind, width, height, fx, fy, cx, cy = (tmp_path / "model/cameras.txt").read_text().split()
    assert (number, kind, width, height) == ("1", "PINHOLE", "96", "64")
    lines = (tmp_path / "model/images.txt").read_text().split("\n")
    assert [line.split()[-1] for line in lines[:6:2]] == ["a/0.jpg", "a/1.jpg", "a/2.jpg"] and lines[1] == lines[
        3
    ] == ""
    rows = np.loadtxt(tmp_path / "model/points3D.txt")
    np.testing.assert_allclose(rows[:, 1:4], points, rtol=1e-5)
    np.testing.assert_array_equal(rows[:, 4:7], colours)
    for line, pose in zip(lines[:6:2], poses):
        qw, qx, qy, qz, *t = map(float, line.split()[1:8])
        seen = Rotation.from_quat([qx, qy, qz, qw]).apply(rows[:, 1:4]) + t
        theirs = seen[:, :2] / seen[:, 2:] * [float(fx), float(fy)] + [float(cx), float(cy)]
        ours = (K @ (np.linalg.inv(pose) @ np.c_[points, np.ones(7)].T)[:3]).T
        np.testing.assert_allclose(theirs, ours[:, :2] / ours[:, 2:] + 0.5, rtol=1e-4)

    found = read_colmap(tmp_path / "model")
    assert found.names == ["0", "1", "2"] and found.size == (64, 96)
    np.testing.assert_allclose(found.poses, poses, atol=1e-7)
    np.testing.assert_allclose(found.intrinsics, [K] * 3, atol=1e-5)

    monkeypatch.setattr(colmap, "MAX_POINTS", 3)
    write_colmap(tmp_path / "model", [], poses[:0], K, (64, 96), points, colours)
    assert len(np.loadtxt(tmp_path / "model/points3D.txt")) == 3


CAMERAS = "# a comment\n3 SIMPLE_RADIAL 96 64 90 48 32 0.1\n5 OPENCV 48 32 45 44 24 16 0 0 0 0\n"
IMAGES = "# a comment\n1 1 0 0 0 0 0 -2 5 b/two words.png\n10.5 3.25 -1 20 30 7\n2 1 0 0 0 0 0 0 3 a.png\n\n"


def test_what_colmap_writes_is_read(tmp_path):
    """A camera 2 before the world's origin looks at it with z = -2 of t; pixels' centres are at halves there."""
    (tmp_path / "cameras.txt").write_text(CAMERAS)
    (tmp_path / "images.txt").write_text(IMAGES)
    found = read_colmap(tmp_path)
    assert found.names == ["a", "two words"] and found.size == (64, 96)
    np.testing.assert_allclose(found.intrinsics[0], [[90, 0, 47.5], [0, 90, 31.5], [0, 0, 1]])
    np.testing.assert_allclose(found.intrinsics[1], [[45, 0, 23.5], [0, 44, 15.5], [0, 0, 1]])
    np.testing.assert_allclose(found.poses[:, :3, 3], [[0, 0, 0], [0, 0, 2]])


@pytest.mark.parametrize(
    "cameras, images, message",
    [
        ("3 PINHOLE 96 64 90", IMAGES, r"cameras.txt: '3 PINHOLE 96 64 90': expected ID MODEL"),
        ("3 PINHOLE 96 64 90 nan 48 32", IMAGES, r"cameras.txt: '3 PINHOLE 96 64 90 nan 48 32': expected ID MODEL"),
        (CAMERAS, "1 1 0 0 0 inf 0 0 5 a.png\n\n", r"images.txt: .*: expected ID QW QX"),
        (CAMERAS, "1 1 0 0 0 0 0 0 5\n\n", r"images.txt: .*: expected ID QW QX"),
        (CAMERAS, "1 0 0 0 0 0 0 0 5 a.png\n\n", r"images.txt: row 1 has a quaternion of length 0"),
        (CAMERAS, "1 1 0 0 0 0 0 0 4 a.png\n\n", r"cameras.txt: has no camera 4: expected that of a.png"),
        (CAMERAS, "# none\n", r"images.txt: has no image"),
    ],
)
def test_a_damaged_model_is_one_line(tmp_path, cameras, images, message):
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(images)
    with pytest.raises(DataError, match=message):
        read_colmap(tmp_path)
    (tmp_path / "images.txt").rename(tmp_path / "images.bin")
    with pytest.raises(DataError, match="is binary: expected text; convert it"):
        read_colmap(tmp_path)
