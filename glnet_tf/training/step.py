"""One step of training, compiled once for batches of any size."""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf

from glnet_tf.config import LossConfig, TrainingConfig
from glnet_tf.losses.objective import LossWeights, objective
from glnet_tf.models.glnet import GLNet
from glnet_tf.structures import FRAMES, LossReport, Snippet
from glnet_tf.training.monitor import Vitals, vitals
from glnet_tf.training.schedule import LearningRate, both_share


class StepResult(NamedTuple):
    """What a training step says: the objective, its unweighted terms, the gradient's length, signs of a collapse."""

    total: tf.Tensor
    report: LossReport
    gradient_norm: tf.Tensor
    vitals: Vitals


class Optimizers(NamedTuple):
    """Adam for the networks, and Adam with a rate of its own for the K of every camera."""

    networks: tf.keras.optimizers.legacy.Optimizer
    cameras: tf.keras.optimizers.legacy.Optimizer


def make_optimizers(config: TrainingConfig) -> Optimizers:
    """Returns the optimizers of the networks and of learned intrinsics."""
    # The legacy class runs Adam as one fused kernel per variable; its successor traces for minutes on this many.
    adam = tf.keras.optimizers.legacy.Adam
    return Optimizers(
        networks=adam(LearningRate(config.learning_rate, config)),
        cameras=adam(LearningRate(config.learning_rate * config.intrinsics_rate, config)),
    )


def loss_weights(config: LossConfig) -> LossWeights:
    """Returns the weights of the terms as variables, so that a change of weight never traces the step again."""
    terms = {name: tf.Variable(getattr(config, name), trainable=False) for name in LossReport._fields}
    return LossWeights(**terms, both=tf.Variable(1.0, trainable=False))


def snippet_signature(height: int, width: int) -> Snippet:
    """Returns the shapes of a batch of any size."""
    return Snippet(
        images=tf.TensorSpec([None, FRAMES, height, width, 3], tf.float32),
        intrinsics=tf.TensorSpec([None, 3, 3], tf.float32),
        camera=tf.TensorSpec([None], tf.int32),
        index=tf.TensorSpec([None], tf.int64),
        mirrored=tf.TensorSpec([None], tf.bool),
    )


def make_train_step(
    model: GLNet,
    optimizers: Optimizers,
    weights: LossWeights,
    loss: LossConfig,
    training: TrainingConfig,
    signature: Snippet,
) -> Callable[[Snippet], StepResult]:
    """Returns the compiled training step: forward, objective, gradient, update.

    Whoever calls it must stop when the objective or the gradient's length is not finite: the update has been made.
    """
    cameras = [] if model.camera_parameters is None else [model.camera_parameters]
    networks = [v for v in model.trainable_variables if all(v is not camera for camera in cameras)]
    # Were Adam's moments made in the step, TensorFlow would trace the step twice.
    optimizers.networks._create_all_weights(networks)
    optimizers.cameras._create_all_weights(cameras)

    @tf.function(input_signature=[signature], autograph=False)
    def step(snippet: Snippet) -> StepResult:
        weights.both.assign(both_share(optimizers.networks.iterations, training))
        with tf.GradientTape() as tape:
            predictions = model(snippet, training=True)
            total, report = objective(snippet, predictions, weights, loss)
        gradients = tape.gradient(total, networks + cameras)
        gradients, norm = tf.clip_by_global_norm(gradients, training.gradient_clip)

        optimizers.networks.apply_gradients(zip(gradients[: len(networks)], networks))
        if cameras:
            optimizers.cameras.apply_gradients(zip(gradients[len(networks) :], cameras))
        return StepResult(total, report, norm, vitals(predictions))

    return step
