"""The collapse monitor: training can fail with a falling loss, and these are the signs.

Flat depth and a camera that stands still explain every video in which the flow branch does all the work.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.structures import Predictions, ordered_pairs


class Vitals(NamedTuple):
    """What tells living predictions from collapsed ones; float32 scalars.

    Attributes:
      disparity_spread: standard deviation of inverse depth within an image over its mean, averaged over images.
      translation: |t| over the mean depth of frame a, averaged over the ordered pairs.
      flow_length: mean |F|, pixels of the full-size image.
    """

    disparity_spread: tf.Tensor
    translation: tf.Tensor
    flow_length: tf.Tensor


def vitals(predictions: Predictions) -> Vitals:
    """Returns the vitals of a batch of predictions, from level 0."""
    disparity, flow = predictions.disparities[0], predictions.flows[0]
    mean, variance = tf.nn.moments(disparity, axes=[2, 3, 4])
    depth = tf.gather(tf.reduce_mean(1 / disparity, axis=[2, 3, 4]), ordered_pairs(disparity.shape[1]).first, axis=1)
    return Vitals(
        disparity_spread=tf.reduce_mean(tf.sqrt(variance) / mean),
        translation=tf.reduce_mean(tf.norm(predictions.poses[..., :3, 3], axis=-1) / depth),
        flow_length=tf.reduce_mean(tf.norm(flow, axis=-1)),
    )


class Sign(NamedTuple):
    """One sign of collapse: the name of a vital, the value that it should not stay below, and what to tell the user."""

    vital: str
    threshold: float
    quantity: str
    meaning: str


SIGNS = (
    Sign(
        "disparity_spread",
        0.02,
        "relative standard deviation of inverse depth",
        "depth has become flat; raise --warmup_steps or --two_branch_floor, or lower --depth_smoothness, and train "
        "anew",
    ),
    Sign(
        "translation",
        1e-4,
        "camera translation over mean depth",
        "the camera is predicted to stand still; raise --warmup_steps or --two_branch_floor and train anew, or, if it "
        "does stand still in the videos, leave those frames out or raise --stride",
    ),
)


class CollapseMonitor:
    """Watches the vitals and warns once when one of them stays low; a recovery arms the warning again.

    Args:
      patience: consecutive low checks before the warning.
      grace_steps: steps from the start of training in which nothing counts.
    """

    def __init__(self, patience: int = 50, grace_steps: int = 500) -> None:
        self._patience, self._grace_steps = patience, grace_steps
        self._low = [0] * len(SIGNS)
        self._warned = [False] * len(SIGNS)

    def check(self, step: int, state: Vitals) -> str | None:
        """Returns a warning of one line, or None; of two that fall due together, one waits for the next check."""
        if step < self._grace_steps:
            return None
        values = [float(getattr(state, sign.vital)) for sign in SIGNS]
        for i, (sign, value) in enumerate(zip(SIGNS, values)):
            low = value < sign.threshold
            self._low[i] = self._low[i] + 1 if low else 0
            self._warned[i] = self._warned[i] and low
        for i, (sign, value) in enumerate(zip(SIGNS, values)):
            if self._low[i] >= self._patience and not self._warned[i]:
                self._warned[i] = True
                return (
                    f"step {step}: {sign.quantity} is {value:.2g}, below {sign.threshold:g} for {self._low[i]} checks: "
                    f"{sign.meaning}"
                )
        return None
