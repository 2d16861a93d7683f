"""Mistakes seen in public code for this method: each is made here on purpose and shown to differ from the library."""

from __future__ import annotations

import dataclasses
from typing import Callable, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from paper import PAPER_LOSS, PAPER_MODEL

from glnet_tf.geometry import transform
from glnet_tf.geometry.camera import focal_and_principal_point, pixel_grid, pyramid_intrinsics
from glnet_tf.geometry.epipolar import algebraic_residual, essential_matrix, fundamental_matrix
from glnet_tf.geometry.rigid import rigid_correspondence, rigid_flow
from glnet_tf.geometry.sampling import pyramid, warp
from glnet_tf.losses.consistency import consistency_loss
from glnet_tf.losses.epipolar import epipolar_loss
from glnet_tf.losses.objective import LossWeights, compare, objective
from glnet_tf.losses.photometric import moments, photometric_distance, ssim
from glnet_tf.losses.reduction import masked_mean
from glnet_tf.losses.structure import structure_loss
from glnet_tf.models.glnet import GLNet
from glnet_tf.structures import PAIRS, Predictions, Snippet

SIZE = (32, 64)
K = tf.constant([[[40.0, 0, 31.5], [0, 44.0, 15.5], [0, 0, 1]]], tf.float64)
GRID = pixel_grid(*SIZE, tf.float64)
ONE = tf.ones([1, *SIZE, 1], tf.float64)
MOTION = transform.pose_from_vector(tf.constant([[0.02, -0.03, 0.01, 0.3, -0.2, -0.5]], tf.float64))


def smooth_image() -> tf.Tensor:
    """A texture of a few waves, [1, H, W, 3], that bilinear sampling renders well."""
    x, y = np.moveaxis(GRID.numpy(), -1, 0)
    waves = [np.sin(x / 3 + y / 7), np.sin(x / 5 - y / 4), np.cos(x / 4 + y / 3)]
    return tf.constant(0.5 + 0.4 * np.stack(waves, axis=-1)[np.newaxis])


