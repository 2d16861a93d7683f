"""The objective of GLNet: its six terms, and two of ours, over four ordered pairs and four pyramid levels, in float32.

`compare` finds everything two frames say about each other once; the terms are read off it, and so are the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Callable, NamedTuple

import tensorflow as tf

from glnet_tf.config import LossConfig
from glnet_tf.geometry.camera import pixel_grid, pyramid_intrinsics
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.geometry.fast_ops import compiled
from glnet_tf.geometry.rigid import RigidCorrespondence, rigid_correspondence
from glnet_tf.geometry.sampling import pyramid, warp
from glnet_tf.geometry.triangulation import triangulate
from glnet_tf.geometry.visibility import depth_visible, flow_visible
from glnet_tf.losses.consistency import consistency_loss
from glnet_tf.losses.epipolar import epipolar_loss
from glnet_tf.losses.evidence import evidence_loss
from glnet_tf.losses.photometric import Moments, adaptive_photometric_loss, moments, photometric_distance
from glnet_tf.losses.reduction import norm
from glnet_tf.losses.smoothness import Edges, depth_smoothness, edge_weights, flow_smoothness
from glnet_tf.losses.structure import structure_loss
from glnet_tf.losses.triangulation import TriangulationTarget, target_pyramid, triangulation_loss
from glnet_tf.structures import (
    SCALES,
    LossReport,
    Predictions,
    Snippet,
    dimension,
    height_and_width,
    merge,
    ordered_pairs,
    pick,
    split,
)

# Flow and its return may differ by this much before a pixel counts as occluded: pixels, share of the flow.
OCCLUSION_ALPHA = 3.0
OCCLUSION_BETA = 0.05
# A point this far behind the surface on its ray, relative to its depth, counts as occluded.
DEPTH_TOLERANCE = 0.1


class LossWeights(NamedTuple):
    """The weights of the terms and the share of the two-branch photometric loss; variables may change between steps."""

    photometric: tf.Tensor
    structure: tf.Tensor
    epipolar: tf.Tensor
    depth_smoothness: tf.Tensor
    flow_smoothness: tf.Tensor
    consistency: tf.Tensor
    triangulation: tf.Tensor
    evidence: tf.Tensor
    two_branch: tf.Tensor


def loss_weights(
    config: LossConfig, two_branch: float, made: Callable[[float], tf.Tensor | tf.Variable] = tf.constant
) -> LossWeights:
    """Returns the weights of the terms, as constants or, for weights that change between steps, as variables.

    Args:
      config: the weights.
      two_branch: share of the two-branch photometric loss.
      made: makes the tensor or variable of a number.
    """
    terms = {name: made(getattr(config, name)) for name in LossReport._fields}
    return LossWeights(**terms, two_branch=made(two_branch))


class FlowComparison(NamedTuple):
    """What frames and flow of every ordered pair say at one level, whatever depth and motion are; N = B * P.

    Attributes:
      edges: of every frame.
      moments_a: I_a, with its window moments.
      image_b: [N, h, w, 3] I_b.
      flow: [N, h, w, 2] F_ab in pixels of this level.
      pixels: [N, h, w, 2] p_flow.
      image: [N, h, w, 3] I_b<p_flow>.
      distance: [N, h, w, 1] photometric distance of I_a and I_b<p_flow>.
      returned: [N, h, w, 2] F_ba<p_flow>.
      valid: [N, h, w, 1] p_flow inside the image.
      visible: [N, h, w, 1] valid and, as flow and returned flow tell, not occluded.
      smoothness, consistency: [N] terms of the flow.
    """

    edges: Edges
    moments_a: Moments
    image_b: tf.Tensor
    flow: tf.Tensor
    pixels: tf.Tensor
    image: tf.Tensor
    distance: tf.Tensor
    returned: tf.Tensor
    valid: tf.Tensor
    visible: tf.Tensor
    smoothness: tf.Tensor
    consistency: tf.Tensor


class Comparison(NamedTuple):
    """What frames a and b of every ordered pair say about each other at one level; N = B * P.

    Attributes:
      intrinsics: [N, 3, 3] K at this level.
      poses: [N, 4, 4] T_ab.
      rigid: p_rig of frame a's pixels.
      rigid_image: [N, h, w, 3] I_b<p_rig>.
      rigid_distance: [N, h, w, 1] photometric distance of I_a and I_b<p_rig>.
      sampled_depth: [N, h, w, 1] D_b<p_rig>, interpolated as inverse depth, which is exact on planes.
      rigid_visible: [N, h, w, 1] p_rig valid and not behind another surface.
      by_flow: the same of p_flow.
    """

    intrinsics: tf.Tensor
    poses: tf.Tensor
    rigid: RigidCorrespondence
    rigid_image: tf.Tensor
    rigid_distance: tf.Tensor
    sampled_depth: tf.Tensor
    rigid_visible: tf.Tensor
    by_flow: FlowComparison


def image_pyramid(images: tf.Tensor) -> list[tf.Tensor]:
    """Returns the snippet's images, [B, F, H, W, 3], at every level: [B, F, h, w, 3]."""
    return [split(level, images.shape[1]) for level in pyramid(merge(images), SCALES)]


