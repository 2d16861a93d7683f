"""Evidence of inverse depth: the rendered street's own, by hand, and merged over pairs and the ground."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize_scalar
from street_truth import true_scene

from glnet_tf.geometry.evidence import (
    CONTRADICTION,
    EPIPOLAR_ERROR,
    GROUND_WEIGHT,
    MIN_PARALLAX,
    MIN_PROVED,
    MIN_SUPPORT,
    NOISE,
    PARALLAX_ERROR,
    RETURN_ERROR,
    SUPPORT_WINDOW,
    Evidence,
    PairEvidence,
    merged_evidence,
    pair_evidence,
    robust_centre,
    with_ground,
)
from glnet_tf.geometry.motion import motion_covariance
from glnet_tf.geometry.transform import (
    pose_from_rotation_translation,
    rotation_from_axis_angle,
    rotation_of,
    translation_of,
)
from glnet_tf.geometry.triangulation import triangulate
from glnet_tf.structures import REVERSE

FOCAL, CX, CY = 100.0, 50.0, 25.0
K = np.array([[[FOCAL, 0, CX], [0, FOCAL, CY], [0, 0, 1]]], np.float32)
SIZE = (51, 101)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)


def maps(values: np.ndarray | float) -> tf.Tensor:
    """[1, H, W, 1] of [H, W] or of a number."""
    return tf.constant(np.broadcast_to(np.asarray(values, np.float32), SIZE)[np.newaxis, ..., np.newaxis])


def map_of(tensor: tf.Tensor) -> np.ndarray:
    return tensor.numpy()[0, ..., 0]


def believed(parallax: np.ndarray | float) -> np.ndarray | float:
    return (parallax / (PARALLAX_ERROR + parallax)) ** 2


def sideways(u: float, v: float, length: float = 1.0, returned: float = 0.0) -> Evidence:
    """Of a flow that is the same everywhere, whose return ends so far off, by a camera that moves along x."""
    flow = tf.constant(np.broadcast_to(np.float32([u, v]), (1, *SIZE, 2)))
    pose = np.eye(4, dtype=np.float32)[np.newaxis].copy()
    pose[0, 0, 3] = length
    return pair_evidence(flow, returned * np.float32([0.6, 0.8]) - flow, K, pose).alone()


@pytest.fixture(scope="module")
def street():
    """Flow, return, K and T of the four pairs, with log inverse depth and the mask of what is not occluded."""
    scene = true_scene((64, 224))
    flows, truth = scene.truth.flows[0][0], scene.truth
    given = flows, tf.gather(flows, REVERSE), tf.repeat(truth.intrinsics, 4, axis=0), truth.poses[0]
    logarithm = np.log(tf.gather(truth.disparities[0][0], (0, 1, 1, 2)).numpy())
    return given, logarithm, scene.static.numpy() > 0, scene.smooth.numpy() > 0


@pytest.fixture(scope="module")
def exact(street):
    return pair_evidence(*street[0]).alone()


def test_the_flow_of_a_street_proves_its_depth(street, exact):
    (flow, _, intrinsics, pose), truth, static, smooth = street
    known = static & (exact.weight.numpy() > 0)
    assert known.mean() > 0.5
    np.testing.assert_allclose(exact.log_disparity.numpy()[known], truth[known], atol=1e-3)
    # Parallax: how far a pixel ends from where its point would if it were infinitely far.
    y, x = np.mgrid[:64, :224]
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1)
    for k, (matrix, motion) in enumerate(zip(intrinsics.numpy(), pose.numpy())):
        far = pixels @ (matrix @ motion[:3, :3] @ np.linalg.inv(matrix)).T
        parallax = np.linalg.norm(pixels[..., :2] + flow[k].numpy() - far[..., :2] / far[..., 2:], axis=-1)
        seen = smooth[k, ..., 0] & (np.abs(parallax - MIN_PARALLAX) > 0.01)
        expected = np.where(parallax > MIN_PARALLAX, believed(parallax), 0)
        np.testing.assert_allclose(map_of(exact.weight[k : k + 1])[seen], expected[seen], rtol=0.02, atol=1e-6)


def test_a_return_that_ends_elsewhere_counts_less():
    off = [map_of(sideways(10, 0, returned=by).weight)[10, 30] for by in (0, RETURN_ERROR, 1.5 * RETURN_ERROR)]
    np.testing.assert_allclose(off, believed(10) * np.exp([0, -1, -2.25]), rtol=1e-4)


def test_a_match_off_its_epipolar_line_counts_less():
    off = [map_of(sideways(10, v).weight)[10, 30] for v in (0, EPIPOLAR_ERROR, -1.5 * EPIPOLAR_ERROR)]
    np.testing.assert_allclose(off, believed(10) * np.exp([0, -1, -2.25]), rtol=1e-4)
    np.testing.assert_allclose(map_of(sideways(10, EPIPOLAR_ERROR).log_disparity), np.log(0.1), atol=1e-4)


@pytest.mark.parametrize("half_width, counts", [(3, 0), (5, 1)])
def test_a_pair_that_proves_little_of_the_image_counts_less(half_width, counts):
    """The camera stands, and one block moves."""
    block = (abs(X - 50) < half_width) & (abs(Y - 25) < 8)
    flow = tf.constant(np.stack([10.0 * block, 0 * X], axis=-1)[np.newaxis], tf.float32)
    pose = np.eye(4, dtype=np.float32)[np.newaxis].copy()
    pose[0, 0, 3] = 1
    weight = map_of(pair_evidence(flow, tf.roll(-flow, 10, axis=2), K, pose).alone().weight)
    share = block.mean() * believed(10) / MIN_PROVED
    assert share < 0.5 if counts == 0 else 0.5 < share < 1
    np.testing.assert_allclose(weight, counts * block * believed(10) * (2 * share - 1), rtol=1e-3, atol=1e-6)


def test_what_leads_out_of_the_image_proves_nothing():
    weight = map_of(sideways(10, 0).weight)
    assert np.all(weight[:, -10:] == 0) and np.all(weight[:, :-10] > 0.8)


@pytest.mark.parametrize("flow, length", [(MIN_PARALLAX - 1e-3, 1), (0, 1), (-5, 1), (5, 0), (0, 0)])
def test_too_little_parallax_proves_nothing(flow, length):
    found = sideways(flow, 0, length)
    assert np.all(found.weight.numpy() == 0) and np.all(np.isfinite(found.log_disparity))
    np.testing.assert_allclose(map_of(sideways(0.31, 0).weight)[10, 30], believed(0.31), rtol=1e-3)


def test_motions_of_the_covariance_scatter_inverse_depth_by_the_motions_error(street):
    flow, opposite, intrinsics, pose = street[0]
    covariance = motion_covariance(flow, opposite, intrinsics, pose).numpy().astype(float)
    root, length = np.linalg.cholesky(covariance + 1e-14 * np.eye(6)), tf.norm(translation_of(pose), axis=-1)
    rng, expected = np.random.default_rng(0), triangulate(flow, intrinsics, pose)

    def ratio() -> np.ndarray:
        change = tf.constant((root @ rng.normal(size=(4, 6, 1)))[..., 0], tf.float32)
        direction = tf.math.l2_normalize(translation_of(pose) / length[:, tf.newaxis] + change[:, 3:], axis=-1)
        rotation = tf.matmul(rotation_from_axis_angle(change[:, :3]), rotation_of(pose))
        moved = pose_from_rotation_translation(rotation, length[:, tf.newaxis] * direction)
        found = triangulate(flow, intrinsics, moved)
        return (found.parallax / found.slope / (expected.parallax / expected.slope)).numpy()

    clear = expected.parallax.numpy() > 1
    scatter = (np.std([ratio() for _ in range(100)], axis=0) * expected.parallax)[clear]
    quotient = pair_evidence(*street[0]).motion_error.numpy()[clear] / scatter
    np.testing.assert_allclose(np.quantile(quotient, (0.1, 0.5, 0.9)), 1, atol=0.25)


def test_no_gradient_passes(street):
    given = [tf.identity(x) for x in street[0]]
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = pair_evidence(*given).alone()
        total = tf.reduce_sum(found.log_disparity * found.weight)
    assert tape.gradient(total, given) == [None] * 4


def test_the_robust_centre_is_a_minimum_of_geman_and_mcclures_kernel():
    generator, tolerance = np.random.default_rng(0), 0.35
    values, weight = generator.normal(2, 0.1, SIZE), generator.uniform(0.2, 1, SIZE)
    outlying = generator.random(SIZE) < 0.3
    values[outlying] += generator.uniform(0.8, 3, outlying.sum())

    def cost(centre):
        square = ((values - centre) / tolerance) ** 2
        return np.sum(weight * square / (1 + square))

    expected = minimize_scalar(cost, bounds=(1.5, 2.5), method="bounded", options={"xatol": 1e-6}).x
    assert abs(expected - 2) < 0.02 < 0.3 < np.mean(values) - 2
    np.testing.assert_allclose(robust_centre(maps(values), maps(weight), tolerance), [[[[expected]]]], atol=1e-3)


def test_the_robust_centre_by_hand():
    values, weight = np.zeros((2, *SIZE))
    values[3, 4:6], weight[3, 4:6] = (1.0, 1.4), (3, 1)
    two = tf.concat([maps(values), maps(7.0)], axis=0), tf.concat([maps(weight), maps(0.0)], axis=0)
    np.testing.assert_allclose(robust_centre(*two, 1e3), [[[[1.1]]], [[[0]]]], rtol=1e-5)  # the mean; nothing
    values[3, 5] = 10
    np.testing.assert_allclose(robust_centre(maps(values), maps(weight), 0.35), [[[[1]]]], atol=1e-4)
    # The mean of all is next to a few that are wrong.
    values[3, 4:7], weight[3, 4:7] = (0, 1, 0.35), (60, 35, 5)
    assert abs(robust_centre(maps(values), maps(weight), 0.1)) < 0.01


CLEAR = 1e8  # parallax, pixels, beside which all errors of flow are small


def pair_of(log_disparity: np.ndarray, weight: np.ndarray | float, motion_error: float = 0.0) -> PairEvidence:
    """A pair that proves an inverse depth with a weight; its motion makes an error, relative to NETWORK's parallax."""
    return PairEvidence(
        maps(CLEAR * np.exp(log_disparity)), maps(CLEAR), maps(weight), maps(motion_error * CLEAR * np.exp(NETWORK))
    )


