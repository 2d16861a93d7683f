"""The training run: exact resume, clean ends, refusal of what does not fit."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_street
from paper import PAPER_LOSS, PAPER_MODEL, PAPER_TRAINING

from glnet_tf.config import DataConfig, StreetConfig, TrainingConfig
from glnet_tf.data.sources import open_source
from glnet_tf.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError
from glnet_tf.folders import locked
from glnet_tf.training.interruption import interruption
from glnet_tf.training.schedule import FINAL_RATE, LearningRate, two_branch_weight
from glnet_tf.training.trainer import Trainer
from glnet_tf.training.weights import load_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DATA = DataConfig(
    dataset="street", street=StreetConfig(streets=1, street_frames=7), image_height=32, image_width=64, batch_size=2
)
MODEL = dataclasses.replace(PAPER_MODEL, encoder="efficientnet_lite0", encoder_weights="none", intrinsics="learned")
TRAINING = dataclasses.replace(
    PAPER_TRAINING, steps=6, checkpoint_steps=2, summary_steps=3, validation_snippets=2, ramp_steps=2
)
# Of a process that trains at this size: TensorFlow with its libraries and graphs, mostly.
MOST_GIGABYTES = 3
FLAGS = [*tiny_street.FLAGS, "--encoder_weights=none", "--summary_steps=3"]


@pytest.fixture(scope="module")
def street():
    return open_source(DATA, "train")


def make(run_dir, street, training=TRAINING, model=MODEL, validation=None):
    return Trainer(run_dir, street, validation, DATA, model, PAPER_LOSS, training)


def weights(run_dir):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(Path(run_dir) / "latest")))
    names = [
        name for name in reader.get_variable_to_shape_map() if not name.startswith(("_CHECKPOINT", "save_counter"))
    ]
    return {name: reader.get_tensor(name) for name in names}


# tools/train.py with graphs as in conftest.py: its runs are compared with those of this process, bit for bit.
PROCESS = """
import atexit, runpy, sys, tensorflow as tf
from glnet_tf.training.devices import peak_gigabytes
atexit.register(lambda: print("peak", peak_gigabytes(), "GB", file=sys.stderr))
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
sys.path.insert(0, sys.argv.pop(1))
runpy.run_path(sys.path[0] + "/train.py", run_name="__main__")
"""


def train_process(run_dir, *flags):
    command = [sys.executable, "-c", PROCESS, str(ROOT / "tools"), *FLAGS, f"--run_dir={run_dir}", *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


def wait_for(path, seconds=120):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, street):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    run = make(run_dir, street, validation=street)
    assert run.run() == 6
    assert run._train_step.experimental_get_tracing_count() == 1
    # Nothing in a step waits for Python.
    graph = run._train_step.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert len(nodes) > 1000 and not [node.name for node in nodes if "PyFunc" in node.op or "Numpy" in node.op]
    return run_dir


def test_a_run_leaves_everything_that_it_promises(uninterrupted):
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "total" in line] == [1, 2, 3, 4, 5, 6]
    assert {"depth_abs_rel", "flow_epe", "rotation_deg"} <= set(lines[-1]["validation"])
    assert list((uninterrupted / "tensorboard" / "train").iterdir())
    model, architecture = load_model(uninterrupted, "latest")
    assert architecture.cameras == ("street",)
    np.testing.assert_array_equal(
        model.camera_parameters.numpy(), weights(uninterrupted)["model/camera_parameters/.ATTRIBUTES/VARIABLE_VALUE"]
    )


def test_a_killed_run_resumes_bit_for_bit(tmp_path, uninterrupted):
    process = train_process(tmp_path, "--steps=6", "--checkpoint_steps=2")
    wait_for(tmp_path / "latest" / "checkpoint")  # the last file that a checkpoint writes
    process.kill()
    process.wait()
    process = train_process(tmp_path, "--steps=6", "--checkpoint_steps=2")
    _, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    assert "resuming at step" in stderr
    (peak,) = re.findall(r"^peak (.+) GB$", stderr, re.MULTILINE)
    assert float(peak) < MOST_GIGABYTES
    expected, found = weights(uninterrupted), weights(tmp_path)
    for name, value in found.items():
        if "/best/" not in name and not name.startswith("best"):
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_sigterm_saves_and_ends_cleanly(tmp_path):
    process = train_process(tmp_path, "--steps=100000", "--checkpoint_steps=1000")
    wait_for(tmp_path / "metrics.jsonl")  # it is made once signals are heeded
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=180)
    assert process.returncode == 143, stderr
    assert "the same command goes on" in stderr
    assert tf.train.latest_checkpoint(str(tmp_path / "latest")) is not None


def test_a_run_folder_belongs_to_one_process(tmp_path, street):
    trainer = make(tmp_path / "run", street)
    with locked(tmp_path / "run"), pytest.raises(DataError, match="another process is writing there"):
        trainer.run()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_another_architecture_is_refused_and_nothing_is_touched(uninterrupted, street):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    with pytest.raises(ConfigError, match="made with intrinsics=learned, not given.*--run_dir"):
        make(uninterrupted, street, model=dataclasses.replace(MODEL, intrinsics="given"))
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")} == before


def test_a_zoom_is_refused_where_k_is_learned(tmp_path, street):
    zoomed = dataclasses.replace(DATA, zoom=0.3)
    with pytest.raises(ConfigError, match="--zoom=0.3: expected 0 with --intrinsics=learned"):
        Trainer(tmp_path / "run", street, None, zoomed, MODEL, PAPER_LOSS, TRAINING)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_names_term_and_files(tmp_path, street, monkeypatch):
    run = make(tmp_path, street)
    healthy = run._train_step

    def poisoned(snippet):
        result = healthy(snippet)
        if int(run.step) < 2:
            return result
        nan = tf.constant(float("nan"))
        return result._replace(total=nan, report=result.report._replace(structure=nan))

    run._train_step = poisoned
    with pytest.raises(NonFiniteLossError, match=r"step 3: structure is not finite.*street 0 frame \d"):
        run.run()
    assert tf.train.latest_checkpoint(str(tmp_path / "latest")).endswith("ckpt-2")


def test_a_run_starts_from_weights(tmp_path, uninterrupted, street):
    model = dataclasses.replace(MODEL, encoder_weights="imagenet")
    run = make(tmp_path, street, dataclasses.replace(TRAINING, weights=str(uninterrupted)), model)
    found, _ = load_model(uninterrupted)
    for ours, theirs in zip(run.model.depth_net.variables, found.depth_net.variables):
        np.testing.assert_array_equal(ours, theirs)
    assert not run.model.depth_net.learns_statistics  # as with any imported encoder


def test_first_flow_net_learns_alone_and_an_interruption_changes_nothing(tmp_path, street):
    training = dataclasses.replace(TRAINING, steps=4, virtual_steps=3, checkpoint_steps=1)
    stopped, straight = tmp_path / "stopped", tmp_path / "straight"
    run = make(stopped, street, training, validation=street)
    networks = run.model.flow_net, run.model.depth_net, run.model.camera_net
    before = [[variable.numpy() for variable in network.trainable_variables] for network in networks]
    step = run._train_step
    run._train_step = None
    with pytest.raises(TypeError):  # the step after the virtual ones
        run.run()
    run._train_step = step
    changed = [
        [np.any(old != new) for old, new in zip(values, network.trainable_variables)]
        for values, network in zip(before, networks)
    ]
    assert np.mean(changed[0]) > 0.5 and not any(changed[1] + changed[2])
    assert run.run() == 4
    lines = [json.loads(line) for line in (stopped / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "virtual_flow_epe" in line] == [1, 2, 3]
    assert [line["step"] for line in lines if "total" in line] == [4]
    assert make(straight, street, training, validation=street).run() == 4
    expected, found = weights(straight), weights(stopped)
    for name in found:
        if "best" not in name:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_run_folder_without_checkpoint_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_model(tmp_path)


def test_schedules():
    config = TrainingConfig(steps=100, ramp_steps=10, decay_start=0.5, warmup_steps=20, two_branch_floor=0.2)
    rate = LearningRate(1e-3, config)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 9, 50)], [1e-4, 1e-3, 1e-3], rtol=1e-6)
    np.testing.assert_allclose(float(rate(75)), 1e-3 * (1 + FINAL_RATE) / 2, rtol=1e-5)
    np.testing.assert_allclose(float(rate(100)), 1e-3 * FINAL_RATE, rtol=1e-4)
    np.testing.assert_allclose(
        [float(two_branch_weight(step, config)) for step in (0, 10, 20, 90)], [1, 0.6, 0.2, 0.2], rtol=1e-6
    )


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with interruption() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted() == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