def compare_by_flow(images: tf.Tensor, flows: tf.Tensor, level: int) -> FlowComparison:
    """Compares the images of every ordered pair at one level, [B, F, h, w, 3], by its flow there, [B, P, h, w, 2]."""
    frames, (first, second, reverse) = images.shape[1], ordered_pairs(images.shape[1])

    def of_first(maps: tf.Tensor) -> tf.Tensor:
        return pick(split(maps, frames), first)

    # Of frames, each computed once.
    edges, of_frames = edge_weights(merge(images)), moments(merge(images))
    moments_a, image_b = Moments(*map(of_first, of_frames)), pick(images, second)
    flow = merge(flows)
    pixels = pixel_grid(*height_and_width(flow), flow.dtype) + flow
    sampled, valid = warp(tf.concat([image_b, pick(flows, reverse)], axis=-1), pixels)
    image, returned = tf.split(sampled, [3, 2], axis=-1)
    visible = valid * flow_visible(flow, returned, OCCLUSION_ALPHA / 2**level, OCCLUSION_BETA)
    return FlowComparison(
        edges=edges,
        moments_a=moments_a,
        image_b=image_b,
        flow=flow,
        pixels=pixels,
        image=image,
        distance=photometric_distance(moments_a, moments(image)),
        returned=returned,
        valid=valid,
        visible=visible,
        smoothness=flow_smoothness(flow, Edges(*map(of_first, edges)), level),
        consistency=consistency_loss(flow, returned, visible),
    )


def compare(
    images: tf.Tensor, predictions: Predictions, level: int, by_flow: FlowComparison | None = None
) -> Comparison:
    """Finds rigid and flow correspondences of every ordered pair at one level and compares the images there.

    Args:
      images: [B, F, h, w, 3] at this level.
      predictions: GLNet's, all levels.
      level: s = 0..3.
      by_flow: from compare_by_flow, where flow and images are those of before.
    """
    by_flow = by_flow or compare_by_flow(images, predictions.flows[level], level)
    disparity, (first, second, _) = predictions.disparities[level], ordered_pairs(images.shape[1])
    intrinsics = tf.repeat(pyramid_intrinsics(predictions.intrinsics, level), len(first), axis=0)
    poses = merge(predictions.poses)
    rigid = rigid_correspondence(tf.math.reciprocal(pick(disparity, first)), intrinsics, poses)
    sampled, _ = warp(tf.concat([by_flow.image_b, pick(disparity, second)], axis=-1), rigid.pixels)
    rigid_image, sampled_disparity = tf.split(sampled, [3, 1], axis=-1)
    sampled_depth = tf.math.reciprocal(sampled_disparity)
    return Comparison(
        intrinsics=intrinsics,
        poses=poses,
        rigid=rigid,
        rigid_image=rigid_image,
        rigid_distance=photometric_distance(by_flow.moments_a, moments(rigid_image)),
        sampled_depth=sampled_depth,
        rigid_visible=rigid.valid * depth_visible(rigid.depth, sampled_depth, DEPTH_TOLERANCE),
        by_flow=by_flow,
    )


def flow_agrees(pair: Comparison, level: int) -> tf.Tensor:
    """Returns 1.0 where flow and rigid flow agree, [N, h, w, 1]: the pixel's object does not move by itself."""
    flow, pixels = pair.by_flow.flow, pair.by_flow.pixels
    allowed = tf.maximum(OCCLUSION_ALPHA / 2**level, OCCLUSION_BETA * norm(flow))
    return tf.stop_gradient(tf.cast(norm(pixels - pair.rigid.pixels) <= allowed, flow.dtype))


