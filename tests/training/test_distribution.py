"""Training by several processes and devices: equal to one, and a clear end when a worker is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.pipeline import Share, missing_positions, stream
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError
from glnet_tf.training.distribution import Distribution, worker_and_workers

DATA = DataConfig(dataset="street", streets=1, street_frames=7, image_height=32, image_width=64, batch_size=4)
# ImageNet's weights keep their batch statistics, which would be those of a replica's part of the batch. The epipolar
# loss divides by a translation that starts at nearly zero: it enlarges the last digit, in which the runs differ.
FLAGS = [
    "--dataset=street",
    "--streets=1",
    "--street_frames=7",
    "--image_height=32",
    "--image_width=64",
    "--batch_size=2",
    "--encoder=efficientnet_lite0",
    "--encoder_weights=imagenet",
    "--intrinsics=learned",
    "--epipolar=0",
    "--ramp_steps=2",
    "--steps=4",
    "--checkpoint_steps=2",
]


def start(run_dir, *flags, **environment):
    command = [sys.executable, str(Path(__file__).with_name("small_train.py")), *FLAGS, f"--run_dir={run_dir}", *flags]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def end(process):
    """Waits for a process; returns its exit status and what it said last."""
    _, stderr = process.communicate(timeout=280)
    return process.returncode, stderr


def start_two(run_dir, **second_environment):
    """Starts two workers on free ports of this machine."""
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{x.getsockname()[1]}" for x in (a, b)]
    for index, environment in enumerate(({}, second_environment)):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        yield start(run_dir, "--distribute=multi_worker", TF_CONFIG=json.dumps(config), **environment)


def state(run_dir):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run_dir / "latest")))
    shapes = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in shapes if not name.startswith(("_CHECKPOINT", "save_counter"))}


def assert_equal_runs(one, other):
    """Weights within 1 % of the four steps' largest change, Adam's moments within 1 % of their largest, terms 1e-4."""
    expected, found = state(one), state(other)
    assert set(expected) == set(found)
    for name, value in expected.items():
        largest = np.abs(value).max(initial=0) if "OPTIMIZER_SLOT" in name else 4 * 2e-4
        np.testing.assert_allclose(found[name], value, rtol=0, atol=0.01 * largest, err_msg=name)
    lines = [[json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    assert [line["step"] for line in lines[1]] == [1, 2, 3, 4]
    for a, b in zip(*lines):
        np.testing.assert_allclose(list(b.values()), list(a.values()), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("one")
    status, stderr = end(start(run_dir))
    assert status == 0, stderr
    return run_dir


def test_two_workers_equal_one_also_after_a_signal_and_a_kill(tmp_path, one):
    # SIGTERM to one: both stop after the same step, and it is saved.
    for process in list(start_two(tmp_path, SIGNAL_BEFORE=f"{int(signal.SIGTERM)} 1")):
        status, stderr = end(process)
        assert status == 0, stderr
    assert state(tmp_path)["step/.ATTRIBUTES/VARIABLE_VALUE"] == 1
    # SIGKILL in step 3: the other one says so.
    chief, worker = start_two(tmp_path, SIGNAL_BEFORE=f"{int(signal.SIGKILL)} 2")
    status, stderr = end(chief)
    assert end(worker)[0] == -signal.SIGKILL
    assert status == 2, stderr
    assert "resuming at step 1 of 4" in stderr
    assert stderr.splitlines()[-1].startswith("error: another worker has ended") and "same command" in stderr
    for process in list(start_two(tmp_path)):
        status, stderr = end(process)
        assert status == 0, stderr
    assert_equal_runs(one, tmp_path)


def test_two_devices_equal_one(tmp_path, one):
    status, stderr = end(start(tmp_path, "--distribute=mirrored", CPUS="2"))
    assert status == 0, stderr
    assert_equal_runs(one, tmp_path)
