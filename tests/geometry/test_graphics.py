"""The plain twins of tensorflow-graphics' camera operators: the same values and gradients, and known ones."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry import camera, graphics

RNG = np.random.default_rng(0)
POINTS = tf.constant(np.concatenate([RNG.uniform(-2, 2, (3, 4, 5, 2)), RNG.uniform(1, 9, (3, 4, 5, 1))], axis=-1))
PIXELS = tf.constant(RNG.uniform(0, 400, (3, 4, 5, 2)))
FOCAL, CENTRE = (tf.constant(RNG.uniform(100, 300, (3, 1, 1, 2))) for _ in range(2))
AXES = RNG.normal(size=(7, 3))
AXES, ANGLES = (tf.constant(x) for x in (AXES / np.linalg.norm(AXES, axis=1, keepdims=True), RNG.normal(size=(7, 1))))
CASES = {
    "project": (graphics.plain_project, graphics.project, (POINTS, FOCAL, CENTRE)),
    "unproject": (
        graphics.plain_unproject,
        graphics.unproject,
        (PIXELS, POINTS[..., 2:], *(x + tf.zeros_like(PIXELS) for x in (FOCAL, CENTRE))),
    ),
    "rotation": (graphics.plain_rotation, graphics.rotation, (AXES, ANGLES)),
}
old_lane = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_graphics") is None, reason="tensorflow-graphics is not installed here"
)


def value_and_gradients(function, arguments):
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
        total = tf.reduce_sum(value * tf.cast(tf.reshape(tf.range(tf.size(value)), value.shape), value.dtype))
    return [value, *tape.gradient(total, arguments)]


@old_lane
@pytest.mark.parametrize("name", CASES)
def test_twins_are_equal(name):
    plain, theirs, arguments = CASES[name]
    assert theirs.__module__.startswith("tensorflow_graphics")
    for ours, other in zip(*(value_and_gradients(function, arguments) for function in (plain, theirs))):
        np.testing.assert_allclose(ours, other, rtol=1e-10, atol=1e-10)


@old_lane
def test_intrinsics_are_taken_apart_as_there():
    from tensorflow_graphics.rendering.camera import perspective

    intrinsics = tf.constant(RNG.uniform(1, 300, (2, 3, 3, 3)))
    for ours, theirs in zip(
        camera.focal_and_principal_point(intrinsics), perspective.intrinsics_from_matrix(intrinsics)
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_known_values():
    focal, centre = tf.constant([100.0, 200.0]), tf.constant([50.0, 20.0])
    point, pixel = tf.constant([1.0, -2.0, 4.0]), tf.constant([75.0, -80.0])
    np.testing.assert_allclose(graphics.plain_project(point, focal, centre), pixel)
    np.testing.assert_allclose(graphics.plain_unproject(pixel, tf.constant([4.0]), focal, centre), point)
    turned = graphics.plain_rotation(tf.constant([0.0, 0.0, 1.0]), tf.constant([np.pi / 2]))
    np.testing.assert_allclose(turned, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-6)
