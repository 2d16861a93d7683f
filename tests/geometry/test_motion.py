"""Camera motion from flow: exact flow gives the exact motion, whatever its direction and in spite of moving objects."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.epipolar import essential_matrix, fundamental_matrix, sampson_residual
from glnet_tf.geometry.motion import CORRELATION, motion_covariance, motion_from_flow
from glnet_tf.geometry.rigid import rigid_flow
from glnet_tf.geometry.transform import inverse, pose_from_vector

SIZE = (48, 96)
K = tf.constant([[[80.0, 0.0, 47.5], [0.0, 84.0, 23.5], [0.0, 0.0, 1.0]]])
MOTIONS = {
    "forward": (0.01, -0.03, 0.004, 0.05, 0.02, -0.4),
    "backward": (-0.01, 0.02, 0.0, 0.02, 0.0, 0.3),
    "sideways": (0.002, 0.01, 0.003, 0.4, 0.01, 0.03),
    "upwards": (0.004, 0.002, -0.01, 0.02, -0.3, 0.02),
}
# No match: every coordinate lies far outside the image.
NOTHING = tf.fill([1, *SIZE, 2], 1e6)


def depth(seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(3, 12, (1, *SIZE, 1)), tf.float32)


def pose(vector: tuple[float, ...]) -> tf.Tensor:
    return pose_from_vector(tf.constant([vector]))


def unit(vector: tuple[float, ...]) -> np.ndarray:
    """T with a translation of unit length."""
    translation = np.array(vector[3:])
    return pose((*vector[:3], *(translation / np.linalg.norm(translation)))).numpy()


@pytest.mark.parametrize("vector", MOTIONS.values(), ids=MOTIONS)
def test_exact_flow_gives_the_motion_and_its_parallax(vector):
    solved = motion_from_flow(rigid_flow(depth(), K, pose(vector)), NOTHING, K)
    np.testing.assert_allclose(solved.pose, unit(vector), atol=1e-4)
    assert solved.misfit[0] < 1e-3
    # The unit translation is 1 / |t| times as long as the true one, and so is every depth.
    seen = np.linalg.norm(vector[3:]) / depth().numpy()
    np.testing.assert_allclose(solved.parallax[0], np.median(seen), rtol=0.05)


@pytest.mark.parametrize("vector", MOTIONS.values(), ids=MOTIONS)
def test_flow_back_from_frame_b_tells_the_same_motion(vector):
    solved = motion_from_flow(NOTHING, rigid_flow(depth(), K, inverse(pose(vector))), K)
    np.testing.assert_allclose(solved.pose, unit(vector), atol=1e-4)


def test_moving_objects_in_a_sixth_of_the_image_have_little_say():
    vector = MOTIONS["forward"]
    flow = rigid_flow(depth(), K, pose(vector)).numpy()
    flow[:, :, : SIZE[1] // 6] += [5.0, -3.0]
    np.testing.assert_allclose(motion_from_flow(flow, NOTHING, K).pose, unit(vector), atol=0.01)


def test_what_its_return_contradicts_has_little_say():
    """A third of the flow is a guess: half of the truth, with a return of its own; more than the robust scale bears."""
    motion = pose(MOTIONS["forward"])
    flow, opposite = rigid_flow(depth(), K, motion).numpy(), rigid_flow(depth(), K, inverse(motion)).numpy()
    flow[:, SIZE[0] // 2 :] += [4.0, 2.0]

    def error(back: np.ndarray) -> float:
        return float(np.max(np.abs(motion_from_flow(flow, back, K).pose - unit(MOTIONS["forward"]))))

    agreeing = opposite.copy()
    agreeing[:, SIZE[0] // 2 :] -= [4.0, 2.0]
    assert error(opposite) < error(agreeing) / 2


@pytest.mark.parametrize("vector", MOTIONS.values(), ids=MOTIONS)
def test_noisy_flow_scatters_the_motion_by_its_covariance(vector):
    """Up to a factor: the median residual is 0.7 standard deviations, and robust weights use less than all."""
    rng, count = np.random.default_rng(0), 48
    waves = tf.broadcast_to(6 + 3 * tf.sin(tf.range(SIZE[1], dtype=tf.float32) / 12)[:, tf.newaxis], [1, *SIZE, 1])
    flow, opposite = (
        tf.repeat(rigid_flow(waves, K, motion), count, axis=0)
        + rng.normal(0, 0.2, (count, *SIZE, 2)).astype(np.float32)
        for motion in (pose(vector), inverse(pose(vector)))
    )
    intrinsics = tf.repeat(K, count, axis=0)
    solved = motion_from_flow(flow, opposite, intrinsics).pose
    covariance = motion_covariance(flow, opposite, intrinsics, solved).numpy() / CORRELATION**2
    turn = (solved.numpy() @ np.linalg.inv(unit(vector)))[:, :3, :3]
    off = np.concatenate(
        [np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], axis=1), solved[:, :3, 3] - unit(vector)[:, :3, 3]],
        axis=1,
    )
    values, axes = np.linalg.eigh(np.mean(covariance, axis=0))
    ratio = np.sqrt(np.mean(np.square(off @ axes), axis=0) / values)[1:]  # the first axis is along t
    assert np.all((ratio > 1) & (ratio < 3)), ratio


def test_snippets_of_a_batch_do_not_mix():
    vectors = [MOTIONS["forward"], MOTIONS["sideways"]]
    flows = tf.concat([rigid_flow(depth(), K, pose(vector)) for vector in vectors], axis=0)
    solved = motion_from_flow(flows, tf.repeat(NOTHING, 2, axis=0), tf.repeat(K, 2, axis=0))
    np.testing.assert_allclose(solved.pose, np.concatenate([unit(vector) for vector in vectors]), atol=1e-4)


def test_a_camera_at_rest_has_no_parallax_and_no_rotation():
    still = tf.zeros([1, *SIZE, 2])
    solved = motion_from_flow(still, still, K)
    np.testing.assert_allclose(solved.pose[0, :3, :3], np.eye(3), atol=1e-6)
    assert solved.parallax[0] == 0
    assert solved.misfit[0] == 0
    np.testing.assert_allclose(np.linalg.norm(solved.pose[0, :3, 3]), 1, rtol=1e-6)


def test_a_pure_rotation_is_found_without_a_translation():
    turned = pose((0.01, -0.04, 0.003, 0.0, 0.0, 0.0))
    solved = motion_from_flow(rigid_flow(depth(), K, turned), NOTHING, K)
    np.testing.assert_allclose(solved.pose[:, :3, :3], turned[:, :3, :3], atol=1e-3)
    assert solved.parallax[0] < 1e-3


def test_images_of_any_size_in_a_graph():
    vector = MOTIONS["forward"]
    size = tf.TensorSpec([None, None, None, 2])
    solve = tf.function(motion_from_flow, input_signature=[size, size, tf.TensorSpec([None, 3, 3])])
    flow = rigid_flow(depth(), K, pose(vector))
    np.testing.assert_allclose(solve(flow, NOTHING, K).pose, unit(vector), atol=1e-4)


def test_no_match_at_all_is_finite():
    for field in motion_from_flow(NOTHING, NOTHING, K):
        assert np.isfinite(field).all()


def test_no_gradient_passes():
    flow, intrinsics = rigid_flow(depth(), K, pose(MOTIONS["forward"])), tf.identity(K)
    with tf.GradientTape() as tape:
        tape.watch([flow, intrinsics])
        solved = motion_from_flow(flow, NOTHING, intrinsics)
    assert tape.gradient(solved, [flow, intrinsics]) == [None, None]


def test_the_misfit_is_the_median_sampson_distance_where_points_lie_before_the_camera():
    vector = MOTIONS["forward"]
    noise = np.random.default_rng(1).normal(0, 0.3, (1, *SIZE, 2)).astype(np.float32)
    flow = rigid_flow(depth(), K, pose(vector)) + noise
    solved = motion_from_flow(flow, NOTHING, K)
    fundamental = fundamental_matrix(essential_matrix(solved.pose), K)
    grid = pixel_grid(*SIZE)
    distances = sampson_residual(fundamental, grid, grid + flow).numpy()
    # The solver looks at a part of the pixels, and points behind the camera count more.
    np.testing.assert_allclose(solved.misfit[0], np.median(distances), rtol=0.2)
