"""Matching costs against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.models.flow.cost_volume import cost_volume


@pytest.mark.parametrize(("size", "radius"), [((5, 7), 2), ((2, 8), 3), ((4, 4), 4), ((1, 1), 2)])
def test_costs_are_cosines_at_every_displacement_and_zero_beyond_the_border(size, radius):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 2, *size, 3)).astype(np.float32)
    costs = cost_volume(tf.constant(first), tf.constant(second), radius).numpy()
    unit_a, unit_b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (first, second))
    padded = np.pad(unit_b, [(0, 0), (radius, radius), (radius, radius), (0, 0)])
    window = range(2 * radius + 1)
    shifted = [padded[:, dy : dy + size[0], dx : dx + size[1]] for dy in window for dx in window]
    np.testing.assert_allclose(costs, np.stack([np.sum(unit_a * s, axis=-1) for s in shifted], axis=-1), atol=1e-6)


def test_a_shifted_image_matches_at_its_shift():
    """Features that moved by (2, -1) have a cost of 1 at d = (2, -1)."""
    first = np.random.default_rng(1).normal(size=(1, 6, 9, 8)).astype(np.float32)
    costs = cost_volume(tf.constant(first), tf.constant(np.roll(first, (-1, 2), axis=(1, 2))), 2).numpy()
    best = np.argmax(costs[0, 1:, :-2], axis=-1)
    np.testing.assert_array_equal(best, (-1 + 2) * 5 + (2 + 2))


def test_sizes_may_be_unknown_to_the_graph():
    spec = tf.TensorSpec([None, None, None, 4], tf.float32)
    compiled = tf.function(lambda a, b: cost_volume(a, b, 3), input_signature=[spec, spec], autograph=False)
    for size in ((2, 9), (5, 3)):
        a, b = np.random.default_rng(2).normal(size=(2, 1, *size, 4)).astype(np.float32)
        np.testing.assert_allclose(compiled(a, b), cost_volume(tf.constant(a), tf.constant(b), 3), atol=1e-6)


def test_gradients_of_the_costs(check_gradients):
    first, second = np.random.default_rng(3).normal(size=(2, 1, 3, 4, 2))
    check_gradients(lambda a, b: cost_volume(a, b, 1) ** 2, first, second)