def slanted_plane(pose: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Depth of one plane in camera a and in camera b, [1, H, W, 1]."""
    focal, centre = (part[0].numpy() for part in focal_and_principal_point(K))
    rays = np.concatenate([(GRID.numpy() - centre) / focal, np.ones((*SIZE, 1))], axis=-1)
    normal, offset = np.array([0.4, -0.3, 1.0]), 4.0
    normal_b = pose[:3, :3] @ normal
    depths = offset / (rays @ normal), (offset + normal_b @ pose[:3, 3]) / (rays @ normal_b)
    return tuple(tf.constant(depth[np.newaxis, ..., np.newaxis]) for depth in depths)


def random_depth() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).uniform(3, 6, (1, *SIZE, 1)))


def test_1_the_ssim_distance_is_applied_once():
    """Applied twice, (1 - (1 - SSIM) / 2) / 2, worse images get a smaller distance."""
    image, noise = smooth_image(), np.random.default_rng(0).normal(size=(1, *SIZE, 3))

    def distances(strength: float) -> tuple[float, float]:
        a, b = moments(image), moments(tf.constant(image + strength * noise))
        once = (1 - ssim(a, b)) / 2
        return float(np.mean(photometric_distance(a, b, 1.0))), float(np.mean((1 - once) / 2))

    ours, twice = zip(*(distances(strength) for strength in (0.0, 0.05, 0.2)))
    assert ours[0] == pytest.approx(0, abs=1e-9) and ours[0] < ours[1] < ours[2]
    assert twice[0] > twice[1] > twice[2]


def shifting_snippet() -> tuple[tf.Tensor, Predictions]:
    """A wall at depth 2 that moves 2 pixels to the right from frame to frame; level 0 only."""
    texture = np.random.default_rng(1).uniform(size=(SIZE[0], SIZE[1] + 8, 3))
    images = np.stack([texture[:, s : s + SIZE[1]] for s in (6, 4, 2)])[np.newaxis]
    poses = np.tile(np.eye(4), (1, 4, 1, 1))
    poses[0, :, 0, 3] = [0.1 * (b - a) for a, b in PAIRS]
    flow = np.array([[2.0 * (b - a), 0.0] for a, b in PAIRS])[:, None, None] * np.ones((4, *SIZE, 2))
    made = Predictions(
        disparities=(tf.fill([1, 3, *SIZE, 1], tf.constant(0.5, tf.float64)),),
        flows=(tf.constant(flow[np.newaxis]),),
        poses=tf.constant(poses),
        intrinsics=K,
    )
    return tf.constant(images), made


def test_2_the_warp_samples_frame_b_and_compares_with_frame_a():
    images, made = shifting_snippet()
    pair = compare(images, made, 0)
    inner = (slice(None), slice(2, -2), slice(4, -4))
    assert np.max(pair.by_flow.distance[inner]) < 1e-6 and np.max(pair.rigid_distance[inner]) < 1e-6
    for k, (a, b) in enumerate(PAIRS):
        from_a, _ = warp(images[:, a], pair.by_flow.pixels[k : k + 1])
        mistake = photometric_distance(moments(images[:, b]), moments(from_a), 0.85)
        assert np.mean(mistake[inner]) > 0.2


def test_2_the_warp_takes_pixels_not_coordinates_from_minus_1_to_1():
    image = smooth_image()
    normalised = 2 * GRID / tf.constant([SIZE[1] - 1, SIZE[0] - 1], tf.float64) - 1
    np.testing.assert_array_equal(warp(image, GRID[tf.newaxis])[0], image)
    mistake, valid = warp(image, normalised[tf.newaxis])
    assert np.mean(np.abs(mistake - image)) > 0.1 and np.mean(valid) < 0.5


def test_3_structure_is_compared_at_the_correspondence_and_where_visible():
    depth_a, depth_b = slanted_plane(MOTION[0].numpy())
    rigid = rigid_correspondence(depth_a, K, MOTION)
    sampled = 1 / warp(1 / depth_b, rigid.pixels)[0]
    assert structure_loss(rigid, sampled, rigid.valid) < 1e-9
    same_index = structure_loss(rigid, depth_b, rigid.valid)
    without_visibility = structure_loss(rigid, sampled, ONE)
    assert same_index > 0.01 and without_visibility > 0.01


def test_4_the_essential_matrix_is_t_cross_r():
    pixels = rigid_correspondence(random_depth(), K, MOTION).pixels
    rotation, t = MOTION[:, :3, :3], MOTION[0, :3, 3].numpy() / np.linalg.norm(MOTION[0, :3, 3])
    skew = tf.constant([[[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]]], tf.float64)

    def residual(essential: tf.Tensor) -> float:
        return float(np.mean(algebraic_residual(fundamental_matrix(essential, K), GRID, pixels)))

    ours = essential_matrix(MOTION)
    np.testing.assert_allclose(ours, skew @ rotation, atol=1e-12)
    assert residual(ours) < 1e-12
    mistakes = {"R [t]x": rotation @ skew, "transpose": tf.linalg.matrix_transpose(ours)}
    for name, mistake in mistakes.items():
        assert residual(mistake) > 1e-3, name


@pytest.mark.parametrize("distance", ["algebraic", "sampson"])
def test_4_the_epipolar_loss_pairs_each_pixel_with_its_own_correspondence(distance):
    """All N x N pairs would not vanish at exact correspondences."""
    pixels = rigid_correspondence(random_depth(), K, MOTION).pixels
    assert epipolar_loss(GRID, pixels, MOTION, K, ONE, distance) < 1e-9
    order = np.random.default_rng(2).permutation(SIZE[0] * SIZE[1])
    others = tf.reshape(tf.gather(tf.reshape(pixels, [-1, 2]), order), pixels.shape)
    assert epipolar_loss(GRID, others, MOTION, K, ONE, distance) > 1e-2


def test_5_the_opposite_flow_is_sampled_at_the_pixel_plus_the_flow():
    """An expanding flow and its exact inverse; sampled at the flow alone, or at the same pixel, it does not cancel."""
    scale, centre = 1.25, np.array([31.5, 15.5])
    forward = tf.constant(((GRID.numpy() - centre) * (scale - 1))[np.newaxis])
    backward = tf.constant(((GRID.numpy() - centre) * (1 / scale - 1))[np.newaxis])

    def loss(pixels: tf.Tensor) -> float:
        returned, valid = warp(backward, pixels)
        return float(consistency_loss(forward, returned, valid)[0])

    assert loss(GRID + forward) < 1e-9
    assert loss(forward) > 1 and loss(GRID[tf.newaxis]) > 0.5


def test_5_in_the_comparison_of_a_snippet_too():
    images, made = shifting_snippet()
    flow = made.flows[0].numpy()
    # Frame 1's flow to frame 2 is (2, 0); frame 2's flow back is (-2, 0) only right of column 40.
    flow[0, 3, :, :41] = [50.0, 50.0]
    pair = compare(images, made._replace(flows=(tf.constant(flow),)), 0)
    np.testing.assert_allclose(pair.by_flow.returned[1, 5, 39:60], np.tile([-2.0, 0.0], (21, 1)))
    np.testing.assert_allclose(pair.by_flow.returned[1, 5, :39], np.tile([50.0, 50.0], (39, 1)))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_6_intrinsics_follow_the_pyramid(level):
    """A wall coming nearer has an affine flow: that of a level is exactly the mean of the finer one's, halved."""
    wall = tf.fill([1, *SIZE, 1], tf.constant(4.0, tf.float64))
    nearer = transform.pose_from_vector(tf.constant([[0.0, 0, 0, 0.3, -0.1, -1.0]], tf.float64))
    expected = pyramid(rigid_flow(wall, K, nearer), level + 1)[-1] / 2**level
    coarse = pyramid(wall, level + 1)[-1]

    def error(intrinsics: tf.Tensor) -> float:
        return float(np.mean(np.abs(rigid_flow(coarse, intrinsics, nearer) - expected)))

    assert error(pyramid_intrinsics(K, level)) < 1e-9
    halved = tf.concat([K[:, :2] / 2**level, K[:, 2:]], axis=1)
    assert error(K) > 1  # not rescaled
    assert error(halved) > 0.05  # cx / 2^s, which forgets that pixel centres are at whole numbers
    normalised = K / tf.constant([[SIZE[1]], [SIZE[0]], [1]], tf.float64)
    assert error(normalised) > 0.4


def test_6_the_objective_uses_the_intrinsics_of_each_level():
    images, made = shifting_snippet()
    coarse = Predictions(
        disparities=(made.disparities[0], made.disparities[0][:, :, ::2, ::2]),
        flows=(made.flows[0], made.flows[0][:, :, ::2, ::2] / 2),
        poses=made.poses,
        intrinsics=made.intrinsics,
    )
    pair = compare(images[:, :, ::2, ::2], coarse, 1)
    np.testing.assert_allclose(pair.intrinsics, tf.repeat(pyramid_intrinsics(K, 1), 4, axis=0))
    np.testing.assert_allclose(pair.rigid.pixels, pair.by_flow.pixels, atol=1e-9)


def test_6_epipolar_residuals_need_k_in_pixels():
    pixels = rigid_correspondence(random_depth(), K, MOTION).pixels
    normalised = K / tf.constant([[SIZE[1]], [SIZE[0]], [1]], tf.float64)
    assert epipolar_loss(GRID, pixels, MOTION, K, ONE, "algebraic") < 1e-9
    assert epipolar_loss(GRID, pixels, MOTION, normalised, ONE, "algebraic") > 1e-2


class Compiled(NamedTuple):
    """GLNet and the objective in one compiled function, its weights as variables, and one entry per tracing."""

    run: Callable[[Snippet], tuple]
    weights: LossWeights
    traces: list


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    keras.utils.set_random_seed(0)
    networks = dataclasses.replace(
        PAPER_MODEL, encoder="efficientnet_lite0", encoder_weights="none", intrinsics="given"
    )
    model = GLNet(networks, 1, *SIZE)
    model.build_variables()
    weights, traces = LossWeights(*(tf.Variable(1.0) for _ in LossWeights._fields)), []
    signature = Snippet(
        images=tf.TensorSpec([None, 3, *SIZE, 3], tf.float32),
        intrinsics=tf.TensorSpec([None, 3, 3], tf.float32),
        camera=tf.TensorSpec([None], tf.int32),
        index=tf.TensorSpec([None], tf.int64),
        mirrored=tf.TensorSpec([None], tf.bool),
    )

    @tf.function(input_signature=[signature], autograph=False)
    def run(snippet: Snippet) -> tuple:
        traces.append(1)
        predictions = model(snippet)
        return predictions, *objective(snippet, predictions, weights, PAPER_LOSS)

    return Compiled(run, weights, traces)


FOUR = Snippet(
    images=tf.random.stateless_uniform([4, 3, *SIZE, 3], (1, 2)),
    intrinsics=tf.repeat(tf.cast(K, tf.float32), 4, axis=0),
    camera=tf.zeros([4], tf.int32),
    index=tf.range(4, dtype=tf.int64),
    mirrored=tf.zeros([4], tf.bool),
)


def test_7_a_smaller_last_batch_gives_the_same_numbers(compiled):
    """A batch of four, then its first three snippets, then its last."""
    first, _, whole = compiled.run(FOUR)
    second, _, three = compiled.run(Snippet(*(field[:3] for field in FOUR)))
    _, _, last = compiled.run(Snippet(*(field[3:] for field in FOUR)))
    assert len(compiled.traces) == 1
    for a, b in zip(tf.nest.flatten(tuple(first)), tf.nest.flatten(tuple(second))):
        np.testing.assert_allclose(a[:3], b, atol=1e-5)
    # A batch's mean over pixels is that of its parts where every pixel counts, and nearly so where few do not.
    for name, tolerance in (("photometric", 1e-2), ("depth_smoothness", 1e-4), ("flow_smoothness", 1e-4)):
        parts = (3 * getattr(three, name) + getattr(last, name)) / 4
        np.testing.assert_allclose(getattr(whole, name), parts, rtol=tolerance, err_msg=name)


def test_8_loss_weights_are_not_baked_into_the_graph(compiled):
    """The weights may change between steps, without another trace."""
    one = Snippet(*(field[:1] for field in FOUR))
    _, before, report = compiled.run(one)
    np.testing.assert_allclose(before, sum(report), rtol=1e-5)
    compiled.weights.photometric.assign(3.0)
    compiled.weights.structure.assign(0.0)
    _, after, _ = compiled.run(one)
    np.testing.assert_allclose(after, before + 2 * report.photometric - report.structure, rtol=1e-5)
    assert len(compiled.traces) == 1


def test_9_flow_is_u_along_x_then_v_along_y():
    """(row, column) order would move the image along the other axis."""
    image = smooth_image()
    flow = tf.constant([3.0, 0.0], tf.float64)
    moved, valid = warp(image, GRID[tf.newaxis] + flow)
    np.testing.assert_array_equal(moved[:, :, :-3], image[:, :, 3:])
    swapped, _ = warp(image, GRID[tf.newaxis] + flow[::-1])
    assert masked_mean(tf.reduce_mean(tf.abs(swapped - moved), axis=-1, keepdims=True), valid) > 0.1
    sideways = transform.pose_from_vector(tf.constant([[0.0, 0, 0, 0.3, 0, 0]], tf.float64))
    np.testing.assert_allclose(rigid_flow(4 * ONE, K, sideways)[0, 0, 0], [3.0, 0.0], atol=1e-9)
