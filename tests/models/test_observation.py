"""Evidence of the flow that street-lite finds, against the truth of streets of the kinds that mislead it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry.evidence import Evidence
from glnet_tf.models.observation import frame_evidence, make_observe
from glnet_tf.street.street import Street
from glnet_tf.structures import MIDDLE, Snippet, height_and_width, merge, split
from glnet_tf.training.weights import load_model

SIZE, LARGE = (96, 320), (160, 480)


class Seen(NamedTuple):
    """Maps of middle frames, [N, h, w]: what flow proves alone, log inverse depth as predicted, as fused, in truth."""

    evidence: Evidence
    predicted: np.ndarray
    fused: np.ndarray
    truth: np.ndarray
    standing: np.ndarray
    road: np.ndarray
    moving: np.ndarray

    def error(self, of: np.ndarray) -> np.ndarray:
        """The error of log inverse depth about one scale for each image."""
        difference = np.ma.array(of - self.truth, mask=~self.standing)
        return np.abs(difference.data - np.ma.median(difference, axis=(1, 2)).data[:, np.newaxis, np.newaxis])


def nearest(maps: np.ndarray) -> np.ndarray:
    """[N, *LARGE] at SIZE."""
    rows, columns = (((np.arange(small) + 0.5) * large / small).astype(int) for small, large in zip(SIZE, LARGE))
    return maps[:, rows[:, np.newaxis], columns]


@pytest.fixture(scope="module")
def observe():
    model, _ = load_model("street-lite")

    def both(snippet: Snippet) -> tuple:
        seen = make_observe(model, SIZE)(snippet)
        flows, size = seen.flow, height_and_width(seen.flow)
        whole = tf.image.resize(tf.math.log(merge(seen.predictions.disparities[0])), size)
        return seen, frame_evidence(flows, seen.predictions.poses, snippet.intrinsics, whole)[0]

    graph = tf.function(both, autograph=False)

    def of(style: str, traffic: str) -> Seen:
        streets = [Street(seed, 13, *LARGE, style=style, traffic=traffic) for seed in (1000, 1001)]
        frames = [[street.frame(i) for i in (10, 11, 12)] for street in streets]
        snippet = Snippet(
            images=tf.constant([[x.image / 255 for x in three] for three in frames], tf.float32),
            intrinsics=tf.constant([street.intrinsics for street in streets], tf.float32),
            camera=tf.zeros([2], tf.int32),
            index=tf.zeros([2], tf.int64),
            mirrored=tf.zeros([2], tf.bool),
        )
        seen, alone = graph(snippet)

        def small(x: tf.Tensor) -> np.ndarray:
            return nearest(split(x, 3)[:, MIDDLE, ..., 0].numpy())

        middle = [three[MIDDLE] for three in frames]
        depth, surface, moving = (
            nearest(np.stack(x)) for x in zip(*((frame.depth, frame.surface, frame.moving) for frame in middle))
        )
        predicted, fused = (np.log(x[:, MIDDLE, ..., 0]) for x in (seen.predictions.disparities[0], seen.fused))
        standing = (surface >= 0) & ~moving
        return Seen(
            Evidence(*map(small, alone)),
            predicted,
            fused,
            -np.log(depth),
            standing,
            (surface == 0) & (depth < 15),
            moving,
        )

    return of


@pytest.mark.slow
def test_bare_road_proves_little_and_what_it_proves_is_right(observe):
    street, bare = observe("town", "passing"), observe("highway", "passing")
    believed = bare.evidence.weight > 0.1
    share = [np.mean((x.evidence.weight > 0.1)[x.road]) for x in (street, bare)]
    assert share[0] > 0.6 and 0.02 < share[1] < 0.25
    assert np.mean(bare.error(bare.evidence.log_disparity)[believed & bare.road] > 0.25) < 0.05
    # The plane through it tells what flow does not.
    of_network, of_fusion = (bare.error(x)[bare.road].mean() for x in (bare.predicted, bare.fused))
    assert of_fusion < min(0.09, of_network)


@pytest.mark.parametrize("style", ["town", "country", "highway"])
@pytest.mark.parametrize("traffic", ["passing", "escort"])
def test_fusion_makes_what_stands_better_and_leaves_what_moves_about_as_it_was(observe, style, traffic):
    seen = observe(style, traffic)
    before, after = (seen.error(x) for x in (seen.predicted, seen.fused))
    assert after[seen.standing].mean() < 0.9 * before[seen.standing].mean()
    # What moves along the camera's path is drawn to where its flow puts it, which a network that knows better feels.
    assert after[seen.moving].mean() < max(1.2 * before[seen.moving].mean(), 0.24)
    right = seen.error(seen.evidence.log_disparity) < 0.25
    believed = (seen.evidence.weight > 0.1) & seen.standing
    assert np.mean(right[believed]) > 0.9


def test_a_standing_camera_proves_nothing(observe):
    seen = observe("town", "jam")
    assert seen.evidence.weight.mean() < 0.005
    before, after = (seen.error(x)[seen.standing].mean() for x in (seen.predicted, seen.fused))
    np.testing.assert_allclose(after, before, rtol=0.01)
