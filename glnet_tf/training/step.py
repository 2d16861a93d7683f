"""The steps of training, compiled once for batches of the signature's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, NamedTuple

import tensorflow as tf

from glnet_tf.config import LossConfig, TrainingConfig
from glnet_tf.geometry.fast_ops import compiling
from glnet_tf.losses.objective import LossWeights, objective
from glnet_tf.losses.reduction import norm
from glnet_tf.losses.virtual_motion import virtual_motion_loss, virtual_pairs
from glnet_tf.models.glnet import GLNet
from glnet_tf.optimization import Adam, make_optimizers, update
from glnet_tf.structures import MIDDLE, LossReport, Snippet
from glnet_tf.training.distribution import Distribution
from glnet_tf.training.monitor import Vitals, vitals
from glnet_tf.training.precision import LossScale
from glnet_tf.training.schedule import LearningRate, two_branch_weight


class VirtualResult(NamedTuple):
    """What a step on virtual motion says: the loss, the full-size flow's EPE in pixels, the gradient's length."""

    total: tf.Tensor
    flow_epe: tf.Tensor
    gradient_norm: tf.Tensor


class StepResult(NamedTuple):
    """What a training step says: the objective, its unweighted terms, the gradient's length, signs of a collapse."""

    total: tf.Tensor
    report: LossReport
    gradient_norm: tf.Tensor
    vitals: Vitals


def rates(config: TrainingConfig) -> tuple[float, ...]:
    """Returns the learning rates of GLNet.variable_groups, relative to learning_rate."""
    return 1.0, config.flow_rate, config.camera_rate, config.intrinsics_rate


def training_optimizers(model: GLNet, config: TrainingConfig) -> tuple[Adam, ...]:
    """Returns the optimizers of GLNet.variable_groups."""
    schedules = [LearningRate(config.learning_rate * rate, config) for rate in rates(config)]
    return make_optimizers(schedules, model.variable_groups(rates(config)))


def make_train_step(
    model: GLNet,
    optimizers: Sequence[Adam],
    weights: LossWeights,
    loss: LossConfig,
    training: TrainingConfig,
    signature: Snippet,
    distribution: Distribution | None = None,
    scale: LossScale | None = None,
) -> Callable[[Snippet], StepResult]:
    """Returns the compiled training step: forward, objective, gradient, update.

    With a `distribution`, it takes this worker's part of a batch, and everything is averaged over the whole batch. With
    a `scale`, gradients that overflow change next to nothing: Adam sees zeros.
    Whoever calls it must stop when the objective or the gradient's length is not finite.
    """
    groups = model.variable_groups(rates(training))
    variables = sum(groups, [])
    distribution = distribution or Distribution()

    def of_replica(snippet: Snippet) -> StepResult:
        # Of what is held no gradient is traced.
        with compiling(training.xla), tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            predictions = model(snippet, training=True)
            total, report = objective(snippet, predictions, weights, loss)
            scaled = total if scale is None else total * scale.scale
        gradients, total, report, signs = distribution.averaged(
            (tape.gradient(scaled, variables), total, report, vitals(predictions))
        )
        if scale is not None:
            gradients = scale.unscaled(gradients)
        return StepResult(total, report, update(optimizers, groups, gradients), signs)

    @tf.function(input_signature=[signature], autograph=False)
    def step(snippet: Snippet) -> StepResult:
        weights.two_branch.assign(two_branch_weight(optimizers[0].iterations, training))
        return distribution.run(of_replica, snippet)

    return step


def make_virtual_step(
    model: GLNet,
    optimizers: Sequence[Adam],
    training: TrainingConfig,
    signature: Snippet,
    distribution: Distribution | None = None,
    scale: LossScale | None = None,
) -> Callable[[Snippet], VirtualResult]:
    """Returns the compiled step in which FlowNet alone learns, from middle frames; see losses.virtual_motion."""
    variables = model.flow_net.trainable_variables
    distribution = distribution or Distribution()

    def of_replica(snippet: Snippet) -> VirtualResult:
        # Each step and each replica, which has snippets of its own, draws other motions.
        seed = tf.stack([training.seed * 2**32 + optimizers[0].iterations, snippet.index[0] * 2**16])
        images = snippet.images[:, MIDDLE]
        # A DepthNet that nobody has trained knows no scenes.
        disparity = model.depth_net(images)[0] if training.weights else None
        pairs = virtual_pairs(images, seed, disparity)
        with compiling(training.xla), tf.GradientTape() as tape:
            flows = model.flow_net(pairs.images, training=True, forward_only=True)
            loss = virtual_motion_loss(flows, pairs)
            scaled = loss if scale is None else loss * scale.scale
        error = tf.reduce_sum(pairs.weight * norm(flows[0][:, 0] - pairs.flow)) / tf.reduce_sum(pairs.weight)
        gradients, loss, error = distribution.averaged((tape.gradient(scaled, variables), loss, error))
        if scale is not None:
            gradients = scale.unscaled(gradients)
        return VirtualResult(loss, error, update(optimizers, [variables], gradients))

    return tf.function(
        lambda snippet: distribution.run(of_replica, snippet), input_signature=[signature], autograph=False
    )
