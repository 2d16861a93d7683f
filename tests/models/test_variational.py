"""The variational step finds small motions by itself, and leaves alone what it cannot know."""

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry.fast_ops import window_mean
from glnet_tf.models.flow.variational import normalised, refined_flow
from glnet_tf.street.street import Street

SIZE = (40, 64)


def waves(shift=(0.0, 0.0)) -> tf.Tensor:
    """A pattern of several waves, [1, H, W, 1] in [0, 1], moved by (u, v)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    x, y = x - shift[0], y - shift[1]
    value = 0.5 + 0.15 * (np.sin(x / 2.3) + np.sin(y / 1.9) + np.sin((x + y) / 3.1))
    return tf.constant(value[np.newaxis, ..., np.newaxis], tf.float32)


def refine(first, second, flow):
    return refined_flow(tf.constant(flow, tf.float32), normalised(first), normalised(second), first).numpy()


@pytest.mark.parametrize("shift", [(0.7, -0.4), (-1.2, 0.9)])
def test_a_shift_of_a_pixel_is_found(shift):
    flow, errors = np.zeros((1, *SIZE, 2)), []
    for _ in range(4):
        flow = refine(waves(), waves(shift), flow)
        errors.append(np.mean(np.linalg.norm(flow[0, 12:-12, 12:-12] - shift, axis=-1)))
    assert errors[0] < 0.5 * np.hypot(*shift) and errors[-1] < 0.1 * np.hypot(*shift)


def test_the_true_flow_stays():
    shift = (4.6, -3.2)
    found = refine(waves(), waves(shift), np.broadcast_to(shift, (1, *SIZE, 2)))
    # At the border, what is continued beyond it disturbs.
    assert np.max(np.abs(found[0, 12:-12, 12:-12] - shift)) < 0.1


def test_without_texture_a_smooth_flow_stays():
    grey = tf.fill([1, *SIZE, 1], 0.5)
    flow = np.zeros((1, *SIZE, 2)) + [1.5, -0.5]
    np.testing.assert_allclose(refine(grey, grey, flow), flow, atol=1e-5)


def test_lighting_does_not_matter():
    first, shift = waves(), (0.8, 0.5)
    darker = 0.5 * waves(shift) + 0.1
    same, changed = (refine(first, second, np.zeros((1, *SIZE, 2))) for second in (waves(shift), darker))
    assert np.mean(np.abs(same - changed)[0, 8:-8, 8:-8]) < 0.1


def test_frames_of_a_street_come_closer():
    street = Street(5, 3, 64, 224)
    first, second = (
        tf.image.rgb_to_grayscale(tf.constant(street.frame(i).image[np.newaxis] / 255, tf.float32)) for i in (0, 1)
    )
    true, visible = street.flow(0, 1)
    # Off by a pixel everywhere.
    start = (true + [0.8, 0.6])[np.newaxis]
    error = np.linalg.norm(refine(first, second, start)[0] - true, axis=-1)[visible]
    assert np.mean(error) < 0.5


def test_the_gradient_passes_as_if_nothing_had_happened():
    flow, upstream = tf.Variable(tf.zeros([1, *SIZE, 2])), tf.random.normal([1, *SIZE, 2])
    with tf.GradientTape() as tape:
        found = refined_flow(flow, normalised(waves()), normalised(waves((0.5, 0.5))), waves())
        loss = tf.reduce_sum(found * upstream)
    np.testing.assert_array_equal(tape.gradient(loss, flow), upstream)


@pytest.mark.parametrize("size", [3, 5])
def test_window_means(size):
    image = np.random.default_rng(0).normal(size=(2, 8, 9, 2)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))
    np.testing.assert_allclose(window_mean(tf.constant(image), size), windows.mean(axis=(-1, -2)), atol=1e-6)
