"""OFT on the rendered street: it stays at the truth, comes back from a disturbed depth, and each snippet by itself."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Callable

import numpy as np
import pytest
import tensorflow as tf
from street_truth import Scene, true_scene

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.losses.objective import loss_weights
from glnet_tf.models.levels import evidence_signature, finest, finest_signature
from glnet_tf.models.observation import frame_evidence
from glnet_tf.refinement.history import PATIENCE, History
from glnet_tf.refinement.oft import make_output_refinement, prior, start
from glnet_tf.structures import Predictions, Snippet, merge, snippet_signature, split

SIZE = (64, 224)
LOSS = LossConfig(evidence=0.5, depth_smoothness=0.02, flow_smoothness=0.1, static_mask=True)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [true_scene(SIZE, seed, first) for seed, first in ((1, 3), (2, 5))]


def snippet(images: tf.Tensor, intrinsics: tf.Tensor) -> Snippet:
    batch = images.shape[0]
    return Snippet(
        images, intrinsics, tf.zeros([batch], tf.int32), tf.range(batch, dtype=tf.int64), tf.zeros([batch], tf.bool)
    )


@pytest.fixture(scope="module")
def refined() -> Callable[..., tuple[Predictions, History, tf.Tensor]]:
    """OFT compiled once, for images of any size, as it is exported; its settings are variables here."""
    defaults = {**dataclasses.asdict(RefinementConfig()), "oft_intrinsics_rate": 0.0}
    variables = {name: tf.Variable(value) for name, value in defaults.items() if isinstance(value, float)}
    weights = loss_weights(LOSS, two_branch=1.0)
    oft = make_output_refinement(weights, LOSS, SimpleNamespace(**variables), free_intrinsics=True)
    signature = snippet_signature(None, None)
    compiled = tf.function(
        oft,
        input_signature=[
            signature,
            finest_signature(signature),
            evidence_signature(signature),
            tf.TensorSpec([], tf.int32),
        ],
        autograph=False,
    )

    def refine(
        scenes: list[Scene], start: list[Predictions], iterations: int, proved: bool = False, **settings: float
    ) -> tuple[Predictions, History, tf.Tensor]:
        for name, variable in variables.items():
            variable.assign(settings.get(name, defaults[name]))
        together = finest(tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *start))
        images = tf.concat([scene.images for scene in scenes], axis=0)
        found = Evidence(*[tf.zeros_like(together.disparities[0])] * 2)
        if proved:
            logarithm = tf.math.log(merge(together.disparities[0]))
            found, _ = frame_evidence(together.flows[0], together.poses, together.intrinsics, logarithm)
            found = Evidence(*(split(x, 3) for x in found))
        return compiled(snippet(images, together.intrinsics), together, found, tf.constant(iterations))

    return refine


def depth_error(scene: Scene, predictions: Predictions, row: int = 0) -> float:
    """Mean relative error of the middle frame's depth where the truth is nearer than 40 m, after median scaling."""
    truth, depth = 1 / scene.truth.disparities[0][0, 1].numpy(), 1 / predictions.disparities[0][row, 1].numpy()
    near = truth < 40
    ratio = depth[near] / truth[near]
    return float(np.mean(np.abs(ratio / np.median(ratio) - 1)))


def disturbed(scene: Scene, size: float) -> Predictions:
    """The truth with a depth that is wrong by waves across the image."""
    x = np.linspace(0, 4 * np.pi, SIZE[1], dtype=np.float32)[np.newaxis, :, np.newaxis]
    y = np.linspace(0, 2 * np.pi, SIZE[0], dtype=np.float32)[:, np.newaxis, np.newaxis]
    wave = np.exp(size * np.sin(x) * np.cos(y))
    levels = [scene.truth.disparities[0] * wave]
    return scene.truth._replace(disparities=(*levels, *scene.truth.disparities[1:]))


def test_at_the_truth_it_stays(scenes, refined):
    """The photometric minimum of interpolated pixels is not exactly the truth; the prior holds what it is sure of."""
    truths = [scene.truth for scene in scenes]
    after, history, finite = refined(scenes, truths, 30, prior=0.1)
    assert finite.numpy().all()
    for row, scene in enumerate(scenes):
        assert depth_error(scene, after, row) < 0.03
    assert np.mean(np.abs(after.flows[0] - tf.concat([truth.flows[0] for truth in truths], 0))) < 0.1


