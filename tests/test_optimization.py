"""Adam on groups: against NumPy, clipped as a whole, and untouched by gradients that are not finite."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.optimization import make_optimizers, update


def groups() -> list[list[tf.Variable]]:
    return [[tf.Variable([1.0, 2.0]), tf.Variable(3.0)], [], [tf.Variable([4.0])]]


def test_every_group_has_its_rate_and_the_gradient_is_clipped_as_a_whole():
    variables, gradients = groups(), [np.array([3.0, -4.0]), None, np.array([12.0])]
    optimizers = make_optimizers([0.1, 0.5, 0.01], variables)
    length = update(optimizers, variables, [None if g is None else tf.constant(g, tf.float32) for g in gradients], 6.5)
    assert float(length) == pytest.approx(13)
    # Adam's first step is the rate times the gradient's sign, but for epsilon.
    clipped = [g / 2 for g in gradients if g is not None]
    steps = [rate * g / (np.abs(g) + 1e-7) for rate, g in zip((0.1, 0.01), clipped)]
    np.testing.assert_allclose(variables[0][0], [1.0, 2.0] - steps[0], rtol=1e-5)
    assert float(variables[0][1]) == 3
    np.testing.assert_allclose(variables[2][0], [4.0] - steps[1], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_told_by_the_length(bad):
    variables = groups()
    optimizers = make_optimizers([0.1, 0.5, 0.01], variables)
    before = [v.numpy() for v in sum(variables, [])]
    length = update(optimizers, variables, [tf.constant([1.0, bad]), tf.constant(1.0), tf.constant([1.0])], 1.0)
    assert not np.isfinite(length)
    for variable, value in zip(sum(variables, []), before):
        np.testing.assert_array_equal(variable, value)
