"""tools/make_weights.py trains in stages and goes on where it was; the stages of the weights that ship are right."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_street
from absl import flags

from glnet_tf.cli import flagging
from glnet_tf.config import DataConfig, LossConfig, ModelConfig, TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
TRAIN = shlex.join([*tiny_street.FLAGS, "--encoder_weights=none", "--checkpoint_steps=1"])


def command(folder: Path, *given: str) -> list[str]:
    return [sys.executable, str(ROOT / "tools" / "make_weights.py"), f"--output_dir={folder}", *given]


@pytest.mark.parametrize("name", ["street_lite", "kitti_lite"])
def test_the_stages_of_weights_that_ship_are_flags_of_train(name):
    values = flags.FlagValues()
    flags.DEFINE_multi_string("stage", [], "", flag_values=values)
    for known in ("licence", "flagfile"):
        flags.DEFINE_string(known, "", "", flag_values=values)
    values(["tool", f"--flagfile={ROOT / 'configs' / name}.flags"])
    assert len(values.stage) >= 2
    for number, stage in enumerate(values.stage):
        of_train = flags.FlagValues()
        flagging.define(DataConfig, ModelConfig, LossConfig, TrainingConfig, values=of_train)
        assert of_train(["train", *shlex.split(stage.partition(": ")[2])]) == ["train"]
        # Nothing but the stage before, or at first ImageNet's encoders.
        assert of_train.weights == ("{before}" if number else ""), stage


@pytest.mark.slow
def test_stages_start_from_the_one_before_and_are_made_once(tmp_path):
    stages = [
        f"--stage=first: {TRAIN} --weights= --steps=1 --virtual_steps=1",
        f"--stage=the second: {TRAIN} --weights={{before}} --steps=2 --virtual_steps=2",
    ]
    done = subprocess.run(command(tmp_path / "out", *stages, "--licence=mine"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "first (1 of 2)" in done.stderr and "the second (2 of 2)" in done.stderr and "SHA-256" in done.stdout
    with np.load(tmp_path / "out" / "weights.npz") as made:
        assert bytes(made["licence"]) == b"mine"
    assert f'"weights": "{tmp_path}/out/first"' in (tmp_path / "out" / "the_second" / "training.json").read_text()
    curves = json.loads((tmp_path / "out" / "curves.json").read_text())
    assert list(curves) == ["first", "the_second"] and curves["the_second"]["training 1"]["virtual_flow_epe"][0] > 0
    again = subprocess.run(command(tmp_path / "out", *stages), capture_output=True, text=True)
    assert again.returncode == 0 and "(2 of 2)" in again.stderr and "step" not in again.stderr


@pytest.mark.slow
def test_a_stage_that_fails_or_is_stopped_ends_it(tmp_path):
    done = subprocess.run(
        command(tmp_path, "--stage=a: --data_dir={data}/none", "--data=x"), capture_output=True, text=True
    )
    assert done.returncode == 2 and "x/none: is not a folder" in done.stderr
    stage = f"--stage=a: {TRAIN} --weights= --steps=100000 --virtual_steps=100000"
    with subprocess.Popen(command(tmp_path, stage), stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(tmp_path.glob("a/latest/*.index")):
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        words = process.communicate(timeout=60)[1]
    assert process.returncode == 143 and "and saved; the same command goes on" in words
    assert not (tmp_path / "a" / "finished").exists()
