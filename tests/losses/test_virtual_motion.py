"""Frames moved by a made-up camera: their flow is exact, their motions are those of cameras, the loss finds errors."""

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.sampling import warp
from glnet_tf.losses import virtual_motion
from glnet_tf.losses.virtual_motion import BEYOND, MAX_DISTANCE, MIN_DISTANCE, virtual_motion_loss, virtual_pairs

HEIGHT, WIDTH = 64, 160


@pytest.fixture(scope="module")
def images():
    blobs = np.random.default_rng(0).uniform(size=(8, HEIGHT // 4, WIDTH // 4, 3)).astype(np.float32)
    return tf.clip_by_value(tf.image.resize(blobs, (HEIGHT, WIDTH), "bicubic"), 0, 1)


def seed(number):
    return tf.constant([number, 0], tf.int64)


def test_frame_a_is_frame_b_where_the_flow_leads(images, monkeypatch):
    for change in ("GAMMA", "EXPOSURE", "COLOUR", "NOISE"):
        monkeypatch.setattr(virtual_motion, change, 0.0)
    pairs = virtual_pairs(images, seed(1))
    a, b = tf.unstack(pairs.images, axis=1)
    np.testing.assert_allclose(b, tf.maximum(images, 1e-4), atol=1e-6)
    found, valid = warp(b, pixel_grid(HEIGHT, WIDTH) + pairs.flow)
    np.testing.assert_array_equal(pairs.weight, tf.where(valid > 0, 1.0, BEYOND))
    np.testing.assert_allclose(valid * found, valid * a, atol=1e-4)
    assert 0.5 < tf.reduce_mean(valid) < 1 and np.abs(a - b).mean() > 0.05


def test_frames_differ_in_exposure_and_noise(images):
    a, b = tf.unstack(virtual_pairs(images, seed(1)).images, axis=1)
    change = np.abs(b - images).mean(axis=(1, 2, 3))
    assert np.all((change > 0.003) & (change < 0.15)) and np.unique(change).size == len(change)
    assert np.min(a) >= 0 and np.max(a) <= 1


def test_motions_follow_from_the_seed_and_have_the_lengths_of_driving(images):
    pairs = [virtual_pairs(images, seed(number)) for number in (1, 1, *range(2, 8))]
    for one, other in zip(pairs[0], pairs[1]):
        np.testing.assert_array_equal(one, other)
    assert np.abs(pairs[0].flow - pairs[2].flow).mean() > 1
    lengths = np.linalg.norm(np.concatenate([p.flow for p in pairs[1:]]), axis=-1).reshape(-1, HEIGHT * WIDTH)
    longest = np.percentile(lengths, 90, axis=1)
    # A rotation adds to what the translation causes, or takes away from it.
    assert 0.01 * MIN_DISTANCE * WIDTH < np.median(longest) < 0.01 * MAX_DISTANCE * WIDTH
    assert longest.max() > 3 * longest.min() and np.isfinite(lengths).all()


def test_the_loss_is_least_at_the_true_flow_and_counts_full_pixels(images):
    pairs = virtual_pairs(images, seed(3))
    levels = [
        tf.nn.avg_pool2d(pairs.weight * pairs.flow, n, n, "VALID") / tf.nn.avg_pool2d(pairs.weight, n, n, "VALID") / n
        for n in (1, 2, 4, 8)
    ]
    exact = tuple(level[:, tf.newaxis] for level in levels)
    off = tuple(level + [0.3 / 2**number, 0.4 / 2**number] for number, level in enumerate(exact))
    np.testing.assert_allclose(virtual_motion_loss(exact, pairs), 0.01**0.35, rtol=1e-3)
    np.testing.assert_allclose(virtual_motion_loss(off, pairs), 0.26**0.35, rtol=1e-3)


def test_pixels_that_leave_the_image_count_little(images):
    pairs = virtual_pairs(images, seed(4))
    wrong = pairs.flow + 5.0 * tf.cast(pairs.weight < 1, tf.float32)
    count = tf.reduce_mean(tf.cast(pairs.weight < 1, tf.float32))
    share = BEYOND * count / (BEYOND * count + 1 - count)
    expected = (1 - share) * 0.01**0.35 + share * 50.01**0.35
    assert count > 0.01
    np.testing.assert_allclose(virtual_motion_loss((wrong[:, tf.newaxis],), pairs), expected, rtol=1e-3)
