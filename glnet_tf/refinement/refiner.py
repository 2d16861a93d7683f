"""Online refinement: fusion, PFT, OFT, or the last two, of a snippet or a longer window (GLNet, section 3.6)."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from glnet_tf.config import REFINEMENT_LOSS, LossConfig, RefinementConfig
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.geometry.fast_ops import surroundings_mean
from glnet_tf.geometry.fusion import disagree, fused, fused_flow
from glnet_tf.geometry.rigid import rigid_correspondence
from glnet_tf.losses.objective import LossWeights, compare, loss_weights
from glnet_tf.losses.reduction import norm
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.levels import disparity_levels, evidence_signature, finest, finest_signature, with_levels
from glnet_tf.models.observation import Observation, Size, make_observe
from glnet_tf.refinement.history import History
from glnet_tf.refinement.oft import make_output_refinement
from glnet_tf.refinement.pft import ParameterRefinement, restored_weights
from glnet_tf.refinement.verification import Verification, verify
from glnet_tf.structures import (
    FRAMES,
    Predictions,
    Snippet,
    height_and_width,
    merge,
    ordered_pairs,
    pick,
    snippet_signature,
    split,
)

# What moves by itself looks more alike by flow than by rigid flow, by this photometric distance, in windows of so many
# pixels.
MIN_LIKENESS, LIKENESS_WINDOW = 0.02, 5
# Below this mean length of the flow, pixels, the camera counts as static; below this mean difference between
# neighbouring pixels, of grey values from 0 to 1, an image has no texture.
STATIC_FLOW = 0.1
MIN_TEXTURE = 1e-3
# What optimisation is held to where nothing is proved: the fused depth, with this weight.
MIN_WEIGHT = 0.1
DEFAULTS = RefinementConfig()
# The parts of every kind of refinement, in their order.
STAGES = {
    "none": ("none",),
    "fusion": ("none", "fusion"),
    "pft": ("none", "fusion", "pft"),
    "oft": ("none", "fusion", "oft"),
    "both": ("none", "fusion", "pft", "pft_oft"),
}

Batch = TypeVar("Batch", tf.Tensor, Predictions, Observation)


class Stage(NamedTuple):
    """What a part of the refinement made of a batch.

    Attributes:
      name: none (as predicted), fusion, pft, oft, or pft_oft, both.
      predictions: at the size of the depth.
      flow: [B, P, H, W, 2] at the images' own size, pixels.
    """

    name: str
    predictions: Predictions
    flow: tf.Tensor


class Refined(NamedTuple):
    """A batch of snippets or windows before and after.

    Attributes:
      stages: as predicted first, then after each part of the refinement; the last as it was verified, and equal to the
        first where `reasons` says why.
      confidence: [B, F, h, w, 1] how much of the fused depth is evidence, from 0 to 1.
      moving: [B, P, h, w, 1] 1.0 where flow and rigid flow of an ordered pair disagree: the object moves by itself.
      tried: the members of the batch that were to be refined: what `pft` and `oft` hold.
      pft, oft: the objective at their iterations, of the snippets that were tried; None if there was no such part.
      reasons: [B] why a snippet was not refined; empty where it was.
    """

    stages: tuple[Stage, ...]
    confidence: tf.Tensor
    moving: tf.Tensor
    tried: tuple[int, ...]
    pft: History | None
    oft: History | None
    reasons: tuple[str, ...]

    @property
    def initial(self) -> Predictions:
        """As predicted."""
        return self.stages[0].predictions

    @property
    def final(self) -> Predictions:
        """After the last part."""
        return self.stages[-1].predictions


class Refiner:
    """Refines batches of snippets, or of windows, of one size; nothing is traced again for the next batch.

    Args:
      model: trained, with its variables made. With config.policy "snippet" it leaves every call as it entered it, also
        when the call is interrupted; with "sequence" each call goes on from the parameters of the one before. Fusion
        and OFT never touch it.
      loss: the objective's weights and constants.
      config: what is refined, and how.
      frames: of a snippet or window.
      weights: of the objective's terms, if they are variables; None: those of `loss`, as constants.
      size: (h, w) at which DepthNet sees the frames, and of the results; None: that of its training.
      image_size: (H, W) of the snippets, at which flow is found; None: the same. Evidence needs flow exact: 1.5 times
        `size` is what `config.flow_scale` makes of it elsewhere.
      count: of the batches, which makes smaller graphs; None: any.

    Example:
      import glnet_tf
      from glnet_tf.config import DataConfig, RefinementConfig, StreetConfig
      from glnet_tf.data.pipeline import batches
      from glnet_tf.data.sources import open_source
      from glnet_tf.refinement.refiner import Refiner

      street = StreetConfig(streets=1, street_frames=4)  # rendered: no data needed, K and truth known
      data = DataConfig(dataset="street", image_height=192, image_width=640, batch_size=2, street=street)
      refiner = Refiner(
          glnet_tf.load("kitti-lite"), config=RefinementConfig(refine="fusion"), size=(128, 416), image_size=(192, 640)
      )
      for snippet in batches(open_source(data, "all"), data):
          refined = refiner(snippet)
          refined.initial.disparities[0]  # [2, 3, 128, 416, 1] inverse depth as predicted
          refined.final.disparities[0]  # [2, 3, 128, 416, 1] after fusion
          refined.reasons  # ("", ""): both were refined; else why not
    """

    def __init__(
        self,
        model: GLNet,
        loss: LossConfig = REFINEMENT_LOSS,
        config: RefinementConfig = DEFAULTS,
        frames: int = FRAMES,
        weights: LossWeights | None = None,
        size: Size | None = None,
        image_size: Size | None = None,
        count: int | None = None,
    ):
        self.model, self.config = model, config
        self.size = size or model.image_size
        self.image_size = image_size or self.size
        signature, given = (snippet_signature(*x, frames, count) for x in (self.size, self.image_size))
        weights = weights or loss_weights(loss, config.two_branch_weight)
        self.observe = tf.function(make_observe(model, self.size), input_signature=[given], autograph=False)
        self._pft = None
        if config.refine in ("pft", "both"):
            self._pft = ParameterRefinement(model, weights, loss, config, signature)
        free = model.source_of_intrinsics in ("learned", "predicted")
        refine_outputs = make_output_refinement(weights, loss, config, free)
        self._oft = None
        if config.refine in ("oft", "both"):
            self._oft = tf.function(
                refine_outputs,
                input_signature=[
                    signature,
                    finest_signature(signature),
                    evidence_signature(signature),
                    tf.TensorSpec([], tf.int32),
                ],
                autograph=False,
            )
        self._moving = tf.function(
            moving_mask,
            input_signature=[signature.images, finest_signature(signature)],
            autograph=False,
        )
        self._verify = tf.function(
            lambda images, initial, final: verify(images, initial, final, config.harm),
            input_signature=[signature.images, *[finest_signature(signature)] * 2],
            autograph=False,
        )
        self._with_depth = tf.function(
            with_depth,
            input_signature=[finest_signature(signature), finest_signature(signature).disparities[0]],
            autograph=False,
        )
        self._fused = tf.function(fused_disparity, autograph=False)
        self._fused_flow = tf.function(large_flow, autograph=False)

    def __call__(self, snippet: Snippet, outputs_only: bool = False) -> Refined:
        """Refines a batch; what cannot be refined comes back as the networks predicted it, with the reason.

        Args:
          snippet: the batch, of `image_size`; where the source knows no K, inference.snippets.assume_intrinsics gives
            one.
          outputs_only: leave PFT out, whatever config.refine says.

        Returns:
          The batch at every stage; inverse depth [B, F, h, w, 1] of `size`.
        """
        tuning = self._pft if not outputs_only else None
        sound = tf.where(tf.math.is_finite(snippet.images), snippet.images, 0.0)
        seen = self.observe(snippet._replace(images=sound))
        initial = seen.predictions
        reasons = obstacles(snippet, initial)
        chosen = [i for i, reason in enumerate(reasons) if not reason]
        named: list[tuple[str, Predictions]] = []
        pft = oft = None
        kept: list[int] = []
        if chosen and self.config.refine != "none":
            subset = _rows(seen, chosen)
            after = self._with_depth(finest(subset.predictions), subset.fused)
            named.append(("fusion", _inserted(initial, after, chosen)))
            finite = [True] * len(chosen)
            if tuning is not None:
                after, pft, good = self._parameters_refined(tuning, subset)
                finite = [good] * len(chosen)
                named.append(("pft", _inserted(initial, after, chosen)))
                disparity = self._fused(after.disparities[0], subset.evidence, subset.own_weight)
                after = self._with_depth(finest(after), disparity)
            if all(finite) and self._oft is not None:
                iterations = tf.constant(self.config.iterations)
                after, oft, mask = self._oft(
                    subset.snippet, finest(after), target(after.disparities[0], subset.confidence), iterations
                )
                if not self.config.oft_flow_rate:
                    after = self._with_depth(
                        finest(after)._replace(flows=subset.predictions.flows[:1]), after.disparities[0]
                    )
                finite = mask.numpy().tolist()
                named.append((STAGES[self._mode(outputs_only)][-1], _inserted(initial, after, chosen)))
            for row, good in zip(chosen, finite):
                reasons[row] = "" if good else "the objective is not finite"
            regions = final = named[-1][1]
            if seen.snippet.images.shape[1] >= FRAMES:
                verified = self._verify(seen.snippet.images, finest(initial), finest(final))
                for row in chosen:
                    reasons[row] = reasons[row] or self._harm(verified, row)
                regions = final._replace(disparities=disparity_levels(verified.disparity))
            kept = [i for i in chosen if not reasons[i]]
            named[-1] = named[-1][0], _inserted(initial, _rows(regions, kept), kept)
        stages = [Stage("none", initial, seen.flow)]
        for number, (name, predictions) in enumerate(named, start=1):
            rows = kept if number == len(named) else chosen
            flow = self._fused_flow(*(_rows(x, rows) for x in (seen.flow, finest(predictions)))) if rows else None
            stages.append(Stage(name, predictions, seen.flow if flow is None else _inserted(seen.flow, flow, rows)))
        # Where nothing could be refined, every part leaves what it was given.
        for name in STAGES[self._mode(outputs_only)][len(stages) :]:
            stages.append(stages[-1]._replace(name=name))
        return Refined(
            stages=tuple(stages),
            confidence=seen.confidence,
            moving=self._moving(seen.snippet.images, finest(stages[-1].predictions)),
            tried=tuple(chosen),
            pft=pft,
            oft=oft,
            reasons=tuple(reasons),
        )

    def _mode(self, outputs_only: bool) -> str:
        return "oft" if outputs_only else self.config.refine

    def _harm(self, verified: Verification, row: int) -> str:
        """Why a member of a batch is better left as predicted, empty if it is not."""
        before, after = float(verified.initial[row]), float(verified.final[row])
        if after <= before * (1 + self.config.harm):
            return ""
        return f"verified as worse: frames two apart look alike to {after:.4f} through it, {before:.4f} before"

    def _parameters_refined(
        self, pft: ParameterRefinement, seen: Observation
    ) -> tuple[Predictions, History | None, bool]:
        """The predictions after PFT, or those before where it was not finite; and whether it was."""
        with restored_weights(self.model) as keep:
            history, finite = pft.run(seen.snippet, seen.predictions, target(seen.fused, seen.confidence))
            if not finite:
                return seen.predictions, history, False
            if self.config.policy == "sequence":
                keep()
            return pft.predict(seen.snippet, finest(seen.predictions)), history, True


def target(disparity: tf.Tensor, confidence: tf.Tensor) -> Evidence:
    """Returns what optimisation is held to: the fused inverse depth, by its confidence, both [B, F, h, w, 1]."""
    return Evidence(tf.math.log(disparity), MIN_WEIGHT + (1 - MIN_WEIGHT) * confidence)


def fused_disparity(disparity: tf.Tensor, found: Evidence, own_weight: tf.Tensor) -> tf.Tensor:
    """Returns inverse depth after fusion with evidence, all [B, F, h, w, 1]; `own_weight` as for fused."""
    fusion = fused(tf.math.log(merge(disparity)), Evidence(*map(merge, found)), merge(own_weight))
    return split(tf.exp(fusion.log_disparity), disparity.shape[1])


def with_depth(predictions: Predictions, disparity: tf.Tensor) -> Predictions:
    """Returns predictions with another inverse depth, [B, F, h, w, 1], and flow that is rigid where it was no match."""
    flow = _with_rigid_flow(predictions.flows[0], disparity, predictions.poses, predictions.intrinsics)
    return with_levels(disparity, flow, predictions.poses, predictions.intrinsics)


def large_flow(flow: tf.Tensor, final: Predictions) -> tf.Tensor:
    """Returns the flow that belongs to refined depth and motion at the size at which flow was found.

    Args:
      flow: [B, P, H, W, 2] as the networks found it.
      final: refined; the finest level is enough.
    """
    size, frames = height_and_width(flow), final.disparities[0].shape[1]
    disparity = split(tf.image.resize(merge(final.disparities[0]), size), frames)
    return _with_rigid_flow(
        flow, disparity, final.poses, resize_intrinsics(final.intrinsics, height_and_width(final.disparities[0]), size)
    )


def _with_rigid_flow(flow: tf.Tensor, disparity: tf.Tensor, poses: tf.Tensor, intrinsics: tf.Tensor) -> tf.Tensor:
    pairs = ordered_pairs(disparity.shape[1])
    count = len(pairs.first)
    depth = 1 / pick(disparity, pairs.first)
    rigid = rigid_correspondence(depth, tf.repeat(intrinsics, count, axis=0), merge(poses))
    return split(fused_flow(merge(flow), pick(flow, pairs.reverse), rigid.pixels), count)


def _rows(batch: Batch, rows: list[int]) -> Batch:
    return tf.nest.map_structure(lambda x: tf.gather(x, np.array(rows, np.int32)), batch)


def _inserted(old: Batch, new: Batch, rows: list[int]) -> Batch:
    """`old` with `rows` of the batch taken from `new`."""
    where = np.array(rows, np.int32)[:, np.newaxis]
    return tf.nest.map_structure(lambda x, y: tf.tensor_scatter_nd_update(x, where, y), old, new)


def refine(
    model: GLNet, snippet: Snippet, config: RefinementConfig = DEFAULTS, loss: LossConfig = REFINEMENT_LOSS
) -> Refined:
    """Refines one batch; for several, make one Refiner, which compiles only once."""
    return Refiner(model, loss, config, snippet.images.shape[1])(snippet)


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
        elif texture[i] < MIN_TEXTURE:
            reasons.append(f"no texture: neighbouring pixels differ by {texture[i]:.2g} of 1")
        elif flow[i] < STATIC_FLOW:
            reasons.append(f"static camera: the mean flow is {flow[i]:.2g} pixels")
        else:
            reasons.append("")
    return reasons


def moving_mask(images: tf.Tensor, predictions: Predictions) -> tf.Tensor:
    """Returns 1.0 where flow and rigid flow of an ordered pair disagree and the flow is to be trusted, [B, P, H, W, 1].

    Args:
      images: [B, F, H, W, 3].
      predictions: of them; the finest level is enough.
    """
    pairs = compare(images, predictions, 0)
    moves = disagree(norm(pairs.by_flow.pixels - pairs.rigid.pixels), norm(pairs.by_flow.flow))
    # On sky and bare road flow is a guess, and images look as much alike by either.
    moves &= surroundings_mean(pairs.rigid_distance - pairs.by_flow.distance, LIKENESS_WINDOW) > MIN_LIKENESS
    return split(pairs.by_flow.visible * tf.cast(moves, tf.float32), predictions.flows[0].shape[1])
