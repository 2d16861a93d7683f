"""Online refinement: PFT, OFT, or both, of a snippet or of a longer window of a video (GLNet, section 3.6)."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.losses.objective import LossWeights, compare, loss_weights
from glnet_tf.losses.reduction import norm
from glnet_tf.models.glnet import GLNet, make_predict
from glnet_tf.refinement.history import History
from glnet_tf.refinement.outputs import make_output_refinement
from glnet_tf.refinement.parameters import ParameterRefinement, kept_weights
from glnet_tf.structures import FRAMES, Predictions, Snippet, snippet_signature, split

# Below this mean length of the flow, pixels, the camera counts as static; below this mean difference between
# neighbouring pixels, of grey values from 0 to 1, an image has no texture.
STATIC_FLOW = 0.1
LEAST_TEXTURE = 1e-3
# Flow and rigid flow differ by more than this where something moves by itself: pixels, and share of the flow, which is
# what a depth that is wrong by that share does.
MOTION_PIXELS, MOTION_SHARE = 0.5, 0.3

Batch = TypeVar("Batch", Snippet, Predictions)


class Refined(NamedTuple):
    """A batch of snippets or windows before and after.

    Attributes:
      initial, final: the predictions; equal where `reasons` says why.
      tuned: after PFT and before OFT; None unless both are done.
      moving: [B, P, H, W, 1] 1.0 where flow and rigid flow of an ordered pair disagree: the object moves by itself.
      pft, oft: the objective at their iterations, of the snippets that were refined; None if there was no such part.
      reasons: [B] why a snippet was not refined; empty where it was.
    """

    initial: Predictions
    final: Predictions
    tuned: Predictions | None
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
      weights: of the objective's terms, if they are variables; None: those of `loss`, as constants.
    """

    def __init__(
        self,
        model: GLNet,
        loss: LossConfig,
        config: RefinementConfig,
        frames: int = FRAMES,
        weights: LossWeights | None = None,
    ):
        self.model, self.config = model, config
        signature = snippet_signature(*model.image_size, frames)
        weights = weights or loss_weights(loss, config.both_branches)
        self.predict = make_predict(model, signature)
        self._pft = None
        if config.refine in ("pft", "both"):
            self._pft = ParameterRefinement(model, weights, loss, config, signature)
        free = model.source_of_intrinsics in ("learned", "predicted")
        refine_outputs = make_output_refinement(weights, loss, config, free)
        self._oft = None
        if config.refine in ("oft", "both"):
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

    def __call__(self, snippet: Snippet, outputs_only: bool = False) -> Refined:
        """Refines a batch; what cannot be refined comes back as the networks predicted it, with the reason.

        Args:
          snippet: the batch.
          outputs_only: leave PFT out, whatever config.refine says.
        """
        tuning = self._pft if not outputs_only else None
        sound = tf.where(tf.math.is_finite(snippet.images), snippet.images, 0.0)
        initial = self.predict(snippet._replace(images=sound))
        reasons = obstacles(snippet, initial)
        chosen = [i for i, reason in enumerate(reasons) if not reason]
        tuned, final, pft, oft = initial, initial, None, None
        if chosen:
            subset, start = _rows(snippet, chosen), _rows(initial, chosen)
            after, pft, good = self._parameters_refined(tuning, subset, start)
            finite = [good] * len(chosen)
            tuned = final = _inserted(initial, after, chosen)
            if good and self._oft is not None:
                after, oft, mask = self._oft(subset, finest(after), tf.constant(self.config.iterations))
                finite = mask.numpy().tolist()
                kept = [i for i in range(len(chosen)) if finite[i]]
                final = _inserted(initial, _rows(after, kept), [chosen[i] for i in kept])
            for row, good in zip(chosen, finite):
                reasons[row] = "" if good else "the objective is not finite"
        moving = self._moving(snippet.images, finest(final))
        both = tuning is not None and self._oft is not None
        return Refined(initial, final, tuned if both else None, moving, pft, oft, tuple(reasons))

    def _parameters_refined(
        self, pft: ParameterRefinement | None, snippet: Snippet, predictions: Predictions
    ) -> tuple[Predictions, History | None, bool]:
        """The predictions after PFT, or those given where it is not asked for or was not finite; and whether it was."""
        if pft is None:
            return predictions, None, True
        with kept_weights(self.model) as let_go:
            history, finite = pft.run(snippet)
            if finite:
                predictions = self.predict(snippet)
                if self.config.policy == "sequence":
                    let_go()
        return predictions, history, finite


def _rows(batch: Batch, rows: list[int]) -> Batch:
    return tf.nest.map_structure(lambda x: tf.gather(x, rows), batch)


def _inserted(old: Predictions, new: Predictions, rows: list[int]) -> Predictions:
    """`old` with `rows` of the batch taken from `new`."""
    where = [[row] for row in rows]
    return tf.nest.map_structure(lambda x, y: tf.tensor_scatter_nd_update(x, where, y), old, new)


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
    disagreement = norm(pairs.flow_pixels - pairs.rigid.pixels)
    moves = tf.cast(disagreement > MOTION_PIXELS + MOTION_SHARE * norm(pairs.flow), tf.float32)
    return split(pairs.flow_visible * moves, predictions.flows[0].shape[1])


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
