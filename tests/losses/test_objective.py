"""The objective: which frame goes with which pair, levels, weights, masks, precision."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from paper import PAPER_LOSS

from glnet_tf.geometry.evidence import Evidence
from glnet_tf.losses.objective import (
    LossWeights,
    compare,
    flow_agrees,
    image_pyramid,
    level_terms,
    objective,
    objectives,
)
from glnet_tf.structures import PAIRS, REVERSE, SCALES, LossReport, Predictions, Snippet

SIZE = (32, 64)
K = np.array([[40.0, 0, 31.5], [0, 40, 15.5], [0, 0, 1]])
CONFIG = PAPER_LOSS


def predictions(batch: int = 1, dtype: Any = np.float32, **changes: Any) -> Predictions:
    """Depth 2 everywhere, no flow, no motion."""
    sizes = [(SIZE[0] >> level, SIZE[1] >> level) for level in range(SCALES)]
    made = Predictions(
        disparities=tuple(tf.fill([batch, 3, h, w, 1], tf.constant(0.5, dtype)) for h, w in sizes),
        flows=tuple(tf.zeros([batch, 4, h, w, 2], dtype) for h, w in sizes),
        poses=tf.eye(4, batch_shape=[batch, 4], dtype=dtype),
        intrinsics=tf.constant(np.tile(K, (batch, 1, 1)), dtype),
    )
    return made._replace(**changes)


def random_predictions(batch: int = 1, dtype: Any = np.float32, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    base = predictions(batch, dtype)
    poses = np.tile(np.eye(4), (batch, 4, 1, 1))
    poses[..., :3, 3] = rng.uniform(-0.2, 0.2, (batch, 4, 3))
    return base._replace(
        disparities=tuple(tf.constant(rng.uniform(0.4, 0.6, d.shape), dtype) for d in base.disparities),
        flows=tuple(tf.constant(rng.uniform(-2, 2, f.shape), dtype) for f in base.flows),
        poses=tf.constant(poses, dtype),
    )


def snippet(images: np.ndarray) -> Snippet:
    batch = len(images)
    return Snippet(
        images=tf.constant(images),
        intrinsics=tf.constant(np.tile(K, (batch, 1, 1)), images.dtype),
        camera=tf.zeros([batch], tf.int32),
        index=tf.range(batch, dtype=tf.int64),
        mirrored=tf.zeros([batch], tf.bool),
    )


def random_images(batch: int = 1, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(5).uniform(size=(batch, 3, *SIZE, 3)).astype(dtype)


def weights(both: float = 0.0, dtype: Any = tf.float32, **terms: float) -> LossWeights:
    values = dict.fromkeys(LossReport._fields, 0.0)
    values.update(terms)
    return LossWeights(**{k: tf.constant(v, dtype) for k, v in values.items()}, two_branch=tf.constant(both, dtype))


def per_frame(values: list[float]) -> tf.Tensor:
    """A [1, 3, H, W, 1] map that is constant on each frame."""
    return tf.constant(np.array(values, np.float32)[None, :, None, None, None] * np.ones((1, 1, *SIZE, 1), np.float32))


def test_every_pair_compares_frame_a_with_frame_b_and_the_flow_from_b_back_to_a():
    flow = np.zeros((1, 4, *SIZE, 2), np.float32)
    flow[0, :, ..., 0] = np.array([1, 2, 3, 4])[:, None, None]
    made = predictions()
    made = made._replace(
        disparities=(1 / per_frame([2.0, 4.0, 8.0]), *made.disparities[1:]),
        flows=(flow, *made.flows[1:]),
    )
    images = per_frame([0.1, 0.5, 0.8]) * tf.ones([3])
    pair = compare(images, made, 0)
    colours, depths = [0.1, 0.5, 0.8], [2, 4, 8]
    for k, (a, b) in enumerate(PAIRS):
        np.testing.assert_allclose(pair.rigid_image[k], colours[b], atol=1e-6)
        np.testing.assert_allclose(pair.by_flow.image[k], colours[b], atol=1e-6)
        np.testing.assert_allclose(pair.rigid.planes[k, 2], depths[a], rtol=1e-6)
        np.testing.assert_allclose(pair.sampled_depth[k], depths[b], rtol=1e-6)
        np.testing.assert_array_equal(pair.by_flow.flow[k, 0, 0], [k + 1, 0])
        np.testing.assert_array_equal(pair.by_flow.returned[k, 0, 0], [REVERSE[k] + 1, 0])
        assert PAIRS[REVERSE[k]] == (b, a)
    # A point that is farther than what the other frame sees there is hidden.
    np.testing.assert_array_equal(pair.rigid_visible[:, 5, 5, 0], [depths[a] <= depths[b] for a, b in PAIRS])


def shifted_images(step: int) -> np.ndarray:
    """A texture that moves `step` pixels to the right from frame to frame."""
    texture = np.random.default_rng(1).uniform(size=(SIZE[0], SIZE[1] + 8, 3)).astype(np.float32)
    starts = [4 - step * (i - 1) for i in range(3)]
    return np.stack([texture[:, s : s + SIZE[1]] for s in starts])[np.newaxis]


def shift_flow(step: int) -> tf.Tensor:
    return tf.constant([step * (b - a) * np.eye(2)[0] * np.ones((*SIZE, 2)) for a, b in PAIRS], tf.float32)[tf.newaxis]


def test_true_flow_and_true_motion_explain_a_moving_texture():
    """At depth 2 and f = 40, a translation of 0.1 to the right is a flow of 2 pixels."""
    images = tf.constant(shifted_images(2))
    poses = np.tile(np.eye(4, dtype=np.float32), (1, 4, 1, 1))
    poses[0, :, 0, 3] = [0.1 * (b - a) for a, b in PAIRS]
    made = predictions(poses=tf.constant(poses))
    made = made._replace(flows=(shift_flow(2), *made.flows[1:]))
    pair = compare(images, made, 0)
    inner = (slice(None), slice(None), slice(4, -4))
    np.testing.assert_allclose(pair.by_flow.distance[inner], 0, atol=1e-4)
    np.testing.assert_allclose(pair.rigid_distance[inner], 0, atol=1e-3)
    np.testing.assert_allclose(pair.by_flow.returned, -pair.by_flow.flow, atol=1e-5)
    opposite = compare(images, made._replace(flows=(shift_flow(-2), *made.flows[1:])), 0)
    assert np.mean(opposite.by_flow.distance[inner]) > 0.2


def test_objective_is_the_weighted_sum_of_its_terms():
    made, batch = random_predictions(), snippet(random_images())
    values = dict(zip(LossReport._fields, [1.0, 0.2, 0.3, 0.4, 0.05, 0.6, 0.7, 0.8]))
    found = Evidence(*[tf.ones_like(made.disparities[0])] * 2)
    each = objectives(batch, made, weights(**values), dataclasses.replace(PAPER_LOSS, triangulation=0.8), found)
    total, report = tf.nest.map_structure(tf.reduce_mean, each)
    assert all(term > 1e-6 for term in report)
    np.testing.assert_allclose(total, sum(v * getattr(report, k) for k, v in values.items()), rtol=1e-5)


def test_objective_is_the_mean_over_levels():
    made, batch = random_predictions(), snippet(random_images())
    _, report = objective(batch, made, weights(), CONFIG)
    levels = [
        level_terms(images, made, level, tf.constant(0.0), CONFIG)
        for level, images in enumerate(image_pyramid(batch.images))
    ]
    np.testing.assert_allclose(report, np.mean(levels, axis=(0, 2)), rtol=1e-5)


def test_image_pyramid_keeps_frames_apart():
    levels = image_pyramid(per_frame([0.1, 0.5, 0.8]) * tf.ones([3]))
    assert [tuple(x.shape[1:4]) for x in levels] == [(3, 32, 64), (3, 16, 32), (3, 8, 16), (3, 4, 8)]
    np.testing.assert_allclose(levels[3][0, :, 0, 0, 0], [0.1, 0.5, 0.8], rtol=1e-6)


def test_runs_in_float64_and_agrees_with_float32():
    made, images = random_predictions(2, np.float64), random_images(2, np.float64)
    every = dict.fromkeys(LossReport._fields, 1.0)
    total, report = objective(snippet(images), made, weights(0.3, tf.float64, **every), CONFIG)
    assert total.dtype == tf.float64 and all(term.dtype == tf.float64 for term in report)
    single, _ = objective(
        snippet(images.astype(np.float32)),
        Predictions(*tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), tuple(made))),
        weights(0.3, **every),
        CONFIG,
    )
    np.testing.assert_allclose(single, total, rtol=1e-4)


def test_degenerate_predictions_give_finite_gradients():
    """A camera that passes through the scene, flows out of the image: nothing is visible, nothing is NaN."""
    made = predictions()
    poses = np.tile(np.eye(4, dtype=np.float32), (1, 4, 1, 1))
    poses[..., 2, 3] = -5.0
    made = made._replace(poses=tf.constant(poses), flows=tuple(flow + 1e4 for flow in made.flows))
    variables = [*made.disparities, *made.flows, made.poses, made.intrinsics]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        total, report = objective(
            snippet(random_images()), made, weights(0.5, **dict.fromkeys(LossReport._fields, 1.0)), CONFIG
        )
    assert np.isfinite(total) and report.photometric == 0 and report.structure == 0 and report.consistency == 0
    for gradient in tape.gradient(total, variables):
        assert gradient is None or np.isfinite(gradient).all()


def test_flow_agrees_with_the_rigid_flow_within_three_pixels_of_the_full_image():
    made = predictions()
    flow = np.zeros((1, 4, *SIZE, 2), np.float32)
    flow[0, :, :, 10], flow[0, :, :, 11] = [2.9, 0], [3.1, 0]
    images = tf.constant(random_images())
    agrees = flow_agrees(compare(images, made._replace(flows=(flow, *made.flows[1:])), 0), 0)
    np.testing.assert_array_equal(agrees[0, 5, 9:12, 0], [1, 1, 0])
    coarse = np.zeros((1, 4, SIZE[0] // 2, SIZE[1] // 2, 2), np.float32)
    coarse[0, :, :, 10], coarse[0, :, :, 11] = [1.4, 0], [1.6, 0]
    changed = made._replace(flows=(made.flows[0], tf.constant(coarse), *made.flows[2:]))
    agrees = flow_agrees(compare(image_pyramid(images)[1], changed, 1), 1)
    np.testing.assert_array_equal(agrees[0, 5, 9:12, 0], [1, 1, 0])


def object_that_moves_down() -> Predictions:
    """A static wall, the camera moves sideways; an object moves down by 6 px, and back in the opposite flow."""
    poses = np.tile(np.eye(4, dtype=np.float32), (1, 4, 1, 1))
    poses[0, :, 0, 3] = [0.1 * (b - a) for a, b in PAIRS]
    flow = shift_flow(2).numpy()
    for k, (a, b) in enumerate(PAIRS):
        flow[0, k, :, 20:40, 1] = 6 * (b - a)
    made = predictions(poses=tf.constant(poses))
    return made._replace(flows=(tf.constant(flow), *made.flows[1:]))


@pytest.mark.parametrize("distance", ["sampson", "algebraic"])
def test_static_mask_leaves_out_what_moves_by_itself(distance):
    made = object_that_moves_down()
    images = tf.constant(random_images())
    free, masked = (
        level_terms(
            images,
            made,
            0,
            tf.constant(0.0),
            dataclasses.replace(PAPER_LOSS, static_mask=mask, epipolar_distance=distance),
        ).epipolar
        for mask in (False, True)
    )
    assert free > 0.02
    np.testing.assert_allclose(masked, 0, atol=1e-5)


@pytest.mark.parametrize("camera", [True, False])
def test_the_epipolar_loss_may_hold_the_flow_to_the_camera_and_not_the_reverse(camera):
    made = random_predictions()
    with tf.GradientTape() as tape:
        tape.watch([made.poses, made.intrinsics, made.flows[0]])
        loss, _ = objective(
            snippet(random_images()),
            made,
            weights(epipolar=1.0),
            dataclasses.replace(PAPER_LOSS, epipolar_camera=camera),
        )
    poses, intrinsics, flow = tape.gradient(
        loss, [made.poses, made.intrinsics, made.flows[0]], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    assert np.any(flow)
    assert np.any(poses) == camera
    assert np.any(intrinsics) == camera


def test_the_objectives_of_a_batch_are_those_of_its_snippets():
    """Whatever a mask leaves of one snippet, the other's mean does not change."""
    one, two = (random_predictions(seed=seed) for seed in (0, 5))
    together = tf.nest.map_structure(lambda a, b: tf.concat([a, b], axis=0), one, two)
    images = np.concatenate([random_images(), random_images()[:, ::-1]])
    values = dict.fromkeys(LossReport._fields, 1.0)
    batch = snippet(images)._replace(intrinsics=together.intrinsics)
    both, _ = objectives(batch, together, weights(**values), CONFIG)
    alone = [
        objectives(snippet(images[i : i + 1]), p, weights(**values), CONFIG)[0][0] for i, p in enumerate((one, two))
    ]
    np.testing.assert_allclose(both, alone, rtol=1e-6)
    np.testing.assert_allclose(objective(batch, together, weights(**values), CONFIG)[0], np.mean(alone), rtol=1e-6)


def test_static_mask_of_the_rigid_terms_leaves_what_moves_by_itself_to_the_flow():
    """A wall, the camera moves sideways, and an object moves down: with the mask, depth there has no gradient."""
    made = object_that_moves_down()
    disparity = made.disparities[0]
    images = tf.constant(random_images())
    for mask in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(disparity)
            changed = made._replace(disparities=(disparity, *made.disparities[1:]))
            terms = level_terms(images, changed, 0, tf.constant(1.0), dataclasses.replace(PAPER_LOSS, static_mask=mask))
            loss = terms.photometric + terms.structure
        gradient = tape.gradient(loss, disparity)[0, 1]
        assert np.any(gradient[:, 4:16]) and np.any(gradient[:, 26:34]) != mask
