"""What is known of a window before anything is optimised: the networks' predictions, and the evidence of their flow."""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf

from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.geometry.evidence import Evidence, PairEvidence, merged_evidence, pair_evidence, with_ground
from glnet_tf.geometry.fusion import fused
from glnet_tf.geometry.ground import Ground
from glnet_tf.geometry.transform import scaled_translation
from glnet_tf.models.glnet import GLNet, both_ways
from glnet_tf.models.levels import with_levels
from glnet_tf.models.sizes import Size
from glnet_tf.structures import Predictions, Snippet, height_and_width, merge, ordered_pairs, pick, split


class Observation(NamedTuple):
    """A batch of snippets or windows as the networks see it.

    Attributes:
      snippet: its images and K at DepthNet's size.
      predictions: at that size; flow and motion come from the larger images, and translations fit the depth.
      flow: [B, P, H, W, 2] at the images' own size, pixels.
      evidence: [B, F, h, w, 1] about the frames, at that size and in the scale of their depth; with the ground.
      own_weight: [B, F, h, w, 1] weight of the networks' own depth beside it, see with_ground.
      fused: [B, F, h, w, 1] inverse depth after fusion, and
      confidence: [B, F, h, w, 1] how much of it is evidence, from 0 to 1.
    """

    snippet: Snippet
    predictions: Predictions
    flow: tf.Tensor
    evidence: Evidence
    own_weight: tf.Tensor
    fused: tf.Tensor
    confidence: tf.Tensor


def make_observe(model: GLNet, size: Size | None = None) -> Callable[[Snippet], Observation]:
    """Returns the function that observes snippets.

    Args:
      model: trained.
      size: (h, w) at which DepthNet sees the frames; flow is found at the images' own size, which is larger, or the
        same. None: the same.
    """

    def observe(snippet: Snippet) -> Observation:
        frames, large = snippet.images.shape[1], height_and_width(snippet.images)

        def reduced(maps: tf.Tensor) -> tf.Tensor:
            return maps if size is None else split(_area(merge(maps), size), maps.shape[1])

        seen, found, own_weight, _, logarithm = predicted_with_evidence(model, snippet, size)
        fusion = fused(logarithm, found, own_weight)
        weight = reduced(split(found.weight, frames))
        weighted = reduced(split(found.weight * found.log_disparity, frames))
        small = size or large
        ratio = tf.cast([small[1] / large[1], small[0] / large[0]], tf.float32)
        predictions = with_levels(
            seen.disparities[0],
            reduced(seen.flows[0]) * ratio,
            seen.poses,
            resize_intrinsics(seen.intrinsics, large, small),
        )
        return Observation(
            snippet=snippet._replace(
                images=reduced(snippet.images), intrinsics=resize_intrinsics(snippet.intrinsics, large, small)
            ),
            predictions=predictions._replace(disparities=seen.disparities),
            flow=seen.flows[0],
            evidence=Evidence(tf.math.divide_no_nan(weighted, weight), weight),
            own_weight=reduced(split(own_weight, frames)),
            fused=tf.exp(reduced(split(fusion.log_disparity, frames))),
            confidence=reduced(split(fusion.confidence, frames)),
        )

    return observe


def predicted_with_evidence(
    model: GLNet, snippet: Snippet, size: Size | None
) -> tuple[Predictions, Evidence, tf.Tensor, Ground, tf.Tensor]:
    """Returns predictions and evidence about the frames, at the images' size; arguments as for make_observe.

    Returns:
      predictions, with poses whose translations fit the depth; the depth has its own size.
      evidence about the frames, [B * F, H, W, 1], in the scale of the depth, with the ground; the weight of the
      networks' own depth beside it, and the ground, see with_ground.
      [B * F, H, W, 1] logarithm of the inverse depth, enlarged.
    """
    frames = snippet.images.shape[1]
    seen = model(snippet, depth_size=size)
    logarithm = tf.image.resize(tf.math.log(merge(seen.disparities[0])), height_and_width(snippet.images))
    found, poses = frame_evidence(seen.flows[0], seen.poses, seen.intrinsics, logarithm)
    found, own_weight, ground = with_ground(found, logarithm, tf.repeat(seen.intrinsics, frames, axis=0))
    return seen._replace(poses=poses), found, own_weight, ground, logarithm


def frame_evidence(
    flows: tf.Tensor, poses: tf.Tensor, intrinsics: tf.Tensor, log_disparity: tf.Tensor
) -> tuple[Evidence, tf.Tensor]:
    """Returns what the flow to both neighbours proves about every frame, and poses whose translations fit the depth.

    Args:
      flows: [B, P, H, W, 2] of the ordered pairs, as the networks predict them.
      poses: [B, P, 4, 4].
      intrinsics: [B, 3, 3] K in pixels of this size.
      log_disparity: [B * F, H, W, 1] logarithm of the networks' inverse depth.

    Returns:
      evidence, [B * F, H, W, 1], without the ground; poses, [B, P, 4, 4].
    """
    count = flows.shape[1]
    frames, reverse = count // 2 + 1, ordered_pairs(count // 2 + 1).reverse
    pairs = pair_evidence(merge(flows), pick(flows, reverse), tf.repeat(intrinsics, count, axis=0), merge(poses))
    to_next, to_previous = zip(*(tf.split(split(x, count), 2, axis=1) for x in pairs))
    # The last frame has no next one, the first none before.
    last, first = [[0, 0], [0, 1], *[[0, 0]] * 3], [[0, 0], [1, 0], *[[0, 0]] * 3]
    neighbours = [
        PairEvidence(*(merge(tf.pad(x, padding)) for x in half))
        for half, padding in ((to_next, last), (to_previous, first))
    ]
    found, scales = merged_evidence(neighbours, log_disparity)
    onwards, back = (split(x[:, 0, 0, 0], frames) for x in scales)
    # Frame a's depth and frame b's each give the translation between them a length, by what they prove.
    weights = (split(tf.reduce_sum(x.alone().weight, axis=[1, 2, 3]), frames) for x in neighbours)
    of_a, of_b = (x[:, part] for x, part in zip(weights, (slice(None, -1), slice(1, None))))
    length = tf.exp(tf.math.divide_no_nan(of_a * onwards[:, :-1] + of_b * back[:, 1:], of_a + of_b))
    forward = scaled_translation(poses[:, : frames - 1], length)
    return found, both_ways(forward)


def _area(maps: tf.Tensor, size: Size) -> tf.Tensor:
    """[N, H, W, C] at another size: means over areas."""
    return tf.ensure_shape(tf.image.resize(maps, size, method="area"), [None, *size, maps.shape[-1]])
