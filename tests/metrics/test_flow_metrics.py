"""Flow metrics worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from glnet_tf.errors import DataError
from glnet_tf.metrics.flow import FlowErrors, endpoint_error, flow_errors, flow_metrics, flow_table


def as_flow(*vectors: tuple[float, float]) -> np.ndarray:
    return np.array([vectors], np.float64)


def test_endpoint_error_is_euclidean():
    error = endpoint_error(as_flow((1, 2), (0, 0)), as_flow((4, 6), (0, -2)))
    np.testing.assert_array_equal(error, [[5, 2]])
    assert endpoint_error(np.zeros((2, 3, 4, 2)), np.ones((2, 3, 4, 2))).shape == (2, 3, 4)


def test_mean_over_valid_pixels_only():
    truth, predicted = as_flow((0, 0), (0, 0), (0, 0)), as_flow((1, 0), (0, 3), (100, 0))
    epe, _ = flow_metrics(truth, predicted, np.array([[True, True, False]]))
    assert epe == 2


def test_outliers_exceed_both_three_pixels_and_five_percent():
    truth = as_flow((100, 0), (100, 0), (100, 0), (10, 0), (10, 0))
    predicted = truth + as_flow((4, 0), (5, 0), (0, 5.1), (3, 0), (0, 3.1))
    epe, outliers = flow_metrics(truth, predicted, np.ones((1, 5), bool))
    # Only 5.1 of 100 and 3.1 of 10 are outliers; the limits themselves are not.
    np.testing.assert_allclose(epe, (4 + 5 + 5.1 + 3 + 3.1) / 5)
    np.testing.assert_allclose(outliers, 2 / 5)


def test_five_percent_is_of_the_truth_not_of_the_prediction():
    # An error of 4.9: above 5 % of 96 (4.8), below 5 % of the predicted 100.9 (5.045).
    _, outliers = flow_metrics(as_flow((96, 0)), as_flow((100.9, 0)), np.ones((1, 1), bool))
    assert outliers == 1


def mask(*values: int) -> np.ndarray:
    return np.array([values], bool)


def test_errors_by_kind_of_pixel():
    """Errors 1, 2, 4 and 8; the fifth pixel is not valid, though visible and moving."""
    truth = as_flow((0, 0), (0, 0), (0, 0), (0, 0), (0, 0))
    predicted = as_flow((1, 0), (0, 2), (4, 0), (0, 8), (1000, 0))
    errors = flow_errors(truth, predicted, mask(1, 1, 1, 1, 0), noc=mask(1, 1, 0, 0, 1), moving=mask(1, 0, 1, 0, 1))
    assert errors == FlowErrors(epe=15 / 4, epe_noc=3 / 2, epe_moving=5 / 2, epe_static=10 / 2, f1=2 / 4, pixels=4)


def test_kinds_of_pixels_that_are_not_known_or_not_there():
    truth, predicted = as_flow((0, 0), (0, 0)), as_flow((3, 4), (0, 1))
    unknown = flow_errors(truth, predicted, mask(1, 1))
    assert unknown[0] == 3 and np.isnan(unknown[1:4]).all()
    nothing_moves = flow_errors(truth, predicted, mask(1, 1), moving=mask(0, 0))
    assert np.isnan(nothing_moves.epe_moving) and nothing_moves.epe_static == 3


def test_table_averages_images_and_counts_pixels():
    """One image of 1 pixel, an outlier, and one of 3 without: half of the images, a quarter of the pixels."""
    nan = float("nan")
    table = flow_table([FlowErrors(5, nan, 5, nan, 1, 1), FlowErrors(1, nan, nan, 1, 0, 3)])
    assert table == {"epe": 3, "epe_moving": 5, "epe_static": 1, "f1": 0.5, "f1_pixels": 0.25, "images": 2}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_prediction_that_is_not_finite_is_an_error_where_it_counts(value):
    truth, predicted = as_flow((0, 0), (0, 0), (0, 0)), as_flow((1, 0), (0, value), (1, 0))
    for metrics in (flow_metrics, flow_errors):
        with pytest.raises(DataError, match="flow is not finite at 1 of 3 pixels with a truth"):
            metrics(truth, predicted, mask(1, 1, 1))
    assert flow_metrics(truth, predicted, mask(1, 0, 1)) == (1, 0)


def test_images_without_a_truth_and_of_another_size_are_errors():
    with pytest.raises(DataError, match="no pixel with a true flow"):
        flow_metrics(as_flow((0, 0)), as_flow((0, 0)), mask(0))
    with pytest.raises(DataError, match=r"flow of shape \(1, 1, 2\): expected the truth's \(1, 2, 2\)"):
        flow_metrics(as_flow((0, 0), (0, 0)), as_flow((0, 0)), mask(1, 1))
