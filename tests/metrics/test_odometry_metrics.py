"""Odometry metrics worked out by hand, with SciPy rotations as reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from glnet_tf.metrics.odometry import direction_error, rotation_error, snippet_ate, snippet_ates


def pose(rotation_vector: tuple = (0, 0, 0), translation: tuple = (0, 0, 0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    matrix[:3, 3] = translation
    return matrix


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 0.01, 1.0, 90.0, 179.0, 180.0])
def test_rotation_error(degrees):
    base = Rotation.from_rotvec([0.3, -0.8, 0.5])
    axis = np.array([1.0, 2.0, -2.0]) / 3
    turned = base * Rotation.from_rotvec(np.radians(degrees) * axis)
    np.testing.assert_allclose(rotation_error(base.as_matrix(), turned.as_matrix()), degrees, rtol=1e-6, atol=1e-7)


def test_rotation_error_ignores_translations():
    assert rotation_error(pose((0, 0.1, 0), (1, 2, 3)), pose((0, 0.1, 0), (9, 9, 9))) < 1e-7


@pytest.mark.parametrize(
    ("a", "b", "degrees"),
    [
        ((1, 0, 0), (5, 0, 0), 0),
        ((1, 0, 0), (0, 3, 0), 90),
        ((1, 0, 0), (1, 1, 0), 45),
        ((0, 0, 1), (0, 0, -0.1), 180),
        ((0, 0, 1), (np.tan(np.radians(1e-4)), 0, 1), 1e-4),
    ],
)
def test_direction_error(a, b, degrees):
    np.testing.assert_allclose(direction_error(pose((0, 0, 0), a), pose((1, 0, 0), b)), degrees, rtol=1e-6, atol=1e-9)


def test_snippet_ate_by_hand():
    """Straight steps of 1 against steps of 2 with one position 1 off sideways.

    sum(truth . predicted) = 2 (1 + 4) = 10 and sum(predicted^2) = 4 + 16 + 1 = 21: the scale is 10 / 21.
    """
    truth = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2]], float)
    predicted = np.array([[0, 0, 0], [1, 0, 2], [0, 0, 4]], float)
    s = 10 / 21
    squares = s**2 + (1 - 2 * s) ** 2 + (2 - 4 * s) ** 2
    np.testing.assert_allclose(snippet_ate(truth, predicted), np.sqrt(squares) / 3)


def test_snippet_ate_divides_the_root_by_n_not_the_sum():
    """Perpendicular motion gives scale 0: the error is sqrt(1 + 1) / 3, not sqrt(2 / 3)."""
    truth = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1]], float)
    predicted = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0]], float)
    np.testing.assert_allclose(snippet_ate(truth, predicted), np.sqrt(2) / 3)


def test_snippet_ate_aligns_the_first_positions_and_the_scale():
    truth = np.random.default_rng(0).normal(size=(5, 3))
    assert snippet_ate(truth, 0.2 * truth + [5, 6, 7]) < 1e-13


def test_snippet_ate_of_a_prediction_that_stands_still():
    truth = np.array([[0, 0, 0], [0, 0, 3]], float)
    assert snippet_ate(truth, np.zeros((2, 3))) == 1.5


def drive(count: int, scale: float = 1.0) -> np.ndarray:
    """A camera that turns while it drives: camera-to-world matrices."""
    world = [np.eye(4)]
    for i in range(count - 1):
        world.append(world[-1] @ pose((0, 0.05 + 0.01 * i, 0.01), (0, 0, scale * (1 + 0.1 * i))))
    return np.array(world)


def test_snippets_of_the_same_drive_in_another_world_frame_and_scale_agree():
    errors = snippet_ates(drive(9), pose((0.4, 1.0, -0.2), (3, 4, 5)) @ drive(9, scale=0.1))
    assert errors.shape == (5,)
    np.testing.assert_allclose(errors, 0, atol=1e-12)


def test_snippets_are_windows_of_the_drive():
    """One bend in the middle is seen by the windows that contain it, and by no other."""
    bent = drive(12)
    bent[6:] = bent[5] @ pose((0, 0.3, 0)) @ np.linalg.inv(bent[5]) @ bent[6:]
    errors = snippet_ates(drive(12), bent, length=3)
    assert errors.shape == (10,)
    seen = errors > 1e-9
    # The heading differs from frame 6 on: the windows 4..6 and 5..7 contain motion on both sides of the change.
    np.testing.assert_array_equal(np.flatnonzero(seen), [4, 5])
