"""The collapse monitor: the vitals' values, and when it warns, keeps quiet and warns again."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf import config
from glnet_tf.structures import PAIRS, Predictions
from glnet_tf.training.monitor import SIGNS, CollapseMonitor, Vitals, vitals

HEALTHY = Vitals(0.4, 0.05, 3.0)
FLAT = HEALTHY._replace(disparity_spread=0.01)
STILL = HEALTHY._replace(translation=1e-5)


def predictions_of(disparity, flow, translation):
    poses = np.tile(np.eye(4, dtype=np.float32), (len(disparity), len(PAIRS), 1, 1))
    poses[..., :3, 3] = translation
    flows = np.broadcast_to(np.asarray(flow, np.float32), (len(disparity), len(PAIRS), *disparity.shape[2:4], 2))
    intrinsics = tf.eye(3, batch_shape=[len(disparity)])
    return Predictions((tf.constant(disparity),), (tf.constant(flows),), tf.constant(poses), intrinsics)


def warnings(monitor, states, start=0):
    return [step for step, state in enumerate(states, start) if monitor.check(step, state)]


def test_vitals_of_a_half_near_half_far_frame():
    disparity = np.full((2, 3, 4, 6, 1), 0.5, np.float32)
    disparity[:, :, :, 3:] = 0.25
    state = vitals(predictions_of(disparity, flow=[3.0, 4.0], translation=[0.0, 0.0, 0.6]))
    assert all(value.shape == () and value.dtype == tf.float32 for value in state)
    assert float(state.disparity_spread) == pytest.approx(0.125 / 0.375)
    assert float(state.translation) == pytest.approx(0.6 / 3)
    assert float(state.flow_length) == pytest.approx(5)


def test_spread_is_within_images_and_translation_in_the_depth_of_the_first_frame():
    disparity = np.ones((1, 3, 4, 6, 1), np.float32) * np.array([1.0, 0.5, 0.25], np.float32)[:, None, None, None]
    translation = np.zeros((len(PAIRS), 3), np.float32)
    translation[PAIRS.index((1, 2))] = 1, 0, 0
    state = vitals(predictions_of(disparity, flow=[0.0, 0.0], translation=translation))
    assert float(state.disparity_spread) == pytest.approx(0, abs=1e-6)
    assert float(state.translation) == pytest.approx(1 / 2 / len(PAIRS))


def test_vitals_do_not_depend_on_the_scale_of_the_scene_and_compile():
    disparity = np.random.default_rng(0).uniform(0.1, 1, (2, 3, 4, 6, 1)).astype(np.float32)
    near = predictions_of(disparity, [1.0, 0.0], [0.1, 0.0, 0.3])
    far = predictions_of(disparity / 8, [1.0, 0.0], [0.8, 0.0, 2.4])
    np.testing.assert_allclose(tf.function(vitals)(far), vitals(near), rtol=1e-5)


def test_healthy_training_is_quiet():
    assert warnings(CollapseMonitor(patience=3, grace_steps=0), [HEALTHY] * 200) == []


@pytest.mark.parametrize(
    ("state", "quantity", "value", "threshold", "remedy"),
    [
        (FLAT, "standard deviation of inverse depth", "0.01", "0.02", "--depth_smoothness"),
        (STILL, "translation", "1e-05", "0.0001", "--two_branch_floor"),
    ],
)
def test_one_clear_line_names_step_value_threshold_and_remedy(state, quantity, value, threshold, remedy):
    monitor = CollapseMonitor(patience=1, grace_steps=0)
    message = monitor.check(1234, state)
    assert "\n" not in message
    for part in ("step 1234", quantity, value, threshold, remedy):
        assert part in message


def test_remedies_are_flags_that_exist():
    fields = {
        field.name
        for kind in (config.DataConfig, config.LossConfig, config.TrainingConfig)
        for field in dataclasses.fields(kind)
    }
    for sign in SIGNS:
        assert set(re.findall(r"--(\w+)", sign.meaning)) <= fields
        assert sign.vital in Vitals._fields


def test_it_warns_after_the_patience_and_only_once():
    assert warnings(CollapseMonitor(patience=5, grace_steps=0), [FLAT] * 100) == [4]


def test_a_single_good_check_starts_the_count_again():
    assert warnings(CollapseMonitor(patience=5, grace_steps=0), ([FLAT] * 4 + [HEALTHY]) * 20) == []


def test_nothing_counts_in_the_grace_period():
    monitor = CollapseMonitor(patience=5, grace_steps=100)
    assert warnings(monitor, [FLAT] * 200) == [104]


def test_recovery_arms_it_again():
    states = [FLAT] * 10 + [HEALTHY] + [FLAT] * 10
    assert warnings(CollapseMonitor(patience=5, grace_steps=0), states) == [4, 15]


def test_both_signs_are_reported_one_after_the_other():
    monitor = CollapseMonitor(patience=2, grace_steps=0)
    messages = [monitor.check(step, STILL._replace(disparity_spread=0.0)) for step in range(6)]
    assert [message is not None for message in messages] == [False, True, True, False, False, False]
    assert "inverse depth" in messages[1] and "translation" in messages[2]


def test_one_sign_does_not_silence_the_other():
    monitor = CollapseMonitor(patience=2, grace_steps=0)
    assert warnings(monitor, [FLAT] * 5 + [STILL] * 5) == [1, 6]


def test_values_that_are_not_numbers_are_left_to_the_check_of_the_loss():
    assert warnings(CollapseMonitor(patience=1, grace_steps=0), [Vitals(math.nan, math.nan, math.nan)] * 3) == []


def test_defaults_wait_for_the_grace_period_and_fifty_checks():
    assert warnings(CollapseMonitor(), [STILL] * 600) == [549]
