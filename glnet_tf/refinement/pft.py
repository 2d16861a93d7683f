"""Parameter fine-tuning (PFT): the networks go on learning, on the frames that they are asked about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.losses.objective import LossWeights, objectives
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.levels import evidence_signature, finest, finest_signature, with_levels
from glnet_tf.optimization import make_optimizers, update
from glnet_tf.refinement.history import PATIENCE, History
from glnet_tf.structures import LossReport, Predictions, Snippet, merge, split


@contextlib.contextmanager
def restored_weights(model: keras.Model) -> Iterator[Callable[[], None]]:
    """Gives every weight of a model its value back, bit for bit, when the block ends, whatever ends it.

    It yields a function: once called, the weights stay as they are.
    """
    before = [tf.identity(weight) for weight in model.weights]
    try:
        yield before.clear
    finally:
        for weight, value in zip(model.weights, before):
            weight.assign(value)


class ParameterRefinement:
    """Adam on the parameters of a model; compiled once for batches of any size.

    Statistics of batch normalisation stay as trained. A batch is refined together: one set of parameters for it.

    Args:
      model: with its variables made.
      weights, loss: the objective.
      config: iterations and learning rates; a part whose rate is 0 stays as it is, and costs no gradient.
      signature: of the batches, see structures.snippet_signature.
    """

    def __init__(
        self, model: GLNet, weights: LossWeights, loss: LossConfig, config: RefinementConfig, signature: Snippet
    ):
        rates = (config.pft_rate, *[config.pft_rate * config.pft_others] * 3)
        groups = model.variable_groups(rates)
        optimizers = make_optimizers(rates, groups)
        self._moments = [variable for optimizer in optimizers for variable in optimizer.variables()]
        self._config = config

        depth_alone = not any(rates[1:])

        def predicted(snippet: Snippet, initial: Predictions) -> Predictions:
            if not depth_alone:
                return model(snippet)
            levels = model.depth_net(merge(snippet.images))
            whole = with_levels(initial.disparities[0], initial.flows[0], initial.poses, initial.intrinsics)
            return whole._replace(disparities=tuple(split(x, snippet.images.shape[1]) for x in levels))

        @tf.function(
            input_signature=[signature, finest_signature(signature), evidence_signature(signature)], autograph=False
        )
        def step(snippet: Snippet, initial: Predictions, found: Evidence) -> tuple[tf.Tensor, LossReport, tf.Tensor]:
            with tf.GradientTape() as tape:
                total, report = objectives(snippet, predicted(snippet, initial), weights, loss, found)
                mean = tf.reduce_mean(total)
            length = update(optimizers, groups, tape.gradient(mean, sum(groups, [])))
            return total, report, tf.math.is_finite(mean) & tf.math.is_finite(length)

        self._step = step
        self.predict = tf.function(predicted, input_signature=[signature, finest_signature(signature)], autograph=False)

    def run(self, snippet: Snippet, initial: Predictions, found: Evidence) -> tuple[History | None, bool]:
        """Refines the model's parameters on a batch, from fresh moments of Adam.

        Args:
          snippet: the batch.
          initial: the predictions for it; where DepthNet alone learns, the others hold.
          found: evidence about the depth of its frames.

        Returns:
          what every iteration started from, None if there was none, and whether all was finite; if not, it ended there.
        """
        for variable in self._moments:
            variable.assign(tf.zeros_like(variable))
        rows: list[tuple[tf.Tensor, LossReport]] = []
        best, waited = float("inf"), 0
        for _ in range(self._config.iterations):
            total, report, finite = self._step(snippet, finest(initial), found)
            rows.append((total, report))
            if not finite:
                break
            mean = float(tf.reduce_mean(total))
            waited = 0 if mean < best * (1 - self._config.stall) else waited + 1
            best = min(best, mean)
            if self._config.stall and waited >= PATIENCE:
                break
        if not rows:
            return None, True
        history = tf.nest.map_structure(lambda *values: tf.stack(values), *[History(*row) for row in rows])
        return history, bool(finite)
