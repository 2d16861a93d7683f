"""DepthNet on targets: it learns, nothing else does, and an interruption changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tf_keras as keras

from glnet_tf.config import DataConfig, ModelConfig, StreetConfig, TrainingConfig
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError
from glnet_tf.training import depth_trainer
from glnet_tf.training.checkpoints import Architecture
from glnet_tf.training.depth_trainer import DepthTrainer
from glnet_tf.training.targets import Targets
from glnet_tf.training.weights import load_model, write_weights

HEIGHT, WIDTH = 32, 96
DATA = DataConfig(
    dataset="street",
    street=StreetConfig(streets=1, street_frames=8),
    image_height=HEIGHT,
    image_width=WIDTH,
    batch_size=2,
)
MODEL = ModelConfig(
    encoder="efficientnet_lite0", encoder_weights="none", flow_net="matching", camera_net="solved", intrinsics="auto"
)


@pytest.fixture
def taught(monkeypatch, tmp_path):
    """A teacher's weights, and targets of eight frames: nearer towards the lower edge."""
    rng = np.random.default_rng(0)
    rows = np.linspace(-2.0, 0.0, 64, dtype=np.float16)[:, np.newaxis]
    group = Targets(
        rng.integers(0, 255, (8, 64, 160, 3), np.uint8),
        np.broadcast_to(rows, (8, 64, 160)),
        np.full((8, 64, 160), 255, np.uint8),
        np.zeros(8, np.float32),
        (HEIGHT, WIDTH),
        np.arange(8),
    )
    monkeypatch.setattr(depth_trainer, "make_targets", lambda *_: [group])
    keras.utils.set_random_seed(0)
    networks = dataclasses.replace(MODEL, intrinsics="given")
    architecture = Architecture(networks, HEIGHT, WIDTH, ("street",), (WIDTH / HEIGHT,))
    model = architecture.build(weights=False)
    model.build_variables()
    write_weights(model, architecture, tmp_path / "teacher.npz")
    return str(tmp_path / "teacher.npz")


def trainer(folder, teacher: str, steps: int, model: ModelConfig = MODEL) -> DepthTrainer:
    training = TrainingConfig(
        weights=teacher, steps=steps, learning_rate=1e-3, ramp_steps=1, decay_start=1.0, checkpoint_steps=3
    )
    source = open_source(DATA, "all")
    return DepthTrainer(folder, source, source, DATA, model, 0.02, training, 1.5)


@pytest.mark.slow
def test_depth_learns_alone_and_a_resumed_run_is_the_same(taught, tmp_path):
    whole = trainer(tmp_path / "whole", taught, 6)
    flow = [variable.numpy() for variable in whole.model.flow_net.variables]
    assert whole.model.source_of_intrinsics == "given"
    before = whole.validate()
    assert whole.run() == 6 and whole.validate() < before
    for variable, value in zip(whole.model.flow_net.variables, flow):
        np.testing.assert_array_equal(variable, value)
    assert trainer(tmp_path / "parts", taught, 3).run() == 3
    resumed = trainer(tmp_path / "parts", taught, 6)
    assert resumed.run() == 6
    assert not (tmp_path / "parts" / "best").exists()
    loaded, _ = load_model(tmp_path / "parts")
    for one, *others in zip(*(model.depth_net.variables for model in (whole.model, resumed.model, loaded))):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_without_a_teacher_it_does_not_start(tmp_path):
    source = open_source(DATA, "all")
    for training, data in (
        (TrainingConfig(weights=""), DATA),
        (TrainingConfig(weights="x"), dataclasses.replace(DATA, cache_dir="")),
    ):
        with pytest.raises(ConfigError, match="--teacher=evidence"):
            DepthTrainer(tmp_path / "run", source, None, data, MODEL, 0.02, training, 1.5)


def test_a_new_backbone_learns_from_the_old_one_and_keeps_its_flow(taught, tmp_path, monkeypatch, capsys):
    teachers = []
    targets = depth_trainer.make_targets
    monkeypatch.setattr(depth_trainer, "make_targets", lambda model, *_: (teachers.append(model), targets())[1])
    student = trainer(tmp_path / "run", taught, 1, dataclasses.replace(MODEL, depth_encoder="resnet18"))
    assert "its DepthNet is on efficientnet_lite0: the one on resnet18 starts without it" in capsys.readouterr().err
    old, _ = load_model(taught)
    for variable, kept in zip(old.depth_net.variables, teachers[0].depth_net.variables):
        np.testing.assert_array_equal(variable, kept)
    assert student.run() == 1
    loaded, architecture = load_model(tmp_path / "run")
    assert architecture.model.encoder_of_depth == "resnet18" and architecture.model.encoder == "efficientnet_lite0"
    for variable, kept in zip(old.flow_net.variables, loaded.flow_net.variables):
        np.testing.assert_array_equal(variable, kept)
    assert loaded.depth_net.encoder.name == "resnet18"
