"""The refiner: PFT leaves the model as it was, whatever ends it; what cannot be refined says why."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import LossConfig, ModelConfig, RefinementConfig
from glnet_tf.models.glnet import GLNet
from glnet_tf.refinement.pft import ParameterRefinement
from glnet_tf.refinement.refiner import Refined, Refiner
from glnet_tf.structures import Predictions, Snippet

HEIGHT, WIDTH = 32, 96
FRAMES = 4
K = np.array([[70.0, 0, 47.5], [0, 70.0, 15.5], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def model() -> GLNet:
    keras.utils.set_random_seed(0)
    made = GLNet(
        ModelConfig(
            encoder="efficientnet_lite0", encoder_weights="none", flow_net="matching", camera_net="solved",
            intrinsics="given",
        ),
        1, HEIGHT, WIDTH,
    )  # fmt: skip
    made.build_variables()
    return made


def moving(batch: int = 1, frames: int = FRAMES) -> Snippet:
    """Blobs that move by two pixels a frame."""
    blobs = np.random.default_rng(0).uniform(size=(batch, HEIGHT // 4, WIDTH // 4, 3)).astype(np.float32)
    picture = tf.image.resize(blobs, (HEIGHT, WIDTH), "bicubic")
    images = tf.clip_by_value(tf.stack([tf.roll(picture, 2 * i, axis=2) for i in range(frames)], axis=1), 0, 1)
    return of_images(images)


def of_images(images: tf.Tensor) -> Snippet:
    batch = images.shape[0]
    return Snippet(
        images=images,
        intrinsics=tf.constant(np.tile(K, (batch, 1, 1))),
        camera=tf.zeros([batch], tf.int32),
        index=tf.range(batch, dtype=tf.int64),
        mirrored=tf.zeros([batch], tf.bool),
    )


def values(model: GLNet) -> list[np.ndarray]:
    return [weight.numpy() for weight in model.weights]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other))


@pytest.fixture(scope="module")
def refiner(model) -> Refiner:
    return Refiner(
        model,
        LossConfig(),
        # The networks are untrained: nothing is verified.
        RefinementConfig(iterations=2, harm=1e9, oft_depth_rate=0.005, oft_flow_rate=0.01, oft_pose_rate=1e-4),
        FRAMES,
    )


@pytest.mark.slow
def part(refined: Refined, name: str) -> Predictions:
    return next(stage.predictions for stage in refined.stages if stage.name == name)


def test_the_weights_are_restored_bit_for_bit_and_outputs_change(model, refiner):
    before = values(model)
    refined = refiner(moving(2))
    assert same(before, values(model)) and refined.reasons == ("", "")
    assert refined.pft.total.shape == (2, 2) and refined.oft.report.photometric.shape == (3, 2)
    for old, new in zip(tf.nest.flatten(refined.initial), tf.nest.flatten(refined.final)):
        assert old.shape == new.shape and np.all(np.isfinite(new))
    assert np.any(refined.initial.disparities[0] != part(refined, "pft").disparities[0])
    assert np.any(part(refined, "pft").disparities[0] != refined.final.disparities[0])
    assert refined.moving.shape == (2, 2 * (FRAMES - 1), HEIGHT, WIDTH, 1)


def test_no_iteration_leaves_the_fused_depth(refiner, monkeypatch):
    none = dataclasses.replace(refiner.config, iterations=0)
    monkeypatch.setattr(refiner, "config", none)
    monkeypatch.setattr(refiner._pft, "_config", none)
    refined = refiner(moving())
    assert refined.reasons == ("",) and refined.pft is None and refined.oft.total.shape == (1, 1)
    np.testing.assert_allclose(refined.final.disparities[0], part(refined, "fusion").disparities[0], rtol=1e-4)


def test_a_part_whose_rate_is_zero_stays(refiner):
    refined = refiner(moving())
    np.testing.assert_array_equal(refined.initial.flows[0], part(refined, "pft").flows[0])
    np.testing.assert_array_equal(refined.initial.intrinsics, refined.final.intrinsics)


def test_twice_gives_the_same(refiner):
    """Adam's moments of the first snippet must not reach the second."""
    one, two = refiner(moving()), refiner(moving())
    np.testing.assert_array_equal(part(one, "pft").disparities[0], part(two, "pft").disparities[0])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("policy", ["snippet", "sequence"])
def test_the_weights_are_restored_after_an_interruption(model, refiner, monkeypatch, error, policy):
    before = values(model)
    original = ParameterRefinement.run

    def interrupted(self: ParameterRefinement, *observed: object) -> None:
        original(self, *observed)
        assert not same(before, values(model))
        raise error

    monkeypatch.setattr(ParameterRefinement, "run", interrupted)
    monkeypatch.setattr(refiner, "config", dataclasses.replace(refiner.config, policy=policy))
    with pytest.raises(error):
        refiner(moving())
    assert same(before, values(model))


def test_nothing_is_left_of_parameters_that_are_not_finite(model, refiner, monkeypatch):
    before = values(model)
    original = ParameterRefinement.run
    monkeypatch.setattr(ParameterRefinement, "run", lambda self, *observed: (original(self, *observed)[0], False))
    monkeypatch.setattr(refiner, "config", dataclasses.replace(refiner.config, policy="sequence"))
    refined = refiner(moving())
    assert refined.reasons == ("the objective is not finite",) and same(before, values(model))
    np.testing.assert_array_equal(refined.initial.disparities[0], refined.final.disparities[0])


def test_a_sequence_carries_the_weights_on(model, refiner, monkeypatch):
    before = values(model)
    monkeypatch.setattr(refiner, "config", dataclasses.replace(refiner.config, policy="sequence"))
    refiner(moving())
    after = values(model)
    for weight, value in zip(model.weights, before):
        weight.assign(value)
    assert not same(before, after)


def test_what_cannot_be_refined_comes_back_with_the_reason(refiner):
    good = moving().images
    still, blank = tf.repeat(good[:, :1], FRAMES, axis=1), tf.zeros_like(good)
    images = tf.concat([still, good, blank, good * np.nan], axis=0)
    refined = refiner(of_images(images))
    assert [reason.partition(":")[0] for reason in refined.reasons] == [
        "static camera", "", "no texture", "the images or predictions are not finite",
    ]  # fmt: skip
    changed = [bool(np.any(a != b)) for a, b in zip(refined.initial.disparities[0], refined.final.disparities[0])]
    assert changed == [False, True, False, False]


def test_what_explains_a_frame_apart_worse_is_given_up(refiner, monkeypatch):
    monkeypatch.setattr(refiner, "config", dataclasses.replace(refiner.config, harm=-1.0))
    refined = refiner(moving())
    assert refined.reasons[0].startswith("verified as worse: frames two apart")
    np.testing.assert_array_equal(refined.initial.disparities[0], refined.final.disparities[0])
    assert np.any(refined.initial.disparities[0] != part(refined, "fusion").disparities[0])
