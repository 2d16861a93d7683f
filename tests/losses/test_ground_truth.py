"""The rendered street as an oracle: at ground truth every geometric loss vanishes; each rises with its own error."""

from __future__ import annotations

from typing import Callable

import numpy as np
import pytest
import tensorflow as tf
from paper import PAPER_LOSS
from scipy.spatial.transform import Rotation
from street_truth import Scene, pooled, true_scene

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.losses.consistency import consistency_loss
from glnet_tf.losses.epipolar import epipolar_loss
from glnet_tf.losses.objective import Comparison, compare, loss_weights, objective
from glnet_tf.losses.reduction import masked_mean, norm
from glnet_tf.losses.structure import structure_loss, structure_residual
from glnet_tf.structures import Predictions, Snippet

SIZE = (96, 320)


@pytest.fixture(scope="module")
def scene() -> Scene:
    made = true_scene(SIZE)
    # What follows would mean little on a few pixels.
    assert np.mean(made.static) > 0.4 and np.mean(made.smooth) > 0.3
    return made


def at_truth(scene: Scene) -> Comparison:
    return compare(scene.images, scene.truth, 0)


def test_rigid_flow_is_the_true_flow_where_nothing_moves(scene):
    pair = at_truth(scene)
    error = norm(pair.rigid.pixels - pair.by_flow.pixels) * scene.static
    assert np.max(error) < 5e-4
    assert np.min(masked_mean(norm(pair.by_flow.flow), scene.static)) > 2


def test_moving_vehicles_have_another_flow(scene):
    """The static mask matters: the street does contain motion of its own."""
    pair = at_truth(scene)
    assert np.max(norm(pair.rigid.pixels - pair.by_flow.pixels)[..., 0] * pair.by_flow.valid[..., 0]) > 1


def test_structure_vanishes(scene):
    pair = at_truth(scene)
    relative = structure_residual(pair.rigid, pair.sampled_depth) / pair.rigid.depth
    assert np.max(masked_mean(relative, scene.smooth)) < 2e-6
    assert np.max(relative * scene.smooth) < 1e-4


def test_visibility_keeps_what_is_seen_and_drops_what_is_hidden(scene):
    pair = at_truth(scene)
    assert np.all(masked_mean(pair.rigid_visible, scene.smooth) == 1)
    assert np.all(masked_mean(pair.by_flow.visible, scene.smooth) > 0.99)


@pytest.mark.parametrize(("distance", "limit"), [("algebraic", 3e-7), ("sampson", 1e-4)])
def test_epipolar_vanishes(scene, distance, limit):
    pair = at_truth(scene)
    loss = epipolar_loss(pixel_grid(*SIZE), pair.by_flow.pixels, pair.poses, pair.intrinsics, scene.static, distance)
    assert np.max(loss) < limit


def test_forward_backward_is_second_order(scene):
    """Bilinear interpolation of a projective flow is not exact, but nearly."""
    pair = at_truth(scene)
    assert np.max(consistency_loss(pair.by_flow.flow, pair.by_flow.returned, scene.smooth)) < 0.005


def test_photometric_is_much_lower_than_without_motion(scene):
    pair = at_truth(scene)
    still = compare(scene.images, scene.truth._replace(flows=pooled(np.zeros((4, *SIZE, 2)), 1.0)), 0)
    without = masked_mean(still.by_flow.distance, scene.smooth)
    assert np.all(masked_mean(pair.rigid_distance, scene.smooth) < 0.2 * without)
    assert np.all(masked_mean(pair.by_flow.distance, scene.smooth) < 0.2 * without)


def geometric_losses(scene: Scene, predictions: Predictions) -> dict[str, float]:
    """The losses over the pixels at which they vanish at ground truth."""
    pair = compare(scene.images, predictions, 0)
    grid, camera = pixel_grid(*SIZE), (pair.poses, pair.intrinsics)
    losses = {
        "structure": structure_loss(pair.rigid, pair.sampled_depth, scene.smooth * pair.rigid.valid),
        "epipolar": epipolar_loss(grid, pair.by_flow.pixels, *camera, scene.static, "sampson"),
        "algebraic": epipolar_loss(grid, pair.by_flow.pixels, *camera, scene.static, "algebraic"),
        "consistency": consistency_loss(pair.by_flow.flow, pair.by_flow.returned, scene.smooth * pair.by_flow.valid),
        "rigid photometric": masked_mean(pair.rigid_distance, scene.smooth * pair.rigid.valid),
        "flow photometric": masked_mean(pair.by_flow.distance, scene.smooth * pair.by_flow.valid),
    }
    return {name: float(tf.reduce_mean(loss)) for name, loss in losses.items()}


