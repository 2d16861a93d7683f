"""The ground plane of exact scenes, and the scale that the camera's height gives."""

from __future__ import annotations

import numpy as np
import pytest

from glnet_tf.inference.metric_scale import GroundPlane, Metres, ground_plane
from glnet_tf.structures import FramePrediction

K = np.array([[100.0, 0, 80], [0, 100, 30], [0, 0, 1]])


def road(height: float, pitch: float = 0.0) -> np.ndarray:
    """Depth of a plane so far below a camera that looks down by `pitch`, up to 60 m, which is the depth of all else."""
    y, x = np.mgrid[:64, :160]
    rays = np.stack([(x - 80) / 100, (y - 30) / 100, np.ones_like(x)], axis=-1)
    down = rays @ np.array([0, np.cos(pitch), np.sin(pitch)])
    return np.where(down > height / 60, height / np.maximum(down, 1e-9), 60.0)


def prediction(depth: np.ndarray) -> FramePrediction:
    pose = np.eye(4)
    pose[2, 3] = 2.0
    return FramePrediction(np.zeros((64, 160, 3), np.uint8), 1 / depth, np.ones_like(depth), None, None, None, pose, K)


@pytest.mark.parametrize("pitch", [0.0, 0.1, -0.05])
def test_the_height_over_an_exact_plane_with_obstacles(pitch):
    depth = road(1.65, pitch)
    depth[40:50, 70:90] = 5.0
    plane = ground_plane(depth, K, np.ones_like(depth))
    assert abs(plane.height - 1.65) < 0.01 and 0.7 < plane.share < 1


def test_a_wall_is_no_ground():
    assert np.isnan(ground_plane(np.full((64, 160), 7.0), K, np.ones((64, 160))).height)


def test_metres_from_the_height_scale_depth_and_path():
    metres = Metres(0.0, 1.65)
    frames = list(metres.applied(iter([prediction(road(0.3))] * 12)))
    assert metres.known and metres.notes()["unit"] == "metres"
    np.testing.assert_allclose(frames[-1].depth, road(0.3) * 5.5, rtol=1e-2)
    np.testing.assert_allclose(frames[0].pose[2, 3], 11.0, rtol=1e-2)
    ground = metres.notes()["ground"]
    assert ground["frames_with_ground"] == 12 and abs(ground["camera_height_median"] - 1.65) < 0.02


def test_without_a_ground_lengths_stay_up_to_scale():
    metres = Metres(0.0, 1.65)
    frame = next(metres.applied(iter([prediction(np.full((64, 160), 7.0))])))
    assert not metres.known and metres.notes()["unit"] == "up to scale"
    np.testing.assert_array_equal(frame.depth, np.full((64, 160), 7.0))
    assert Metres(0.0, 0.0).notes() == {"unit": "up to scale"} and Metres(2.0, 0.0).notes()["scale"] == 2.0


def test_a_resumed_video_goes_on_in_its_scale():
    whole, resumed = Metres(0.0, 1.65), Metres(0.0, 1.65)
    frames = list(whole.applied(iter([prediction(road(0.3))] * 12)))
    resumed.resume(whole.scale, whole.planes[:9])
    assert resumed.known
    # The ground of these would give another scale.
    later = list(resumed.applied(iter([prediction(road(0.3)), prediction(road(0.6)), prediction(road(0.6))])))
    np.testing.assert_array_equal(later[0].depth, frames[9].depth)
    assert len(resumed.planes) == 12 and resumed.planes[9] == whole.planes[9]
    # What was decided of the first frames stays, whichever of them are there.
    resumed.resume(whole.scale, [whole.planes[0]._replace(confidence=0.0)])
    assert resumed.known and resumed.notes()["unit"] == "metres"
    no_ground = Metres(0.0, 1.65)
    no_ground.resume(1.0, [GroundPlane(float("nan"), 0.0, 1.0)] * 9)
    assert not no_ground.known


def test_a_ground_that_the_motion_does_not_prove_gives_no_metres():
    """A bare highway: the network's depth of the road is its word alone, and the path has another scale."""
    metres = Metres(0.0, 1.65)
    bare = prediction(road(0.3))._replace(confidence=np.full((64, 160), 0.05))
    frame = next(metres.applied(iter([bare] * 9)))
    np.testing.assert_array_equal(frame.depth, bare.depth)
    assert not metres.known and "does not prove the ground's depth (confidence 0.05" in metres.notes()["no_metres"]
    resumed = Metres(0.0, 1.65)
    resumed.resume(1.0, metres.planes)
    assert not resumed.known and resumed.reason == metres.reason


def test_metres_from_the_speed():
    motion = np.eye(4)
    motion[2, 3] = -0.5
    moving = prediction(road(0.3))._replace(motion=motion)
    metres = Metres(steps=[2.0] * 8)
    frames = list(metres.applied(iter([moving] * 10)))
    assert metres.known and metres.scale == 4 and frames[9].motion[2, 3] == -2
    np.testing.assert_allclose(frames[9].depth, 4 * moving.depth)
    # Steps of which the ratios to the motions are 4, 8 and 4; where it stood, nothing is learned.
    speeding = Metres(steps=[0.0, 2.0, 4.0, 2.0])
    list(speeding.applied(iter([moving] * 4)))
    assert speeding.scale == 4
    standing = Metres(steps=[2.0] * 8)
    list(standing.applied(iter([moving._replace(motion=np.eye(4))] * 3)))
    assert not standing.known and "does not move" in standing.reason
    resumed = Metres(steps=[2.0] * 8)
    resumed.resume(standing.scale, [])
    assert not resumed.known and resumed.reason == standing.reason
