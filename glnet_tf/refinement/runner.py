"""Online refinement: PFT, OFT, or both, of a snippet or of a longer window of a video (GLNet, section 3.6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.losses.objective import LossWeights, compare, flow_agrees
from glnet_tf.losses.reduction import norm
from glnet_tf.models.glnet import GLNet, make_predict
from glnet_tf.refinement.history import History
from glnet_tf.refinement.outputs import make_output_refinement
from glnet_tf.refinement.parameters import ParameterRefinement, kept_weights
from glnet_tf.structures import FRAMES, LossReport, Predictions, Snippet, snippet_signature, split

# Below this mean length of the flow, pixels, the camera counts as static; below this mean difference between
# neighbouring pixels, of grey values from 0 to 1, an image has no texture.
STATIC_FLOW = 0.1
LEAST_TEXTURE = 1e-3


class Refined(NamedTuple):
    """A batch of snippets or windows before and after.

    Attributes:
      initial, final: the predictions; equal where `reasons` says why.
      moving: [B, P, H, W, 1] 1.0 where flow and rigid flow of an ordered pair disagree: the object moves by itself.
      pft, oft: what their iterations started from, of the snippets that were refined; None if there was no such part.
      reasons: [B] why a snippet was not refined; empty where it was.
    """

    initial: Predictions
    final: Predictions
    moving: tf.Tensor
    pft: History | None
    oft: History | None
    reasons: tuple[str, ...]


class Refiner:
    """Refines batches of snippets, or of windows, of one size; nothing is traced again for the next batch.

    Args:
      model: trained, with its variables made. With config.policy "snippet" it leaves every call as it entered it, also
        when the call is interrupted; with "sequence" each call goes on from the parameters of the one before. OFT never
        touches it.
      loss: the objective's weights and constants, as in training.
      config: what is refined, and how.
      frames: of a snippet or window.
    """

    def __init__(self, model: GLNet, loss: LossConfig, config: RefinementConfig, frames: int = FRAMES):
        self.model, self.config, self._loss = model, config, loss
        signature = snippet_signature(*model.image_size, frames)
        terms = {name: tf.constant(getattr(loss, name)) for name in LossReport._fields}
        weights = LossWeights(**terms, both=tf.constant(config.both_branches))
        self.predict = make_predict(model, signature)
        self._pft = None if config.refine == "oft" else ParameterRefinement(model, weights, loss, config, signature)
        free = model.source_of_intrinsics in ("learned", "predicted")
        refine_outputs = make_output_refinement(weights, loss, config, free)
        self._oft = None
        if config.refine != "pft":
            self._oft = tf.function(
                refine_outputs,
                input_signature=[signature, finest_signature(signature), tf.TensorSpec([], tf.int32)],
                autograph=False,
            )
        self._moving = tf.function(
            lambda images, predictions: moving_mask(images, predictions, loss.alpha),
            input_signature=[signature.images, finest_signature(signature)],
            autograph=False,
        )

    def __call__(self, snippet: Snippet) -> Refined:
        """Refines a batch; what cannot be refined comes back as the networks predicted it, with the reason."""
        initial = self.predict(snippet)
        reasons = obstacles(snippet, initial)
        chosen = [i for i, reason in enumerate(reasons) if not reason]
        final, pft, oft = initial, None, None
        if chosen:
            subset, start = (tf.nest.map_structure(lambda x: tf.gather(x, chosen), x) for x in (snippet, initial))
            refined, pft, oft, finite = self._refined(subset, start)
            rows = [row for row, good in zip(chosen, finite) if good]
            for row, good in zip(chosen, finite):
                reasons[row] = "" if good else "the objective is not finite"
            if rows:
                refined = tf.nest.map_structure(lambda x: tf.boolean_mask(x, finite), refined)
                final = tf.nest.map_structure(
                    lambda old, new: tf.tensor_scatter_nd_update(old, [[row] for row in rows], new), initial, refined
                )
        return Refined(initial, final, self._moving(snippet.images, finest(final)), pft, oft, tuple(reasons))

    def _refined(
        self, snippet: Snippet, predictions: Predictions
    ) -> tuple[Predictions, History | None, History | None, list[bool]]:
        pft = oft = None
        finite = [True] * len(snippet.index)
        if self._pft is not None:
            with kept_weights(self.model) as let_go:
                pft, good = self._pft.run(snippet)
                if not good:
                    return predictions, pft, None, [False] * len(finite)
                predictions = self.predict(snippet)
                if self.config.policy == "sequence":
                    let_go()
        if self._oft is not None:
            predictions, oft, mask = self._oft(snippet, finest(predictions), tf.constant(self.config.iterations))
            finite = mask.numpy().tolist()
        return predictions, pft, oft, finite


def refine(
    model: GLNet, snippet: Snippet, config: RefinementConfig | None = None, loss: LossConfig | None = None
) -> Refined:
    """Refines one batch; for several, make one Refiner, which compiles only once."""
    return Refiner(model, loss or LossConfig(), config or RefinementConfig(), snippet.images.shape[1])(snippet)


def obstacles(snippet: Snippet, predictions: Predictions) -> list[str]:
    """Returns, for every snippet, why it cannot be refined; empty if it can."""
    flow = tf.reduce_mean(norm(predictions.flows[0]), axis=[1, 2, 3, 4]).numpy()
    grey = tf.reduce_mean(snippet.images, axis=-1)
    texture = tf.reduce_mean(tf.abs(grey[..., 1:] - grey[..., :-1]), axis=[1, 2, 3]).numpy()
    finite = tf.reduce_all(tf.math.is_finite(snippet.images), axis=[1, 2, 3, 4]).numpy()
    reasons = []
    for i in range(len(flow)):
        if not (finite[i] and np.isfinite(flow[i])):
            reasons.append("the images or predictions are not finite")
        elif texture[i] < LEAST_TEXTURE:
            reasons.append(f"no texture: neighbouring pixels differ by {texture[i]:.2g} of 1")
        elif flow[i] < STATIC_FLOW:
            reasons.append(f"static camera: the mean flow is {flow[i]:.2g} pixels")
        else:
            reasons.append("")
    return reasons


def moving_mask(images: tf.Tensor, predictions: Predictions, alpha: float) -> tf.Tensor:
    """Returns 1.0 where flow and rigid flow of an ordered pair disagree and the flow is to be trusted, [B, P, H, W, 1].

    Args:
      images: [B, F, H, W, 3].
      predictions: of them; the finest level is enough.
      alpha: share of SSIM in the photometric distance.
    """
    pairs = compare(images, predictions, 0, alpha)
    return split(pairs.flow_visible * (1 - flow_agrees(pairs, 0)), predictions.flows[0].shape[1])


def finest(predictions: Predictions) -> Predictions:
    """Returns predictions without their coarser levels."""
    return predictions._replace(disparities=predictions.disparities[:1], flows=predictions.flows[:1])


def finest_signature(signature: Snippet) -> Predictions:
    """Returns the shapes of what `finest` gives for a batch of this signature."""
    _, frames, height, width, _ = signature.images.shape
    pairs = 2 * (frames - 1)
    return Predictions(
        disparities=(tf.TensorSpec([None, frames, height, width, 1]),),
        flows=(tf.TensorSpec([None, pairs, height, width, 2]),),
        poses=tf.TensorSpec([None, pairs, 4, 4]),
        intrinsics=tf.TensorSpec([None, 3, 3]),
    )