NETWORK = (0.2 * np.sin(X / 15) + 0.02 * Y - 2).astype(np.float32)


def test_merged_evidence_is_in_the_networks_scale():
    first = pair_of(NETWORK + 0.7, 0.5)
    second = pair_of(NETWORK - 1.1, np.where(X < 50, 0.8, 0))
    found, scales = merged_evidence([first, second], maps(NETWORK))
    np.testing.assert_allclose([map_of(scale) for scale in scales], [[[0.7]], [[-1.1]]], atol=1e-5)
    np.testing.assert_allclose(map_of(found.log_disparity), NETWORK, atol=1e-5)
    away = abs(X - 50) > SUPPORT_WINDOW
    together = np.where(X < 50, 1.3, 0.5)
    expected = np.minimum(together, 1) * together / (together + MIN_SUPPORT)
    np.testing.assert_allclose(map_of(found.weight)[away], expected[away], atol=1e-5)


def test_what_moves_by_itself_loses_its_weight():
    block = (abs(X - 30) < 8) & (abs(Y - 20) < 6)
    pairs = [pair_of(NETWORK + s + block, 1) for s in (0.7, -1.1)]
    found, scales = merged_evidence(pairs, maps(NETWORK))
    np.testing.assert_allclose([map_of(scale) for scale in scales], [[[0.7]], [[-1.1]]], atol=0.01)
    weight = map_of(found.weight)
    far = (abs(X - 30) > 20) | (abs(Y - 20) > 20)
    np.testing.assert_allclose(weight[far], 2 / (2 + MIN_SUPPORT), rtol=1e-5)
    assert 0 < np.max(weight[block]) < 2 * np.exp(-(CONTRADICTION**-2)) * 1.2
    np.testing.assert_allclose(map_of(found.log_disparity)[~block], NETWORK[~block], atol=0.01)


