"""Flow metrics worked out by hand."""

from __future__ import annotations

import numpy as np

from glnet_tf.evaluation.flow import endpoint_error, flow_metrics


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
