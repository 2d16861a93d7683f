"""Adam on groups of variables, each with a learning rate of its own; their whole gradient is clipped, and finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Union

import tensorflow as tf
import tf_keras as keras

Rate = Union[float, Callable, keras.optimizers.schedules.LearningRateSchedule]
Groups = Sequence[Sequence[tf.Variable]]

# Of the whole gradient in training: its largest length.
MAX_GRADIENT = 10.0


class Adam(keras.optimizers.legacy.Adam):
    """Adam as one fused kernel per variable; the successor of this class traces for minutes on so many."""


def make_optimizers(rates: Sequence[Rate], groups: Groups) -> tuple[Adam, ...]:
    """Returns one optimizer for each group of variables, with its moments made.

    Were they made in a step, TensorFlow would trace the step twice.
    """
    optimizers = tuple(Adam(rate) for rate in rates)
    for optimizer, variables in zip(optimizers, groups):
        optimizer._create_all_weights(list(variables))
    return optimizers


def update(
    optimizers: Sequence[Adam],
    groups: Groups,
    gradients: Sequence[tf.Tensor | None],
    clip: float = MAX_GRADIENT,
) -> tf.Tensor:
    """Lets each optimizer change its group of variables.

    Args:
      optimizers, groups: from make_optimizers.
      gradients: of all groups in a row, the same in every replica; where one is not finite, Adam sees zeros in all.
      clip: largest length of the whole gradient.

    Returns:
      [] length of the whole gradient before it was clipped; not finite where a gradient is not.
    """
    length = tf.linalg.global_norm(gradients)
    factor = tf.where(tf.math.is_finite(length), clip / tf.maximum(length, clip), 0.0)
    remaining = iter([None if x is None else tf.math.multiply_no_nan(x, factor) for x in gradients])
    for optimizer, variables in zip(optimizers, groups):
        if variables:
            pairs = [(next(remaining), variable) for variable in variables]
            optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
    return length
