"""Depth metrics worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from glnet_tf.errors import DataError
from glnet_tf.metrics.depth import (
    MIN_DEPTH,
    DepthMetrics,
    best_constant_abs_rel,
    best_rows_abs_rel,
    common_scale,
    depth_metrics,
    depth_table,
    garg_crop,
)


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float64)


def test_perfect_up_to_scale():
    truth = row(1, 2, 5, 40)
    metrics = depth_metrics(truth, truth / 7)
    np.testing.assert_allclose(metrics, [0, 0, 0, 0, 1, 1, 1, 7], atol=1e-12)


def test_by_hand():
    """Medians 4 and 4: the scale is 1; errors 1 at 2, 0 at 4, 0 at 4, 2 at 8 and -1 at 3."""
    metrics = depth_metrics(row(2, 4, 4, 8, 3), row(3, 4, 4, 10, 2))
    assert metrics.scale == 1
    np.testing.assert_allclose(metrics.abs_rel, (1 / 2 + 2 / 8 + 1 / 3) / 5)
    np.testing.assert_allclose(metrics.sq_rel, (1 / 2 + 4 / 8 + 1 / 3) / 5)
    np.testing.assert_allclose(metrics.rmse, np.sqrt((1 + 4 + 1) / 5))
    logs = np.log([3 / 2, 10 / 8, 2 / 3])
    np.testing.assert_allclose(metrics.rmse_log, np.sqrt(np.sum(logs**2) / 5))
    # Ratios 1.5, 1, 1, 1.25, 1.5: 1.25 itself is not below 1.25, and 1.5 is below 1.25^2 = 1.5625.
    np.testing.assert_allclose([metrics.delta1, metrics.delta2, metrics.delta3], [2 / 5, 1, 1])


def test_delta_counts_too_near_and_too_far_alike():
    metrics = depth_metrics(row(10, 10, 10, 10, 10), row(10, 10, 10, 17, 10 / 1.7))
    np.testing.assert_allclose([metrics.delta1, metrics.delta2, metrics.delta3], [3 / 5, 3 / 5, 1])


def test_scale_is_the_ratio_of_medians_over_valid_pixels():
    metrics = depth_metrics(row(0, 2, 6, 10, 200), row(1e9, 1, 2, 5, -3))
    assert metrics.scale == 3
    np.testing.assert_allclose(metrics.abs_rel, (1 / 2 + 0 + 5 / 10) / 3)


def test_prediction_is_clipped_after_scaling():
    metrics = depth_metrics(row(10, 10, 70), row(1, 1, 100))
    np.testing.assert_allclose(metrics.rmse, 10 / np.sqrt(3))  # 1000 becomes 80
    near = depth_metrics(row(10, 10, 70), row(1, 1, 1e-30))
    np.testing.assert_allclose(near.rmse, (70 - MIN_DEPTH) / np.sqrt(3))
    assert np.isfinite(near.rmse_log)


def test_a_given_scale_replaces_the_median():
    truth = row(2, 4, 8)
    metrics = depth_metrics(truth, truth / 2, scale=3)
    assert metrics.scale == 3
    np.testing.assert_allclose(metrics.abs_rel, 0.5)
    assert depth_metrics(truth, truth, scale=1).rmse == 0


def test_the_mask_decides_over_scale_and_errors():
    truth, predicted = row(2, 4, 50, 6), row(1, 2, 1, 3)
    metrics = depth_metrics(truth, predicted, mask=np.array([[True, True, False, True]]))
    assert metrics.scale == 2 and metrics.abs_rel == 0
    assert depth_metrics(truth, predicted).abs_rel > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
def test_a_prediction_that_is_no_depth_is_an_error_where_it_counts(value):
    message = rf"depth is {value:g} at 1 of 2 pixels with a truth: expected finite positive depth"
    with pytest.raises(DataError, match=message):
        depth_metrics(row(10, 20, 0), row(10, value, 20))
    assert depth_metrics(row(10, 20, 0), row(10, 20, value)).abs_rel == 0
    mask = np.array([[True, False, True]])
    assert depth_metrics(row(10, 20, 0), row(10, value, 20), mask=mask).abs_rel == 0
    with pytest.raises(DataError, match=message):
        common_scale([row(10, 20, 0)], [row(10, value, 20)])


def test_images_without_a_truth_and_of_another_size_are_errors():
    with pytest.raises(DataError, match="no true depth between 0.001 and 80 m"):
        depth_metrics(row(0, 90, np.nan), row(1, 1, 1))
    with pytest.raises(DataError, match=r"depth of shape \(1, 2\): expected the truth's \(1, 3\); resize it"):
        depth_metrics(row(1, 2, 3), row(1, 2))


def test_garg_crop():
    """Of 100 x 1000: rows 40.81 to 99.19 and columns 35.95 to 964.05, cut to integers."""
    rows, columns = np.nonzero(garg_crop(100, 1000))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 98, 35, 963)
    assert len(rows) == 59 * 929
    # KITTI's usual size: rows 153.04 to 371.96 and columns 44.65 to 1197.35.
    rows, columns = np.nonzero(garg_crop(375, 1242))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (153, 370, 44, 1196)


def test_table_averages_images():
    a = DepthMetrics(0.1, 1, 2, 0.3, 0.9, 0.95, 0.99, scale=10)
    b = DepthMetrics(0.3, 2, 4, 0.1, 0.7, 0.85, 0.97, scale=30)
    table = depth_table([a, b])
    means = [0.2, 1.5, 3, 0.2, 0.8, 0.9, 0.98]
    np.testing.assert_allclose([table[name] for name in DepthMetrics._fields[:-1]], means)
    # Scales over their median are 0.5 and 1.5.
    assert (table["scale_median"], table["scale_std"], table["images"]) == (20, 0.5, 2)
    assert "scale" not in table and depth_table([a])["scale_std"] == 0


def test_common_scale_is_the_median_over_images():
    truths = [row(2, 4, 6), row(10, 10, 0), row(9, 9, 50)]
    predictions = [row(1, 2, 3), row(1, 1, 99), row(3, 3, 1)]
    assert common_scale(truths, predictions) == 3  # of 2, 10 and 3
    masks = [np.array([mask]) for mask in ([True] * 3, [True] * 3, [False, False, True])]
    assert common_scale(truths, predictions, masks) == 10  # of 2, 10 and 50
    assert common_scale(truths[1:2], [row(1, 4, 1)], max_depth=11) == 4


def test_cap_leaves_out_far_truth():
    truth, predicted = row(10, 20, 60), row(10, 20, 30)
    np.testing.assert_allclose(depth_metrics(truth, predicted, max_depth=50).abs_rel, 0, atol=1e-15)
    assert depth_metrics(truth, predicted).abs_rel == pytest.approx(1 / 6)
    # The bounds themselves do not count.
    assert depth_metrics(row(10, 20, 80), row(10, 20, 30)).abs_rel == 0


def brute_force(truth: np.ndarray) -> float:
    constants = np.linspace(truth.min(), truth.max(), 20001)
    return float(np.min(np.mean(np.abs(truth[:, None] - constants) / truth[:, None], axis=0)))


def test_best_constant_by_hand():
    # At c: (|1 - c| / 1 + |4 - c| / 4) / 2, smallest at c = 1.
    np.testing.assert_allclose(best_constant_abs_rel([row(1, 4)]), 3 / 8)
    assert best_constant_abs_rel([row(7, 7, 7)]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_best_constant_against_brute_force(seed):
    truth = np.random.default_rng(seed).gamma(2.0, 8.0, 60).clip(1, 79)
    ours = best_constant_abs_rel([truth[None]])
    expected = brute_force(truth)
    assert ours <= expected + 1e-12
    np.testing.assert_allclose(ours, expected, rtol=1e-3)


def test_best_rows():
    rows = np.repeat([0.1, 0.5, 0.99], 4)
    near, far = np.repeat([8.0, 4.0, 2.0], 4), np.repeat([40.0, 20.0, 10.0], 4)
    assert best_rows_abs_rel([near, far], [rows, rows]) < 1e-12  # one profile, up to scale
    assert best_constant_abs_rel([near, far]) > 0.3
    tree = np.where(np.arange(12) % 4 == 0, 0.75, 1.0) * near  # what stands on the road is what rows cannot tell
    np.testing.assert_allclose(best_rows_abs_rel([tree], [rows]), 1 / 12)


def test_best_constant_is_one_per_image_of_valid_pixels_only():
    images = [row(5, 5, 0, 90), row(50, 50, 50, 0)]
    assert best_constant_abs_rel(images) == 0
    np.testing.assert_allclose(best_constant_abs_rel([row(1, 4), row(3, 3)]), 3 / 16)
    assert best_constant_abs_rel([row(1, 4)], max_depth=2) == 0
