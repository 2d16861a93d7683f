"""OFT on the rendered street: it stays at the truth, comes back from a disturbed depth, and each snippet by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from street_truth import Scene, true_scene

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.losses.objective import LossWeights
from glnet_tf.refinement.history import PATIENCE, History
from glnet_tf.refinement.outputs import make_output_refinement
from glnet_tf.structures import LossReport, Predictions, Snippet

SIZE = (64, 224)
LOSS = LossConfig(depth_smoothness=0.02, flow_smoothness=0.1, rigid_mask=True, epipolar_mask=True)
# Standing still everything but depth: what the truth of a test leaves to be found.
DEPTH_ONLY = {"oft_flow_rate": 0.0, "oft_pose_rate": 0.0}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [true_scene(SIZE, seed, first) for seed, first in ((1, 3), (2, 5))]


def snippet(images: tf.Tensor, intrinsics: tf.Tensor) -> Snippet:
    batch = images.shape[0]
    return Snippet(
        images, intrinsics, tf.zeros([batch], tf.int32), tf.range(batch, dtype=tf.int64), tf.zeros([batch], tf.bool)
    )


def refined(
    scene: list[Scene], start: list[Predictions], iterations: int = 50, **settings: Any
) -> tuple[Predictions, History, tf.Tensor]:
    config = RefinementConfig(**settings)
    weights = LossWeights(
        **{name: tf.constant(getattr(LOSS, name)) for name in LossReport._fields}, both=tf.constant(1.0)
    )
    together = tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *start)
    images = tf.concat([s.images for s in scene], axis=0)
    oft = tf.function(make_output_refinement(weights, LOSS, config, free_intrinsics=False), autograph=False)
    return oft(snippet(images, together.intrinsics), together, tf.constant(iterations))


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
