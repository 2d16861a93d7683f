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
import tiny_street

from glnet_tf.config import DataConfig, StreetConfig, TrainingConfig
from glnet_tf.data.pipeline import Share, stream
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError
from glnet_tf.training.distribution import Distribution

pytestmark = pytest.mark.slow

DATA = DataConfig(
    dataset="street", street=StreetConfig(streets=1, street_frames=7), image_height=32, image_width=64, batch_size=4
)
# ImageNet's weights keep their batch statistics, which would be those of a replica's part of the batch. The epipolar
# loss divides by a translation that starts at nearly zero: it enlarges the last digit, in which the runs differ.
FLAGS = [
    *tiny_street.FLAGS,
    "--encoder_weights=imagenet",
    "--epipolar=0",
    "--steps=4",
    "--checkpoint_steps=2",
]


SMALL_TRAIN = Path(__file__).resolve().parents[1] / "helpers" / "small_train.py"


def start(run_dir, *flags, **environment):
    command = [sys.executable, str(SMALL_TRAIN), *FLAGS, f"--run_dir={run_dir}", *flags]
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


def state(run_dir, step):
    reader = tf.train.load_checkpoint(str(run_dir / "latest" / f"ckpt-{step}"))
    shapes = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in shapes if not name.startswith(("_CHECKPOINT", "save_counter"))}


def assert_equal_runs(one, other, steps):
    """Weights within 1 % of what so many steps can change, Adam's moments within 1 % of the largest, terms 1e-4."""
    expected, found = state(one, steps), state(other, steps)
    assert set(expected) == set(found)
    for name, value in expected.items():
        scale = np.abs(value).max(initial=0) if "OPTIMIZER_SLOT" in name else steps * TrainingConfig().learning_rate
        np.testing.assert_allclose(found[name], value, rtol=0, atol=0.01 * scale, err_msg=name)
    lines = [[json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    assert [line["step"] for line in lines[1]] == list(range(1, steps + 1))
    for a, b in zip(*lines):
        np.testing.assert_allclose(list(b.values()), list(a.values()), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("one")
    status, stderr = end(start(run_dir, "--checkpoint_steps=1"))
    assert status == 0, stderr
    return run_dir


def test_two_workers_equal_one_also_after_a_kill_and_a_signal(tmp_path, one):
    chief, killed = start_two(tmp_path, SIGNAL_BEFORE=f"{int(signal.SIGKILL)} 3")
    status, stderr = end(chief)
    assert end(killed)[0] == -signal.SIGKILL
    assert status == 2, stderr
    assert stderr.splitlines()[-1].startswith("error: another worker has ended") and "same command" in stderr
    # The signal goes to one worker in step 3: both stop after it.
    chief, signalled = start_two(tmp_path, SIGNAL_BEFORE=f"{int(signal.SIGTERM)} 1")
    status, stderr = end(chief)
    assert status == 143, stderr
    assert "resuming at step 2 of 4" in stderr and "stopped at step 3 and saved" in stderr
    status, stderr = end(signalled)
    assert status == 143 and "saved" not in stderr, stderr
    assert_equal_runs(one, tmp_path, steps=3)


def test_two_devices_equal_one(tmp_path, one):
    status, stderr = end(start(tmp_path, "--distribute=mirrored", CPUS="2"))
    assert status == 0, stderr
    assert_equal_runs(one, tmp_path, steps=4)


def positions(batches, count):
    return [tuple(positions.numpy()) for _, positions in batches.take(count)]


def test_workers_share_every_batch():
    source = open_source(DATA, "train")
    shares = [stream(source, DATA, seed=3, start=2, share=Share(worker, 2)) for worker in range(2)]
    assert [positions(share, 2) for share in shares] == [[(2, 3), (6, 7)], [(4, 5), (8, 9)]]
    whole = next(iter(stream(source, DATA, seed=3, start=2)))[0]
    parts = [next(iter(share))[0] for share in shares]
    for expected, *found in zip(whole, *parts):
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_a_damaged_snippet_is_replaced_from_the_same_share():
    source = open_source(DATA, "train")
    intact, damaged = source.load, int(source.index_at(3, 0))

    def load(index):
        with tf.control_dependencies([tf.debugging.assert_none_equal(index, tf.constant(damaged, tf.int64))]):
            return tf.nest.map_structure(tf.identity, intact(index))

    source.load = load
    intact_positions = [position for position in range(20) if source.index_at(position, 0) != damaged]
    for worker in range(2):
        share = Share(worker, 2)
        mine = [position for position in intact_positions if share.holds(position, DATA.batch_size)]
        assert sum(positions(stream(source, DATA, 0, share=share), 3), ()) == tuple(mine[:6])


@pytest.mark.parametrize(
    "value",
    [
        None,
        "host:1",
        "[]",
        '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_cluster_that_is_not_described_is_refused(monkeypatch, value):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(ConfigError, match="TF_CONFIG is .*expected {"):
        Distribution("multi_worker")


def test_a_batch_that_the_devices_cannot_share_is_refused():
    distribution = Distribution()
    assert distribution.share(3) == Share(0, 1)
    distribution._replicas = 4
    with pytest.raises(ConfigError, match="--batch_size=6: expected a multiple of 4.*--batch_size=8"):
        distribution.share(6)