def test_what_an_inexact_motion_says_counts_beside_the_network():
    """A pair whose motion may be off by what the network may be off by moves its depth half the way."""
    sides = np.where(X < 50, 0.2, -0.2)
    exact, inexact = (
        merged_evidence([pair_of(NETWORK + sides, 1, error)], maps(NETWORK))[0] for error in (0, CONTRADICTION)
    )
    whole, half = (np.expm1(map_of(found.log_disparity) - NETWORK) for found in (exact, inexact))
    np.testing.assert_allclose(whole, np.expm1(sides), atol=0.01)
    np.testing.assert_allclose(half, whole / 2, rtol=0.01)
    np.testing.assert_allclose(map_of(inexact.weight), map_of(exact.weight) / 2, rtol=0.01)


def test_threads_of_matches_count_less_than_patches():
    thread, patch = abs(X - 30) < 1, abs(X - 70) < 10
    found, _ = merged_evidence([pair_of(NETWORK, 0.2 * (thread | patch))], maps(NETWORK))
    weight = map_of(found.weight)
    assert np.max(weight[thread]) < 0.25 * np.min(weight[abs(X - 70) < 3])


def test_a_pair_is_aligned_to_the_first_where_both_see():
    """Where the second pair sees, the network is wrong by 0.3: the first pair, which sees all, tells its scale."""
    side = X > 75
    first, second = (pair_of(NETWORK + 0.3 * side + s, w) for s, w in ((0.7, 1), (-1.1, side)))
    scales = merged_evidence([first, second], maps(NETWORK))[1]
    np.testing.assert_allclose(map_of(scales[1] - scales[0]), [[-1.8]], atol=1e-4)
    apart = first._replace(certain=maps(~side))
    scales = merged_evidence([apart, second], maps(NETWORK))[1]
    np.testing.assert_allclose([map_of(scale) for scale in scales], [[[0.7]], [[-0.8]]], atol=1e-4)


