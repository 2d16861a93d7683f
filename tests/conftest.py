"""What tests of several parts of the library share."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

# Most graphs of the tests run once or twice: optimising them takes longer than they do.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _check_gradients(function: Callable[..., tf.Tensor], *arguments: Any) -> None:
    arguments = [tf.constant(argument, tf.float64) for argument in arguments]
    compiled = tf.function(function, autograph=False)  # an analytic Jacobian takes many calls
    analytic, numeric = tf.test.compute_gradient(compiled, arguments, delta=1e-6)
    for position, (a, n) in enumerate(zip(analytic, numeric)):
        np.testing.assert_allclose(a, n, rtol=1e-5, atol=1e-6, err_msg=f"argument {position}")
        assert np.abs(n).max() > 1e-4, f"argument {position} does not matter: nothing was checked"


@pytest.fixture
def check_gradients() -> Callable[..., None]:
    """check_gradients(function, *arguments): holds analytic gradients in float64 against central differences."""
    return _check_gradients