def test_a_disturbed_depth_moves_back(scenes, refined):
    """By the evidence of its flow and by the images: no network takes part."""
    start = [disturbed(scene, 0.6) for scene in scenes]
    after, history, _ = refined(
        scenes, start, 30, proved=True, oft_depth_rate=0.02, oft_flow_rate=0.0, oft_pose_rate=0.0
    )
    assert np.all(history.total[-1] < 0.95 * history.total[0])
    for row, (scene, before) in enumerate(zip(scenes, start)):
        assert depth_error(scene, after, row) < depth_error(scene, before) / 2


def test_the_prior_holds_the_outputs(scenes, refined):
    start = [disturbed(scenes[0], 0.6)]

    def change(prior: float) -> float:
        after, _, _ = refined(scenes[:1], start, 30, oft_flow_rate=0.0, oft_pose_rate=0.0, prior=prior)
        return float(np.mean(np.abs(np.log(after.disparities[0] / start[0].disparities[0]))))

    free, held = change(RefinementConfig().prior), change(100.0)
    assert held < 0.1 * free


def test_the_prior_counts_every_change_in_its_unit(scenes):
    initial = scenes[0].truth
    nothing = start(initial, free_flow=True).corrections
    changes = {
        "motion": tf.constant([0.002, 0, 0, 0, 0.03, 0])[tf.newaxis, tf.newaxis] * tf.ones([1, 2, 1]),
        "camera": tf.constant([[0.05, 0.05, 0.0]]),
        "log_disparity": tuple(0.2 * float(i == 1) + x for i, x in enumerate(nothing.log_disparity)),
        "flow": tuple(0.5 * float(i == 0) + x for i, x in enumerate(nothing.flow)),
    }
    for name, expected in {"motion": 2 / 3, "camera": 2 / 3, "log_disparity": 1, "flow": 1}.items():
        corrections = nothing._replace(**{name: changes[name]})
        found = prior(corrections)
        np.testing.assert_allclose(found, [expected], rtol=1e-3)


def test_a_batch_is_refined_as_its_snippets_one_by_one(scenes, refined):
    start = [disturbed(scene, 0.3) for scene in scenes]
    together, history, _ = refined(scenes, start, 5)
    for row, (scene, before) in enumerate(zip(scenes, start)):
        alone, its_history, _ = refined([scene], [before], 5)
        np.testing.assert_allclose(history.total[:, row], its_history.total[:, 0], rtol=5e-3)
        ratio = together.disparities[0][row] / alone.disparities[0][0]
        assert np.mean(np.abs(ratio - 1)) < 1e-3
        np.testing.assert_allclose(together.poses[row], alone.poses[0], atol=1e-3)


def test_it_stops_when_the_objective_stalls(scenes, refined):
    """With so large a least share no fall of the objective is enough."""
    _, history, _ = refined(scenes, [scene.truth for scene in scenes], 30, stall=0.999)
    assert history.total.shape[0] == PATIENCE + 1


def test_what_is_not_finite_comes_back_as_it_was_and_spoils_no_other(scenes, refined):
    start = [scenes[0].truth, disturbed(scenes[1], 0.3)]
    broken = scenes[0]._replace(images=scenes[0].images * np.nan)
    after, _, finite = refined([broken, scenes[1]], start, 10)
    np.testing.assert_array_equal(finite, [False, True])
    np.testing.assert_array_equal(after.disparities[0][0], start[0].disparities[0][0])
    assert np.all(np.isfinite(after.disparities[0])) and np.any(after.disparities[0][1] != start[1].disparities[0][0])


def test_intrinsics_are_one_for_all_frames(scenes, refined):
    """A focal length that is wrong by a fifth moves towards the true one."""
    truth = scenes[0].truth
    wrong = truth._replace(intrinsics=truth.intrinsics * [[[1.2, 1, 1], [1, 1.2, 1], [1, 1, 1]]])
    held, _, _ = refined(scenes[:1], [wrong], 10)
    np.testing.assert_array_equal(held.intrinsics, wrong.intrinsics)
    free, _, _ = refined(scenes[:1], [wrong], 10, oft_intrinsics_rate=0.002)
    assert free.intrinsics.shape == (1, 3, 3)
    assert np.all(free.intrinsics[:, 0, 0] < wrong.intrinsics[:, 0, 0])