def depth_times(factor: float) -> Callable[[Predictions], Predictions]:
    return lambda p: p._replace(disparities=tuple(d / factor for d in p.disparities))


def rotated(degrees: float) -> Callable[[Predictions], Predictions]:
    turn = np.eye(4, dtype=np.float32)
    turn[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    return lambda p: p._replace(poses=tf.constant(turn) @ p.poses)


def translation_turned(degrees: float) -> Callable[[Predictions], Predictions]:
    turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix().astype(np.float32)

    def change(p: Predictions) -> Predictions:
        poses = p.poses.numpy()
        poses[..., :3, 3] = poses[..., :3, 3] @ turn.T
        return p._replace(poses=tf.constant(poses))

    return change


def focal_times(factor: float) -> Callable[[Predictions], Predictions]:
    return lambda p: p._replace(intrinsics=p.intrinsics * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]])


def flow_plus(u: float, v: float) -> Callable[[Predictions], Predictions]:
    return lambda p: p._replace(flows=tuple(flow + np.array([u, v], np.float32) for flow in p.flows))


RIGID, FLOW = ["structure", "rigid photometric"], ["consistency", "flow photometric"]
EPIPOLAR = ["epipolar", "algebraic"]
PERTURBATIONS = [
    ("depth x 1.1", depth_times(1.1), [*RIGID]),
    ("depth x 0.9", depth_times(0.9), [*RIGID]),
    ("pose rotated by 1 degree", rotated(1.0), [*RIGID, *EPIPOLAR]),
    ("translation turned by 10 degrees", translation_turned(10.0), [*RIGID, *EPIPOLAR]),
    ("focal length x 1.1", focal_times(1.1), ["structure", *EPIPOLAR]),
    ("flow + (1, 0)", flow_plus(1.0, 0.0), [*FLOW, *EPIPOLAR]),
    ("flow + (0, 1)", flow_plus(0.0, 1.0), [*FLOW, *EPIPOLAR]),
]
BY_NAME = pytest.mark.parametrize(
    ("change", "rising"), [p[1:] for p in PERTURBATIONS], ids=[p[0] for p in PERTURBATIONS]
)
# How many times its value at ground truth a loss at least reaches; images never agree as exactly as geometry.
RISE = dict.fromkeys(["structure", *EPIPOLAR, "consistency"], 1000)
RISE.update({"rigid photometric": 1.3, "flow photometric": 3})


@pytest.fixture(scope="module")
def losses_at_truth(scene) -> dict[str, float]:
    return geometric_losses(scene, scene.truth)


@BY_NAME
def test_a_loss_rises_with_the_error_of_its_own_variables_only(scene, losses_at_truth, change, rising):
    changed = geometric_losses(scene, change(scene.truth))
    for name in rising:
        assert changed[name] > RISE[name] * losses_at_truth[name], name
    for name in FLOW if "structure" in rising else RIGID:
        assert changed[name] == losses_at_truth[name], name


def whole_objective(scene: Scene, predictions: Predictions) -> float:
    snippet = Snippet(
        images=scene.images,
        intrinsics=scene.truth.intrinsics,
        camera=tf.zeros([1], tf.int32),
        index=tf.zeros([1], tf.int64),
        mirrored=tf.zeros([1], tf.bool),
    )
    config = PAPER_LOSS
    weights = loss_weights(config, two_branch=0.5)
    return float(objective(snippet, predictions, weights, config)[0])


@pytest.fixture(scope="module")
def objective_at_truth(scene) -> float:
    return whole_objective(scene, scene.truth)


@BY_NAME
def test_the_whole_objective_rises_over_all_levels_and_moving_objects(scene, objective_at_truth, change, rising):
    assert whole_objective(scene, change(scene.truth)) > objective_at_truth