def level_terms(
    images: tf.Tensor,
    predictions: Predictions,
    level: int,
    two_branch: tf.Tensor,
    config: LossConfig,
    target: TriangulationTarget | None = None,
    planar: bool = False,
    by_flow: FlowComparison | None = None,
) -> LossReport:
    """Returns the terms at one level, [B] each, averaged over the pairs.

    Args:
      images: [B, F, h, w, 3] at this level.
      predictions: GLNet's, all levels.
      level: s = 0..3.
      two_branch: share of the two-branch photometric loss.
      config: constants and masks.
      target: from triangulation_targets, of this level; None: no triangulation.
      planar: which smoothness of depth, see depth_smoothness.
      by_flow: see compare.
    """
    pair = compare(images, predictions, level, by_flow)
    flow = pair.by_flow
    grid = pixel_grid(*height_and_width(images), images.dtype)
    static = flow_agrees(pair, level) if config.static_mask else 1.0
    camera = (pair.poses, pair.intrinsics)
    if not config.epipolar_camera:
        camera = tuple(tf.stop_gradient(x) for x in camera)
    of_pairs = LossReport(
        photometric=adaptive_photometric_loss(
            pair.rigid_distance, pair.rigid.valid * static, flow.distance, flow.valid, two_branch
        ),
        structure=structure_loss(pair.rigid, pair.sampled_depth, pair.rigid_visible * static),
        epipolar=epipolar_loss(grid, flow.pixels, *camera, flow.visible * static, config.epipolar_distance),
        depth_smoothness=depth_smoothness(merge(predictions.disparities[level]), flow.edges, level, planar),
        flow_smoothness=flow.smoothness,
        consistency=flow.consistency,
        triangulation=(
            triangulation_loss(pick(predictions.disparities[level], ordered_pairs(images.shape[1]).first), target)
            if target
            else tf.zeros_like(pair.poses[:, 0, 0])
        ),
        evidence=tf.zeros_like(pair.poses[:, 0, 0]),
    )
    count = dimension(images, 0)
    return LossReport(*(tf.reduce_mean(tf.reshape(term, [count, -1]), axis=1) for term in of_pairs))


def triangulation_targets(images: tf.Tensor, predictions: Predictions) -> list[TriangulationTarget]:
    """Returns what flow and motion teach the inverse depth of frame a of every pair, at every level; no gradient.

    Args:
      images: [B, F, H, W, 3].
      predictions: GLNet's; the finest level is enough.
    """
    flows = tf.stop_gradient(predictions.flows[0])
    flow, (first, _, reverse) = merge(flows), ordered_pairs(images.shape[1])
    grid = pixel_grid(*height_and_width(flow), flow.dtype)
    returned, valid = warp(pick(flows, reverse), grid + flow)
    visible = valid * flow_visible(flow, returned, OCCLUSION_ALPHA / 2, OCCLUSION_BETA)
    intrinsics = tf.repeat(predictions.intrinsics, len(reverse), axis=0)
    found = triangulate(flow, *(tf.stop_gradient(x) for x in (intrinsics, merge(predictions.poses))))
    return target_pyramid(found, visible, pick(images, first))


def objectives(
    snippet: Snippet,
    predictions: Predictions,
    weights: LossWeights,
    config: LossConfig,
    found: Evidence | None = None,
    planar: bool = False,
    by_flow: Sequence[FlowComparison | None] = (None,) * SCALES,
) -> tuple[tf.Tensor, LossReport]:
    """Returns GLNet's objective of each snippet, [B], and its unweighted terms, both averaged over pairs and levels.

    Args:
      snippet, predictions: B of them.
      weights, config: of the terms.
      found: [B, F, H, W, 1] evidence about the depth of the frames; None: it is not held to any.
      planar: which smoothness of depth, see depth_smoothness.
      by_flow: of every level, see compare.
    """
    target = triangulation_targets(snippet.images, predictions) if config.triangulation else [None] * SCALES
    two_branch = tf.convert_to_tensor(weights.two_branch)
    levels = [
        compiled(
            partial(level_terms, images, predictions, level, two_branch, config, target[level], planar, by_flow[level])
        )
        for level, images in enumerate(image_pyramid(snippet.images))
    ]
    report = LossReport(*(tf.add_n(list(term)) * (1 / SCALES) for term in zip(*levels)))
    if found is not None:
        of_frames = evidence_loss(tuple(map(merge, predictions.disparities)), Evidence(*map(merge, found)))
        report = report._replace(evidence=tf.reduce_mean(split(of_frames, snippet.images.shape[1]), axis=1))
    total = tf.add_n([weight * term for weight, term in zip(weights, report)])
    return total, report


def objective(
    snippet: Snippet, predictions: Predictions, weights: LossWeights, config: LossConfig
) -> tuple[tf.Tensor, LossReport]:
    """Returns the mean of `objectives` over a batch, and that of the terms: scalars."""
    return tf.nest.map_structure(tf.reduce_mean, objectives(snippet, predictions, weights, config))
