"""Half precision: the same objective within its tolerance, weights and losses in single precision, overflows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from paper import PAPER_LOSS

from glnet_tf.config import DataConfig, ModelConfig, StreetConfig
from glnet_tf.data.pipeline import batches
from glnet_tf.data.sources import open_source
from glnet_tf.losses.objective import loss_weights, objective
from glnet_tf.models.glnet import GLNet
from glnet_tf.training import precision
from glnet_tf.training.precision import LossScale, layer_precision

DATA = DataConfig(
    dataset="street", street=StreetConfig(streets=1, street_frames=4), image_height=32, image_width=96, batch_size=2
)


@pytest.mark.parametrize("flow_net, camera_net", [("stacked", "regressed"), ("matching", "solved"), ("pwc", "solved")])
def test_the_objective_hardly_changes(flow_net, camera_net):
    source = open_source(DATA, "all")
    snippet = next(iter(batches(source, DATA)))
    config = ModelConfig(
        encoder="efficientnet_lite0", encoder_weights="imagenet", flow_net=flow_net, camera_net=camera_net,
        intrinsics="learned",
    )  # fmt: skip
    found, weights = [], None
    for mixed in (False, True):
        with layer_precision(mixed):
            model = GLNet(config, 1, 32, 96)
            model.build_variables()
        weights = weights or model.get_weights()
        model.set_weights(weights)
        predictions = model(snippet)
        assert {x.dtype for x in tf.nest.flatten(predictions)} == {tf.float32}
        assert {v.dtype for v in model.variables} == {tf.float32}
        total, report = objective(snippet, predictions, loss_weights(PAPER_LOSS, 1.0), PAPER_LOSS)
        found.append((float(total), float(report.photometric), predictions.disparities[0]))
    (total, photometric, disparity), (half_total, half_photometric, half_disparity) = found
    assert half_total == pytest.approx(total, rel=1e-2) and half_photometric == pytest.approx(photometric, rel=1e-2)
    # Not equal: the layers did compute in half precision.
    difference = np.abs(half_disparity / disparity - 1)
    assert 0 < difference.max() < 0.02
    assert keras.mixed_precision.global_policy().name == "float32"


def test_a_scaled_gradient_comes_back_and_an_overflow_halves_the_scale():
    scale = LossScale()
    half, _ = scale.unscaled([tf.constant([3.0]) * scale.scale, None])
    np.testing.assert_array_equal(half, [3.0])
    assert scale.scale == precision.FIRST_SCALE
    gone, kept = scale.unscaled([tf.constant([math.inf, 1.0]), tf.constant([2.0])])
    np.testing.assert_array_equal(tf.concat([gone, kept], 0), 0)
    assert scale.scale == precision.FIRST_SCALE / 2
    scale.scale.assign(1.0)
    (shown,) = scale.unscaled([tf.constant([math.nan])])
    assert math.isnan(shown[0])


def test_the_scale_grows_after_many_steps_without_an_overflow(monkeypatch):
    monkeypatch.setattr(precision, "PATIENCE", 3)
    scale = LossScale()
    for _ in range(3):
        scale.unscaled([tf.constant([1.0])])
    assert scale.scale == 2 * precision.FIRST_SCALE and scale.steps == 0
