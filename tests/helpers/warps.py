"""Tests of a warp run on both of its implementations."""

from __future__ import annotations

import pytest

from glnet_tf.geometry import sampling

RESAMPLER = pytest.mark.skipif(sampling._resampler is None, reason="no tensorflow-addons")
BOTH = pytest.mark.parametrize(
    "plain",
    [
        pytest.param(False, marks=RESAMPLER),
        True,
    ],
    ids=["resampler", "plain"],
)
