"""Half precision: the networks' layers compute in it, everything else, the weights included, stays in single."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tf_keras as keras

FIRST_SCALE = 2.0**15
MAX_SCALE = 2.0**24
# Steps without an overflow after which the scale is doubled.
PATIENCE = 2000


@contextlib.contextmanager
def layer_precision(mixed: bool) -> Iterator[None]:
    """Within it, layers are made that compute in half precision if `mixed`; their weights are in single precision."""
    before = keras.mixed_precision.global_policy()
    if mixed:
        keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


class LossScale(tf.Module):
    """A factor on the objective that keeps small gradients from vanishing in half precision, as large as can be.

    Source: Micikevicius et al., Mixed Precision Training, ICLR 2018.
    """

    def __init__(self) -> None:
        super().__init__(name="loss_scale")
        options = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.scale = tf.Variable(FIRST_SCALE, **options)
        self.steps = tf.Variable(0, **options)

    def unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the gradients of the objective from those of the scaled one.

        After an overflow they are 0 and the scale is halved. Where it is 1, what is not finite stays so: it is no
        matter of precision.
        """
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in gradients if x is not None])
        overflow = ~finite & (self.scale > 1)
        inverse = 1 / self.scale
        kept = [None if x is None else tf.where(overflow, tf.zeros_like(x), x * inverse) for x in gradients]
        grown = self.steps + 1 >= PATIENCE
        with tf.control_dependencies([x for x in kept if x is not None]):
            factor = tf.where(overflow, 0.5, tf.where(grown, 2.0, 1.0))
            self.scale.assign(tf.clip_by_value(self.scale * factor, 1.0, MAX_SCALE))
            self.steps.assign(tf.where(overflow | grown, 0, self.steps + 1))
        return kept
