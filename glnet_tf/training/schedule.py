"""What changes during training: the learning rate and the share of the two-branch photometric loss."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import TrainingConfig

FINAL_RATE = 0.05


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly over `ramp_steps`, stays, and falls as a cosine to FINAL_RATE of its value at the end.

    Args:
      rate: the value that it stays at.
      config: ramp_steps, decay_start and steps.
    """

    def __init__(self, rate: float, config: TrainingConfig):
        self.rate, self.config = rate, config

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        done = tf.cast(step, tf.float32)
        ramp = tf.minimum((done + 1) / self.config.ramp_steps, 1)
        start = self.config.decay_start * self.config.steps
        decayed = tf.clip_by_value((done - start) / max(self.config.steps - start, 1), 0, 1)
        cosine = (1 + tf.cos(math.pi * decayed)) / 2
        return self.rate * ramp * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def two_branch_weight(step: tf.Tensor, config: TrainingConfig) -> tf.Tensor:
    """Returns the share of the two-branch photometric loss: from 1 down to `two_branch_floor` over `warmup_steps`."""
    remaining = 1 - tf.cast(step, tf.float32) / max(config.warmup_steps, 1)
    return config.two_branch_floor + (1 - config.two_branch_floor) * tf.clip_by_value(remaining, 0, 1)
