"""tools/evaluate.py as its users call it: tables that say how they were made, and one line for what is wrong."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import street_trees as trees

from glnet_tf.data.files.trajectories import write_kitti_trajectory

pytestmark = pytest.mark.slow

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate.py"


def evaluate(*arguments):
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_odometry_of_a_trajectory_file(tmp_path):
    video = trees.street(frames=8)
    trees.write_odometry_tree(tmp_path / "kitti", video)
    (tmp_path / "theirs").mkdir()
    write_kitti_trajectory(tmp_path / "theirs" / "09.txt", np.stack([video.camera_to_world(i) for i in range(8)]))
    done = evaluate(
        "--task=odometry",
        "--dataset=kitti_odometry",
        f"--data_dir={tmp_path}/kitti",
        f"--predictions={tmp_path}/theirs",
        f"--output={tmp_path}/table.json",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "table.json").read_text())
    assert report["metrics"]["ate"] < 1e-6 < report["metrics"]["ate_straight"]
    assert report["protocol"]["frames"] == 8 and "SfMLearner" in report["protocol"]["ate"]
    header, row = csv.reader((tmp_path / "table.csv").read_text().splitlines())
    assert float(row[header.index("ate_straight")]) == report["metrics"]["ate_straight"]
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    for name in (*report["protocol"], *report["metrics"]):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--run_dir= --weights=: expected one of the two"),
        (["--run_dir=a", "--predictions=b"], "--predictions=b: expected no --run_dir"),
        (["--predictions=b", "--task=depths"], "--task=depths: expected one of depth, flow, odometry, intrinsics"),
        (["--predictions={root}/none", "--dataset=rgbd", "--data_dir={root}"], "none: no such file or folder; correct"),
        (["--run_dir={root}/none", "--dataset=rgbd", "--data_dir={root}"], "none: not a run folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    trees.write_rgbd_tree(tmp_path, trees.street())
    done = evaluate(*(argument.format(root=tmp_path) for argument in arguments), f"--output={tmp_path}/table.json")
    assert done.returncode == 2 and not done.stdout
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "table.json").exists()
