"""A wrong command line ends in the first second, with one line: before TensorFlow is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest
from untrained import TOOLS

pytestmark = pytest.mark.slow
DATA = ["--dataset=folder", "--data_dir=/nowhere"]


@pytest.mark.parametrize(
    "tool, given, expected",
    [
        ("predict", ["--input=/nowhere.mp4", "--output_dir=x"], "/nowhere.mp4: no such file"),
        ("predict", ["--input=https://a.b/c.webm", "--output_dir=x"], "is an address: expected a file; download it"),
        ("predict", ["--input=.", "--output_dir=/proc"], "--output_dir=/proc: holds something else"),
        ("predict", ["--inputs=a"], "Unknown command line flag 'inputs'"),
        ("train", [*DATA, "--run_dir=x"], "/nowhere: is not a folder, nor a file"),
        ("refine", [*DATA, "--weights=kitti-lite", "--output_dir=x"], "/nowhere: is not a folder, nor a file"),
        ("evaluate", [*DATA, "--weights=kitti-lite"], "/nowhere: is not a folder, nor a file"),
        ("prepare", [*DATA, "--output_dir=x"], "/nowhere: is not a folder, nor a file"),
    ],
)
def test_the_first_words(tmp_path, tool, given, expected):
    command = [sys.executable, "-X", "importtime", str(TOOLS / f"{tool}.py"), *given]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    words = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2 and len(words) == 1 and words[0].startswith("error: ") and expected in words[0]
    assert not any(line.split("|")[-1].strip() == "tensorflow" for line in done.stderr.splitlines())
    assert not list(tmp_path.iterdir())
