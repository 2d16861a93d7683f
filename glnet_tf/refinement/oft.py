"""Output fine-tuning (OFT): depth, flow, motion and K are themselves the variables; no network is run or changed.

It starts from fused depth, and is held to evidence that was found before.

Everything is a function of tensors, Adam included, so that the whole optimisation can live in one graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Callable, NamedTuple

import tensorflow as tf

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.geometry.camera import build_intrinsics, focal_and_principal_point
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.geometry.transform import (
    pose_from_rotation_translation,
    rotation_from_axis_angle,
    rotation_of,
    translation_of,
)
from glnet_tf.losses.objective import FlowComparison, LossWeights, compare_by_flow, image_pyramid, objectives
from glnet_tf.models.glnet import both_ways
from glnet_tf.models.levels import flow_levels, with_levels
from glnet_tf.refinement.history import PATIENCE, History
from glnet_tf.structures import SCALES, LossReport, Predictions, Snippet, dimension, height_and_width, merge, split

# Adam's decay of the mean gradient and of its square. EPSILON, in units of the objective per pixel, is the size below
# which a gradient counts as none: without it noise would move what the images say nothing about.
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-3
# A correction of depth and flow is the sum of maps at these strides, so that areas without texture follow their edges.
STRIDES = (1, 4, 16)
# A change of translation, relative to its length, for a change of rotation of one radian.
TRANSLATION_PER_RADIAN = 10.0
# The prior's units: logarithm of depth, pixels, radians, share of the translation's length; logarithm of the focal
# length, and share of the image.
UNCERTAIN_LOG_DEPTH, UNCERTAIN_FLOW, UNCERTAIN_ROTATION, UNCERTAIN_TRANSLATION = 0.2, 0.5, 0.002, 0.03
UNCERTAIN_CAMERA = 0.05


class Corrections(NamedTuple):
    """The free variables, all 0 at the networks' outputs.

    Attributes:
      log_disparity: one [B, F, h, w, 1] map per stride: logarithm of the factor on inverse depth.
      flow: one [B, P, h, w, 2] map per stride: what is added to the flow, pixels; none where it is held.
      motion: [B, F - 1, 6] of the pairs in the order of time: a rotation that follows (axis-angle, radians), and the
        change of the translation relative to its length.
      camera: [B, 3] one for all frames: logarithm of the factor on (fx, fy), and the shifts of (cx, cy) relative to the
        image.
    """

    log_disparity: tuple[tf.Tensor, ...]
    flow: tuple[tf.Tensor, ...]
    motion: tf.Tensor
    camera: tf.Tensor


class OutputState(NamedTuple):
    """Where the optimisation of a batch of windows stands.

    Attributes:
      iteration: [] int32.
      corrections: the variables; mean, mean_square: Adam's moments of their gradients.
      best, best_objective: the variables, and [B] the objective, where it was smallest: what is returned.
      waited: [B] int32 iterations since the smallest objective last fell by the least share.
      running: [B] bool, False where the objective has stalled or is not finite: nothing changes there any more.
      finite: [B] bool.
    """

    iteration: tf.Tensor
    corrections: Corrections
    mean: Corrections
    mean_square: Corrections
    best: Corrections
    best_objective: tf.Tensor
    waited: tf.Tensor
    running: tf.Tensor
    finite: tf.Tensor


def start(initial: Predictions, free_flow: bool) -> OutputState:
    """Returns the state at the networks' outputs."""
    count = dimension(initial.poses, 0)

    def blank(maps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        frames, channels = maps.shape[1], maps.shape[-1]
        height, width = height_and_width(maps)
        return tuple(tf.zeros([count, frames, -(-height // s), -(-width // s), channels]) for s in STRIDES)

    zero = Corrections(
        log_disparity=blank(initial.disparities[0]),
        flow=blank(initial.flows[0]) if free_flow else (),
        motion=tf.zeros([count, initial.poses.shape[1] // 2, 6]),
        camera=tf.zeros([count, 3]),
    )
    return OutputState(
        iteration=tf.constant(0),
        corrections=zero,
        mean=zero,
        mean_square=zero,
        best=zero,
        best_objective=tf.fill([count], math.inf),
        waited=tf.zeros([count], tf.int32),
        running=tf.fill([count], True),
        finite=tf.fill([count], True),
    )


def corrected_predictions(initial: Predictions, corrections: Corrections) -> Predictions:
    """Returns the predictions that corrections make of the networks'; all levels follow from the finest."""
    disparity = initial.disparities[0] * tf.exp(_sum(corrections.log_disparity))
    flow = initial.flows[0] + _sum(corrections.flow) if corrections.flow else initial.flows[0]
    motions = corrections.motion.shape[1]
    forward = initial.poses[:, :motions]
    length = tf.norm(translation_of(forward), axis=-1, keepdims=True)
    forward = pose_from_rotation_translation(
        tf.matmul(rotation_from_axis_angle(corrections.motion[..., :3]), rotation_of(forward)),
        translation_of(forward) + length * corrections.motion[..., 3:],
    )
    size = tf.cast(tf.stack([dimension(flow, 3), dimension(flow, 2)]), tf.float32)
    focal, principal_point = focal_and_principal_point(initial.intrinsics)
    intrinsics = build_intrinsics(
        focal * tf.exp(corrections.camera[:, :1]), principal_point + corrections.camera[:, 1:] * size
    )
    return with_levels(disparity, flow, both_ways(forward), intrinsics)


def prior(corrections: Corrections) -> tf.Tensor:
    """Returns |x - x0|^2, [B]: mean squares of the changes, in units of how far the networks are thought to be off."""
    rotation, translation = tf.split(corrections.motion, 2, axis=-1)
    changes = [
        _sum(corrections.log_disparity) * (1 / UNCERTAIN_LOG_DEPTH),
        rotation * (1 / UNCERTAIN_ROTATION),
        translation * (1 / UNCERTAIN_TRANSLATION),
        corrections.camera * (1 / UNCERTAIN_CAMERA),
    ]
    if corrections.flow:
        changes.append(_sum(corrections.flow) * (1 / UNCERTAIN_FLOW))
    return tf.add_n([tf.reduce_mean(tf.square(x), axis=list(range(1, len(x.shape)))) for x in changes])


def make_output_refinement(
    weights: LossWeights, loss: LossConfig, config: RefinementConfig, free_intrinsics: bool
) -> Callable[[Snippet, Predictions, Evidence, tf.Tensor], tuple[Predictions, History, tf.Tensor]]:
    """Returns OFT as one function of tensors, to be compiled or exported.

    Args:
      weights, loss: the objective.
      config: rates, prior, and when to stop.
      free_intrinsics: whether K is a variable too, one for all frames.

    Returns:
      Function of a batch of snippets or windows, of the predictions to start from (the finest level is enough), of
      evidence about the frames' depth, and of the largest number of iterations, []; it returns the refined predictions,
      the history, and where all was finite, [B] bool: elsewhere the predictions are those given. Each member of the
      batch is refined, and stops, by itself.
    """
    free_flow = config.oft_flow_rate > 0
    rates = Corrections(
        log_disparity=(config.oft_depth_rate,) * len(STRIDES),
        flow=(config.oft_flow_rate,) * len(STRIDES) if free_flow else (),
        motion=config.oft_pose_rate * tf.constant([1.0] * 3 + [TRANSLATION_PER_RADIAN] * 3),
        camera=config.oft_intrinsics_rate if free_intrinsics else 0.0,
    )

    def iteration(
        snippet: Snippet,
        initial: Predictions,
        found: Evidence,
        by_flow: Sequence[FlowComparison | None],
        state: OutputState,
        iterations: tf.Tensor,
    ) -> tuple[OutputState, History]:
        with tf.GradientTape() as tape:
            tape.watch(state.corrections)
            refined = corrected_predictions(initial, state.corrections)
            total, report = objectives(snippet, refined, weights, loss, found, planar=True, by_flow=by_flow)
            held = total + config.prior * prior(state.corrections)
            pixels = tf.cast(dimension(snippet.images, 2) * dimension(snippet.images, 3), tf.float32)
            summed = tf.reduce_sum(held) * pixels
        gradients = tape.gradient(summed, state.corrections, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        finite = tf.math.is_finite(total)
        for gradient in tf.nest.flatten(gradients):
            finite &= tf.reduce_all(tf.math.is_finite(gradient), axis=list(range(1, len(gradient.shape))))
        waited = tf.where(held < state.best_objective * (1 - config.stall), 0, state.waited + 1)
        better = state.running & finite & (held < state.best_objective)
        running = state.running & finite & ((waited < PATIENCE) | (config.stall == 0))
        passed = tf.cast(state.iteration + 1, tf.float32)
        decay = 0.5 + 0.5 * tf.cos(math.pi * (passed - 1) / tf.cast(iterations, tf.float32))

        def updated(rate, value, gradient, mean, mean_square):  # type: ignore[no-untyped-def]
            mean = _choose(running, BETA1 * mean + (1 - BETA1) * gradient, mean)
            mean_square = _choose(running, BETA2 * mean_square + (1 - BETA2) * tf.square(gradient), mean_square)
            size = tf.sqrt(mean_square / (1 - BETA2**passed)) + EPSILON
            change = decay * rate * mean / (1 - BETA1**passed) / size
            return _choose(running, value - change, value), mean, mean_square

        columns = (tf.nest.flatten(x) for x in (rates, state.corrections, gradients, state.mean, state.mean_square))
        corrections, mean, mean_square = (
            tf.nest.pack_sequence_as(state.corrections, x) for x in zip(*(updated(*row) for row in zip(*columns)))
        )
        return (
            OutputState(
                iteration=state.iteration + 1,
                corrections=corrections,
                mean=mean,
                mean_square=mean_square,
                best=tf.nest.map_structure(lambda new, old: _choose(better, new, old), state.corrections, state.best),
                best_objective=tf.where(better, held, state.best_objective),
                waited=waited,
                running=running,
                finite=state.finite & (finite | ~state.running),
            ),
            History(held, report),
        )

    def refine(
        snippet: Snippet, initial: Predictions, found: Evidence, iterations: tf.Tensor
    ) -> tuple[Predictions, History, tf.Tensor]:
        iterations = tf.convert_to_tensor(iterations)
        arrays = History(*tf.nest.map_structure(_growing, (0.0, LossReport(*[0.0] * len(LossReport._fields)))))

        def goes_on(state: OutputState, _: History) -> tf.Tensor:
            # The last round only measures where the last iteration ended.
            return (state.iteration <= iterations) & tf.reduce_any(state.running)

        def step(state: OutputState, arrays: History) -> tuple[OutputState, History]:
            new, seen = iteration(snippet, initial, found, by_flow, state, iterations)
            written = tf.nest.map_structure(lambda array, value: array.write(state.iteration, value), arrays, seen)
            return new, written

        by_flow: list[FlowComparison | None] = [None] * SCALES
        if not free_flow:
            flows = flow_levels(initial.flows[0])
            by_flow = [compare_by_flow(x, *row) for x, *row in zip(image_pyramid(snippet.images), flows, range(SCALES))]
        state, arrays = tf.while_loop(goes_on, step, (start(initial, free_flow), arrays))
        corrections = tf.nest.map_structure(lambda x: _choose(state.finite, x, tf.zeros_like(x)), state.best)
        history = tf.nest.map_structure(lambda array: array.stack(), arrays)
        return corrected_predictions(initial, corrections), history, state.finite

    return refine


def _sum(maps: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """The sum of maps of several strides, [B, K, H, W, C] at the first one's size."""
    count, size = maps[0].shape[1], height_and_width(maps[0])
    return tf.add_n([maps[0], *(split(tf.image.resize(merge(x), size), count) for x in maps[1:])])


def _choose(rows: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Members of a batch from `one` where `rows`, [B] bool, else from `other`."""
    return tf.where(tf.reshape(rows, [-1] + [1] * (len(one.shape) - 1)), one, other)


def _growing(_: float) -> tf.TensorArray:
    return tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[None])
