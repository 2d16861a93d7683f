"""Errors of intrinsics worked out by hand."""

from __future__ import annotations

import numpy as np

from glnet_tf.metrics.intrinsics import intrinsics_errors, intrinsics_table


def camera(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float)


def test_errors_by_hand():
    """Focal lengths against themselves, principal points against an image of 400 x 100."""
    truth = camera(200, 100, 190, 60)
    predicted = np.stack([camera(220, 90, 210, 55), camera(100, 100, 190, 60)])
    expected = [[0.1, -0.1, 0.05, -0.05], [-0.5, 0, 0, 0]]
    np.testing.assert_allclose(intrinsics_errors(np.stack([truth, truth]), predicted, 400, 100), expected)
    np.testing.assert_allclose(intrinsics_errors(truth, predicted, 400, 100), expected)


def test_every_frame_has_its_own_truth():
    truth = np.stack([camera(100, 100, 0, 0), camera(200, 200, 0, 0)])
    errors = intrinsics_errors(truth, truth + np.diag([10.0, 10.0, 0.0]), 10, 10)
    np.testing.assert_allclose(errors[:, 0], [0.1, 0.05])


def test_table_by_hand():
    """Medians stay signed and ignore the outlier; the standard deviation of (0, 0, 3) is the root of 2."""
    errors = np.array([[0.1, -0.2, 0, 0], [0.1, -0.2, 0, 0], [0.1, -0.2, 3, -0.9]])
    table = intrinsics_table(errors)
    np.testing.assert_allclose([table[name] for name in ("fx", "fy", "cx", "cy")], [0.1, -0.2, 0, 0])
    np.testing.assert_allclose([table[f"{name}_std"] for name in ("fx", "cx")], [0, np.sqrt(2)], atol=1e-15)
    assert table["frames"] == 3
