"""COLMAP's text model: a point of the cloud projects through what was written to where it was seen."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from glnet_tf.data.files import colmap
from glnet_tf.data.files.colmap import write_colmap


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

    monkeypatch.setattr(colmap, "MAX_POINTS", 3)
    write_colmap(tmp_path / "model", [], poses[:0], K, (64, 96), points, colours)
    assert len(np.loadtxt(tmp_path / "model/points3D.txt")) == 3
