"""Graphs stay small: what is known is a number in them, loops are loops, and nothing in them asks the host."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import LossConfig, ModelConfig, RefinementConfig, TrainingConfig
from glnet_tf.experiments.benchmark import graph_operations
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.losses.objective import loss_weights
from glnet_tf.models.glnet import GLNet, make_predict
from glnet_tf.models.levels import finest
from glnet_tf.optimization import make_optimizers
from glnet_tf.refinement.refiner import Refiner, target
from glnet_tf.structures import Snippet, merge, snippet_signature
from glnet_tf.training.depth_trainer import make_depth_step
from glnet_tf.training.step import make_train_step, training_optimizers

SIZE = HEIGHT, WIDTH = 64, 96
# Operations that ask the host, or let Python or NumPy do the work.
ON_THE_HOST = {"PyFunc", "EagerPyFunc", "NumpyFunction", "MatrixSolve", "MatrixInverse", "Where", "Unique", "PrintV2"}
# Measured on TensorFlow 2.15, plus a tenth: all operations, and constants.
BOUNDS = {
    "train": (8500, 830),
    "depth": (3000, 160),
    "predict": (3600, 420),
    "observe": (5010, 600),
    "oft": (5300, 530),
    "pft": (5900, 510),
}


@pytest.fixture(autouse=True)
def optimised():
    """Graphs are optimised, as they are outside of tests."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module")
def model() -> GLNet:
    keras.utils.set_random_seed(0)
    made = GLNet(dataclasses.replace(ModelConfig(), encoder_weights="none", intrinsics="given"), 1, *SIZE)
    made.depth_net.learns_statistics = made.flow_net.learns_statistics = False
    made.build_variables()
    return made


@pytest.fixture(scope="module")
def snippet() -> Snippet:
    blobs = np.random.default_rng(0).uniform(size=(1, HEIGHT // 4, WIDTH // 4, 3)).astype(np.float32)
    picture = tf.image.resize(blobs, SIZE, "bicubic")
    images = tf.clip_by_value(tf.stack([tf.roll(picture, 2 * i, axis=2) for i in range(3)], axis=1), 0, 1)
    intrinsics = tf.constant([[[70.0, 0, 47.5], [0, 70.0, 31.5], [0, 0, 1]]])
    return Snippet(images, intrinsics, tf.constant([0]), tf.constant([0], tf.int64), tf.constant([False]))


def train_step(model: GLNet, xla: bool = False):
    training = TrainingConfig(flow_rate=0.0, camera_rate=0.0, xla=xla)
    weights = loss_weights(LossConfig(), two_branch=1.0, made=lambda x: tf.Variable(x, trainable=False))
    optimizers = training_optimizers(model, training)
    return make_train_step(model, optimizers, weights, LossConfig(), training, snippet_signature(*SIZE, count=1))


def depth_step(model: GLNet, snippet: Snippet):
    step = make_depth_step(model, make_optimizers([1e-4], [model.depth_net.trainable_variables]), 0.02)
    maps = tf.ones([3, *SIZE, 1])
    return lambda: step(merge(snippet.images), Evidence(-maps, maps))


def refinement(model: GLNet, snippet: Snippet, mode: str):
    refiner = Refiner(model, config=RefinementConfig(refine=mode), size=SIZE, count=1)
    seen = refiner.observe(snippet)
    held = seen.snippet, finest(seen.predictions), target(seen.fused, seen.confidence)
    return lambda: refiner._oft(*held, tf.constant(2)) if mode == "oft" else refiner._pft._step(*held)


def run_of(name: str, model: GLNet, snippet: Snippet):
    if name == "train":
        step = train_step(model)
        return lambda: step(snippet)
    if name == "depth":
        return depth_step(model, snippet)
    if name in ("oft", "pft"):
        return refinement(model, snippet, name)
    if name == "observe":
        observe = Refiner(model, config=RefinementConfig(refine="none"), size=SIZE, count=1).observe
        return lambda: observe(snippet)
    predict = make_predict(model, snippet_signature(*SIZE, count=1))
    return lambda: predict(snippet)


@pytest.mark.parametrize("name", BOUNDS)
def test_operations_constants_and_what_runs_on_the_host_stay_few(name, model, snippet):
    found = graph_operations(run_of(name, model, snippet))
    total, constants = BOUNDS[name]
    assert 0.7 * total < sum(found.values()) < total, found.most_common(8)
    assert found["Const"] < constants
    assert not ON_THE_HOST & set(found)


def test_xla_makes_pieces_of_a_step_that_say_the_same(model, snippet):
    def first_step(xla: bool):
        before = [variable.numpy() for variable in model.variables]
        step, found = train_step(model, xla), []
        operations = graph_operations(lambda: found.append(step(snippet)))
        for variable, value in zip(model.variables, before):
            variable.assign(value)
        return found[0], operations

    (plain, _), (compiled, operations) = first_step(False), first_step(True)
    assert sum(count for kind, count in operations.items() if "PartitionedCall" in kind or "_XlaRun" in kind) >= 4
    np.testing.assert_allclose(compiled.total, plain.total, rtol=1e-4)
    # Where rigid and flow branch are about equally good, rounding decides which of them wins.
    np.testing.assert_allclose(compiled.gradient_norm, plain.gradient_norm, rtol=1e-2)