def test_what_is_far_is_not_brought_nearer_by_noise():
    """Of parallaxes of half a pixel, with errors of 0.3, those above a threshold would have a mean of 0.6."""
    rng = np.random.default_rng(0)
    expected = np.where(X < 60, 0.5, 20.0)
    noisy = expected + rng.normal(0, NOISE, SIZE)
    pair = PairEvidence(maps(noisy), maps(expected * np.exp(-NETWORK)), maps(1), maps(0))
    found, (scale,) = merged_evidence([pair], maps(NETWORK))
    far = X < 55
    weight, ratio = map_of(found.weight)[far], map_of(found.log_disparity - maps(NETWORK))[far]
    assert abs(float(scale[0, 0, 0, 0])) < 0.02
    np.testing.assert_allclose(np.sum(weight * np.exp(ratio)) / np.sum(weight), 1, atol=0.05)


def test_pairs_of_a_street_get_one_scale(street, exact):
    """The middle frame's pairs, as if the lengths of both translations were unknown."""
    truth, moves = tf.constant(street[1][1:2]), ~(street[2][1:2] | street[2][2:3])
    both = pair_evidence(*street[0])
    pairs = [PairEvidence(*(x[k : k + 1] for x in both)) for k in (1, 2)]
    pairs = [pair._replace(slope=pair.slope * np.exp(-by)) for pair, by in zip(pairs, (0.3, -0.5))]
    found, scales = merged_evidence(pairs, truth)
    np.testing.assert_allclose([map_of(scale) for scale in scales], [[[0.3]], [[-0.5]]], atol=0.01)
    error = np.abs(found.log_disparity - truth)[~moves & (found.weight.numpy() > 0.1)]
    assert np.median(error) < 0.01 and np.mean(error > 0.05) < 0.03


def ground(network: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log inverse depth of a level road 1.6 below the camera; and what with_ground makes of it, seen with a weight: log
    inverse depth, its weight, and that of the network's own."""
    plane = np.log(np.maximum((Y - CY) / FOCAL / 1.6, 1e-3))
    seen = np.where(weight > 0, plane, plane + network)
    found, own_weight, _ = with_ground(Evidence(maps(seen), maps(weight)), maps(plane + network), K)
    return plane, map_of(found.log_disparity), map_of(found.weight), map_of(own_weight)


AHEAD, NEAR = (Y > 30) & (Y < 38), Y >= 40


def test_the_ground_continues_to_the_bare_road_where_the_network_sees_it():
    bare = NEAR & (X >= 30) & (X <= 70)
    factor = np.select([bare, NEAR & (X < 30), NEAR], [1.1, 2, 0.5], 1)  # too near; an obstacle; a hole
    plane, found, weight, own_weight = ground(np.log(factor), AHEAD.astype(float))
    np.testing.assert_allclose(found[bare | AHEAD], plane[bare | AHEAD], atol=5e-3)
    np.testing.assert_allclose((weight + own_weight)[NEAR], GROUND_WEIGHT, rtol=1e-5)
    assert np.all(weight[bare] > 0.98 * GROUND_WEIGHT) and np.all(weight[NEAR & ~bare] < 0.01 * GROUND_WEIGHT)
    np.testing.assert_array_equal(weight[AHEAD], 1)
    assert np.all(weight[Y < CY] == 0) and np.all(own_weight[Y < CY] == 0)


def test_without_evidence_of_a_plane_there_is_no_ground_but_the_networks_own():
    network = np.where(NEAR, 0.1, 0)
    _, _, weight, own_weight = ground(network, np.zeros(SIZE))
    np.testing.assert_array_equal(weight, 0)
    np.testing.assert_allclose(own_weight[NEAR], GROUND_WEIGHT, rtol=1e-5)
    wall = Evidence(maps(-1.0), maps(AHEAD))
    found, own_weight, _ = with_ground(wall, maps(-1.0), K)
    np.testing.assert_array_equal(found.weight, wall.weight)
    np.testing.assert_array_equal(own_weight, 0)
