"""Bad input to tools/train.py: one clear line, exit code 2, nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.slow

TOOL = Path(__file__).resolve().parents[2] / "tools" / "train.py"


def write_frames(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), np.full((32, 64, 3), 20 * number, np.uint8))


def refused(run_dir, *arguments):
    """Runs the tool, checks how it failed, and returns its line."""
    done = subprocess.run(
        [sys.executable, str(TOOL), f"--run_dir={run_dir}", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 2, done.stderr
    assert not done.stdout and not run_dir.exists()
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("--batchsize=4", "batchsize"),
        ("--batch_size=four", "batch_size"),
        ("--batch_size=0", "--batch_size=0: expected at least 1"),
        ("--image_width=100", "--image_width=100: expected a multiple of 32"),
        ("--encoder=vgg", "--encoder=vgg: expected one of resnet18, resnet50, efficientnet_lite0"),
        ("videos", "videos: not a flag"),
    ],
)
def test_flags(tmp_path, argument, expected):
    assert expected in refused(tmp_path / "run", argument)


def test_evidence_is_learned_by_one_device(tmp_path):
    write_frames(tmp_path / "videos" / "drive", 4)
    (tmp_path / "videos" / "drive" / "cam.txt").write_text("50 0 32\n0 50 16\n0 0 1\n")
    line = refused(tmp_path / "run", f"--data_dir={tmp_path / 'videos'}", "--distribute=mirrored")
    assert "--distribute=mirrored --mixed_precision=False: expected off and False" in line


def test_missing_folder(tmp_path):
    assert str(tmp_path / "none") in refused(tmp_path / "run", f"--data_dir={tmp_path / 'none'}")


def test_fewer_than_three_frames(tmp_path):
    write_frames(tmp_path / "videos" / "short", 2)
    line = refused(tmp_path / "run", f"--data_dir={tmp_path / 'videos'}")
    assert "short" in line and "2 readable frames" in line and "3 consecutive" in line


def test_zero_focal_length(tmp_path):
    write_frames(tmp_path / "videos" / "drive", 4)
    (tmp_path / "videos" / "drive" / "cam.txt").write_text("0 0 32\n0 50 16\n0 0 1\n")
    line = refused(tmp_path / "run", f"--data_dir={tmp_path / 'videos'}")
    assert "cam.txt" in line and "focal" in line
