import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.data.augment import augment, change_colours, mirror, zoom

HEIGHT, WIDTH = 4, 6
K = np.array([[5.0, 0, 2], [0, 7, 1], [0, 0, 1]], np.float32)


def random_images(seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(0.2, 0.8, (3, HEIGHT, WIDTH, 3)), tf.float32)


def test_mirror_moves_the_principal_point_to_the_mirrored_pixel():
    images, intrinsics = mirror(random_images(), tf.constant(K))
    np.testing.assert_array_equal(images, random_images().numpy()[:, :, ::-1])
    np.testing.assert_array_equal(intrinsics, [[5, 0, 3], [0, 7, 1], [0, 0, 1]])


def test_mirroring_twice_is_the_identity():
    images, intrinsics = mirror(*mirror(random_images(), tf.constant(K)))
    np.testing.assert_array_equal(images, random_images())
    np.testing.assert_array_equal(intrinsics, K)


def test_unknown_intrinsics_stay_unknown_when_mirrored():
    assert not mirror(random_images(), tf.zeros([3, 3]))[1].numpy().any()


def test_a_zoom_cuts_a_part_of_the_same_shape_anywhere_and_k_follows():
    y, x = np.mgrid[:80, :200].astype(np.float32)
    frames = tf.constant(np.tile(np.stack([x, y, x], axis=-1), (3, 1, 1, 1)))
    camera = np.array([[150.0, 0, 90], [0, 140, 35], [0, 0, 1]], np.float32)
    heights, corners = [], []
    for position in range(60):
        part, intrinsics = zoom(frames, tf.constant(camera), tf.constant([0, position], tf.int64), 0.6)
        part, intrinsics = part.numpy(), intrinsics.numpy()
        height, width = part.shape[1:3]
        assert abs(width - 2.5 * height) < 2
        # The ray of a pixel is what it was.
        np.testing.assert_allclose(part[0, 3, 5, 0] - camera[0, 2], 5 - intrinsics[0, 2])
        np.testing.assert_allclose(part[2, 3, 5, 1] - camera[1, 2], 3 - intrinsics[1, 2])
        np.testing.assert_array_equal(np.diag(intrinsics), np.diag(camera))
        heights.append(height)
        corners.append((part[0, 0, 0, 0], part[0, -1, -1, 0]))
    assert min(heights) in (50, 51) and max(heights) > 75
    assert min(left for left, _ in corners) < 3 and max(right for _, right in corners) > 196
    assert not zoom(frames, tf.zeros([3, 3]), tf.constant([0, 0], tf.int64), 0.6)[1].numpy().any()


def test_half_of_the_snippets_are_mirrored_images_and_intrinsics_together():
    images = random_images()
    flips = []
    for position in range(200):
        seed = tf.constant([0, position], tf.int64)
        changed, intrinsics, mirrored = augment(images, tf.constant(K), seed, True, 0.0)
        flips.append(intrinsics.numpy()[0, 2] == 3)
        assert bool(mirrored) == flips[-1]
        np.testing.assert_array_equal(changed, images[:, :, ::-1] if flips[-1] else images)
    assert 70 < sum(flips) < 130


def test_no_flip_and_no_colour_change_nothing():
    images, intrinsics, mirrored = augment(random_images(), tf.constant(K), tf.constant([3, 4]), False, 0.0)
    assert not mirrored
    np.testing.assert_array_equal(images, random_images())
    np.testing.assert_array_equal(intrinsics, K)


def test_the_three_frames_get_the_same_augmentation():
    frame = random_images()[:1]
    seeds = [tf.constant([1, position]) for position in range(8)]
    results = [augment(tf.repeat(frame, 3, axis=0), tf.constant(K), seed, True, 0.4)[0].numpy() for seed in seeds]
    for result in results:
        np.testing.assert_array_equal(result[0], result[1])
        np.testing.assert_array_equal(result[0], result[2])
    assert all(np.abs(results[0] - other).max() > 1e-3 for other in results[1:])


def test_augmentation_is_a_function_of_the_seed():
    first, again = (augment(random_images(), tf.constant(K), tf.constant([1, 2]), True, 0.3) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])


def test_a_colour_change_stays_in_range_and_depends_on_its_size():
    images = random_images()
    strong = augment(images, tf.constant(K), tf.constant([0, 0]), False, 0.9)[0].numpy()
    weak = augment(images, tf.constant(K), tf.constant([0, 0]), False, 0.01)[0].numpy()
    assert strong.min() >= 0 and strong.max() <= 1
    assert 0 < np.abs(weak - images).max() < 0.04 < np.abs(strong - images).max()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((1.0, 1.0, 1.0, 0.0), [0.2, 0.4, 0.6]),
        ((1.5, 1.0, 1.0, 0.0), [0.3, 0.6, 0.9]),
        ((1.0, 1.0, 0.0, 0.0), [0.363] * 3),  # 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
        ((1.0, 0.0, 1.0, 0.0), [0.363] * 3),  # the mean grey of a uniform image
        ((1.0, 1.0, 1.0, 2 * np.pi / 3), [0.6, 0.2, 0.4]),  # a third of a turn: red becomes green, green blue
        ((2.0, 1.0, 1.0, 0.0), [0.4, 0.8, 1.0]),
    ],
    ids=["identity", "brightness", "saturation", "contrast", "hue", "clipped"],
)
def test_each_colour_change_by_hand(change, expected):
    images = tf.broadcast_to(tf.constant([0.2, 0.4, 0.6]), [3, 2, 2, 3])
    changed = change_colours(images, *map(tf.constant, change))
    np.testing.assert_allclose(changed, np.broadcast_to(expected, (3, 2, 2, 3)), atol=1e-6)


def test_contrast_keeps_the_mean_and_scales_the_differences():
    images = tf.broadcast_to(tf.constant([0.25, 0.75])[None, None, :, None], [3, 2, 2, 3])
    changed = change_colours(images, *map(tf.constant, (1.0, 1.5, 1.0, 0.0)))
    np.testing.assert_allclose(changed[0, 0, :, 0], [0.125, 0.875], atol=1e-6)


def test_grey_stays_grey_under_hue_and_saturation():
    images = tf.repeat(random_images()[..., :1], 3, axis=-1)
    np.testing.assert_allclose(change_colours(images, *map(tf.constant, (1.0, 1.0, 1.3, 0.4))), images, atol=1e-6)
