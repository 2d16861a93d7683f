"""tools/refine.py end to end on a run that learned nothing, and bad input."""

from __future__ import annotations

import json

import pytest
from untrained import run_tool, write_run

pytestmark = pytest.mark.slow


def refine(*arguments: object):
    return run_tool("refine.py", *arguments)


def test_a_street(tmp_path):
    write_run(tmp_path / "run", intrinsics="given")
    done = refine(
        f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out", "--dataset=street", "--street_frames=4",
        "--streets=1", "--refine=oft", "--iterations=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 of 4 frames refined" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "out/frames.jsonl").read_text().splitlines()]
    rows = [line for line in lines if line["oft"]]
    assert [len(row["oft"]["total"]) for row in rows] == [3, 3]
    assert min(rows[0]["oft"]["total"]) > 0 and "depth_abs_rel" in lines[1]["errors"]["oft"]


def test_bad_input(tmp_path):
    for arguments, expected in (
        (["--output_dir=x", "--weights="], "--run_dir= --weights=: expected one of the two"),
        ([f"--run_dir={tmp_path}", f"--output_dir={tmp_path}/x"], "not a run folder"),
    ):
        done = refine(*arguments)
        assert done.returncode == 2 and expected in done.stderr and not done.stdout
