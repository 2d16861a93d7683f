"""tools/benchmark.py and tools/results.py as their users call them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import street_trees as trees

pytestmark = pytest.mark.slow

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def call(tool, *arguments):
    return subprocess.run(
        [sys.executable, str(TOOLS / tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_pipelines_are_compared_in_one_run(tmp_path):
    trees.write_odometry_tree(tmp_path / "kitti", trees.street(frames=8))
    file = tmp_path / "rates.json"
    done = call(
        "benchmark.py", "--what=pipeline", "--dataset=kitti_odometry", f"--data_dir={tmp_path}/kitti",
        "--image_height=32", "--image_width=96", "--repeats=1", "--batches=2", f"--output={file}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert 0.1 < figures["peak_gigabytes"] < 24
    rates, ratios = figures["snippets_per_second"], figures["ratio_to_raw"]
    assert set(rates) == {"raw", "prepared", "records"} and min(rates.values()) > 0
    assert ratios["records"] == rates["records"] / rates["raw"] and ratios["raw"] == 1


def test_what_losses_and_step_cost_beside_the_networks(tmp_path):
    """Bounds far above what docs/performance.md measured, for sizes and machines differ: not a time, only a ratio."""
    file = tmp_path / "step.json"
    done = call(
        "benchmark.py", "--what=step", "--encoder=efficientnet_lite0", "--image_height=64", "--image_width=224",
        "--batch_size=2", "--repeats=3", f"--output={file}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert figures["ratios"]["losses_over_networks"] < 0.8
    assert 0.8 < figures["ratios"]["step_over_networks"] < 2.5
    assert figures["peak_gigabytes"] < 3


def test_no_memory_left_ends_with_advice(tmp_path):
    done = call("benchmark.py", "--what=inference", "--encoder=efficientnet_lite0", "--max_memory=0.7")
    assert done.returncode == 2 and "lower --batch_size" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_measured_is_joined(tmp_path):
    """From where it was interrupted: what both tools left is taken as it is."""
    folder = tmp_path / "out" / "a_street"
    folder.mkdir(parents=True)
    values = {"depth_abs_rel": 0.25, "flow_epe": 1.0}
    (folder / "table.json").write_text(json.dumps({"none": values, "pft_oft": {**values, "depth_abs_rel": 0.123456}}))
    folder.with_name("a_street.done").write_text(shlex.join(["refine", f"--output_dir={folder}"]))
    for stage, epe in (("none", 2.0), ("fusion", 1.5)):
        file = tmp_path / "out" / f"flow_{stage}.json"
        file.write_text(json.dumps({"metrics": {"epe": epe, "images": 3}}))
        command = ["evaluate", "--task=flow", f"--refine={stage}", f"--output={file}"]
        file.with_suffix(".done").write_text(shlex.join(command))
    given = [f"--data={tmp_path}", f"--output_dir={tmp_path}/out", f"--output={tmp_path}/joined.json"]
    done = call("results.py", "--test=a street: refine", "--test=flow: evaluate --task=flow", *given)
    assert done.returncode == 0, done.stderr
    assert "| a street | depth_abs_rel | flow_epe |" in done.stdout and "| PFT, then OFT | 0.1235 | 1 |" in done.stdout
    assert json.loads((tmp_path / "joined.json").read_text()) == {
        "a street": {"as predicted": values, "PFT, then OFT": {**values, "depth_abs_rel": 0.1235}},
        "flow": {"as predicted": {"epe": 2.0, "images": 3}, "fusion": {"epe": 1.5, "images": 3}},
    }
    done = call("results.py", "--test=a street: refine --iterations=3", *given)
    assert done.returncode == 2 and "a_street.done: was left by another command" in done.stderr
    done = call("results.py", "--test=b: refine --weights=kitti-lite --data_dir={data}/nowhere", *given)
    assert done.returncode == 2 and "nowhere: is not a folder" in done.stderr
