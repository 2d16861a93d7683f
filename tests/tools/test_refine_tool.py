"""tools/refine.py end to end on a run that learned nothing, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import tensorflow as tf

from glnet_tf.config import ModelConfig
from glnet_tf.training.checkpoints import Architecture, claim

TOOL = Path(__file__).resolve().parents[2] / "tools" / "refine.py"
HEIGHT, WIDTH = 32, 96


def refine(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_a_street(tmp_path):
    config = ModelConfig(
        encoder="efficientnet_lite0", encoder_weights="none", flow_net="matching", camera_net="solved",
        intrinsics="given",
    )  # fmt: skip
    architecture = Architecture(config, HEIGHT, WIDTH, ("street",), (WIDTH / HEIGHT,))
    claim(tmp_path / "run", architecture)
    model = architecture.build()
    model.build_variables()
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(tmp_path / "run" / "latest"), 1).save()
    done = refine(
        f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out", "--dataset=street", "--street_frames=4",
        "--streets=1", "--refine=oft", "--iterations=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 snippets refined" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "out/snippets.jsonl").read_text().splitlines()]
    assert [len(row["oft"]["total"]) for row in rows] == [3, 3]
    assert min(rows[0]["oft"]["total"]) > 0 and "depth_abs_rel" in rows[0]["errors"]["oft"]


def test_bad_input(tmp_path):
    for arguments, expected in (
        (["--output_dir=x"], "--run_dir=: expected a folder"),
        ([f"--run_dir={tmp_path}", f"--output_dir={tmp_path}/x"], "not a run folder"),
    ):
        done = refine(*arguments)
        assert done.returncode == 2 and expected in done.stderr and not done.stdout
