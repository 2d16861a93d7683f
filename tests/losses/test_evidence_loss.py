"""The loss of evidence: by hand, against NumPy and OpenCV, and its gradient."""

from __future__ import annotations

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.geometry.evidence import CONTRADICTION, Evidence
from glnet_tf.losses.evidence import PRECISION, SCALE, evidence_loss

SIZE = (16, 24)


def random_evidence(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log inverse depth and weight, [2, H, W, 1], some of it 0."""
    generator = np.random.default_rng(seed)
    weight = generator.uniform(0, 1, (2, *SIZE, 1)) * (generator.random((2, *SIZE, 1)) > 0.3)
    return generator.normal(-2, 0.5, (2, *SIZE, 1)), weight


def loss(disparities: list[np.ndarray], logarithm: np.ndarray, weight: np.ndarray, dtype=tf.float32) -> np.ndarray:
    found = Evidence(tf.constant(logarithm, dtype), tf.constant(weight, dtype))
    return evidence_loss(tuple(tf.constant(d, dtype) for d in disparities), found).numpy()


def cost(error: np.ndarray | float) -> np.ndarray:
    distance = np.sqrt(np.square(error) + PRECISION**2) - PRECISION
    return CONTRADICTION * np.log(1 + distance / CONTRADICTION)


def expected_centre(ratio: np.ndarray, weight: np.ndarray) -> float:
    """The centre by Geman and McClure's weights: from the mean, with tolerances that narrow from four times to one."""
    centre = np.average(ratio, weights=weight)
    for wide in (4, 3, 2, 1, 1, 1, 1, 1):
        centre = np.average(ratio, weights=weight / (1 + ((ratio - centre) / (wide * CONTRADICTION)) ** 2) ** 2)
    return centre


def expected(disparity: np.ndarray, logarithm: np.ndarray, weight: np.ndarray, centre: float | None = None) -> float:
    """Of one image [H, W] at the size of the evidence."""
    ratio = np.log(disparity) - logarithm
    centre = expected_centre(ratio, weight) if centre is None else centre
    return np.average(cost(ratio - centre), weights=weight) + SCALE * abs(np.average(ratio, weights=weight))


def test_at_the_evidence_only_another_scale_costs():
    logarithm, weight = random_evidence()
    np.testing.assert_allclose(loss([np.exp(logarithm)], logarithm, weight), 0, atol=1e-6)
    for factor in (0.5, 3.0):
        scale = SCALE * abs(np.log(factor))
        np.testing.assert_allclose(loss([factor * np.exp(logarithm)], logarithm, weight), scale, atol=1e-6)


def test_every_level_counts_half_of_the_finer_one():
    logarithm, weight = np.full((1, *SIZE, 1), -2.0), np.ones((1, *SIZE, 1))
    levels = [np.full((1, SIZE[0] >> s, SIZE[1] >> s, 1), np.exp(-2.0)) for s in range(4)]
    for level, share in enumerate((1, 0.5, 0.25, 0.125)):
        wrong = [3 * d if s == level else d for s, d in enumerate(levels)]
        np.testing.assert_allclose(loss(wrong, logarithm, weight), [share * SCALE * np.log(3)], atol=1e-6)


def test_pixels_count_by_their_weight():
    """Off by 0.2 to either side, so that the centre is known: a pair of pixels with weight 1 among 6 of weight 0.5."""
    error, weight = np.zeros((2, 1, 2, 4, 1))
    error[0, 0, :2, 0], weight[:] = (0.2, -0.2), 0.5
    weight[0, 0, :2] = 1
    value = 2 * cost(0.2) / 5
    np.testing.assert_allclose(loss([np.exp(error - 1)], 0 * error - 1, weight), [value], rtol=1e-5)
    error[0, 0, 2, 0], weight[0, 0, 2, 0] = 5.0, 0  # without weight, whatever it is
    np.testing.assert_allclose(loss([np.exp(error - 1)], 0 * error - 1, weight), [value * 5 / 4.5], rtol=1e-5)


def test_value_of_every_image_against_numpy():
    logarithm, weight = random_evidence()
    generator = np.random.default_rng(1)
    fine = np.exp(logarithm + generator.normal(0.4, 0.4, logarithm.shape))
    coarse = np.exp(generator.normal(-2, 0.3, (2, SIZE[0] // 2, SIZE[1] // 2, 1)))
    value = [
        expected(a, b, w) + expected(cv2.resize(c, SIZE[::-1], interpolation=cv2.INTER_LINEAR), b, w) / 2
        for a, c, b, w in zip(*(x[..., 0] for x in (fine, coarse, logarithm, weight)))
    ]
    np.testing.assert_allclose(loss([fine, coarse], logarithm, weight), value, rtol=1e-4)
    assert abs(value[0] - value[1]) > 1e-3


def test_an_outlier_pulls_less_than_an_error():
    logarithm, weight = np.zeros((1, *SIZE, 1)), np.ones((1, *SIZE, 1))
    error = np.zeros((1, *SIZE, 1))
    error[0, 4, 4], error[0, 9, 9] = 0.1, 2.0
    disparity = tf.Variable(np.exp(error), dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = evidence_loss((disparity,), Evidence(*(tf.constant(x, tf.float32) for x in (logarithm, weight))))
    near, far = (g * d for g, d in zip(tape.gradient(value, disparity).numpy()[0, (4, 9), (4, 9), 0], np.exp([0.1, 2])))
    common = SCALE / error.size  # of the scale
    slope_near, slope_far = ((cost(e + 1e-6) - cost(e - 1e-6)) / 2e-6 for e in (0.1, 2.0))
    np.testing.assert_allclose((far - common) / (near - common), slope_far / slope_near, rtol=0.02)
    assert slope_far < slope_near / 3


def test_its_gradient_holds_the_centre_and_is_zero_where_nothing_is_known():
    logarithm, weight = (x[:1, :3, :4] for x in random_evidence(3))
    disparity = np.exp(logarithm + np.random.default_rng(4).normal(0.2, 0.3, logarithm.shape))
    centre = expected_centre(np.log(disparity) - logarithm, weight)

    def changed(i, by):
        values = disparity.copy()
        values.flat[i] += by
        return expected(values, logarithm, weight, centre)

    numeric = [(changed(i, 1e-6) - changed(i, -1e-6)) / 2e-6 for i in range(disparity.size)]
    found, variable = Evidence(tf.constant(logarithm), tf.constant(weight)), tf.Variable(disparity)
    with tf.GradientTape(persistent=True) as tape:
        value = evidence_loss((variable,), found)
        nothing = evidence_loss((variable,), found._replace(weight=0 * found.weight))
    np.testing.assert_allclose(value, [expected(disparity, logarithm, weight)], rtol=1e-10)
    np.testing.assert_allclose(tape.gradient(value, variable).numpy().ravel(), numeric, atol=1e-7)
    assert np.max(np.abs(numeric)) > 1e-2 and np.any(weight == 0)
    np.testing.assert_array_equal(nothing, [0])
    np.testing.assert_array_equal(tape.gradient(nothing, variable), 0)


def test_gradients_of_all_levels_are_finite_at_the_evidence_and_without_it():
    logarithm, weight = random_evidence()
    weight[1] = 0
    levels = [tf.Variable(np.exp(logarithm[:, :: 1 << s, :: 1 << s]), dtype=tf.float32) for s in range(4)]
    with tf.GradientTape() as tape:
        value = evidence_loss(tuple(levels), Evidence(*(tf.constant(x, tf.float32) for x in (logarithm, weight))))
    for gradient in tape.gradient(value, levels):
        assert np.all(np.isfinite(gradient)) and np.all(gradient[1].numpy() == 0)
