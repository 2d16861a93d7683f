"""The synthetic street is the oracle of other tests, so its geometry is checked to rounding error."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from glnet_tf.errors import ConfigError
from glnet_tf.street.street import SKY_DEPTH, STYLES, Street


@pytest.fixture(scope="module", params=STYLES)
def street(request: pytest.FixtureRequest) -> Street:
    return Street(3, frames=60, style=request.param)


def _grid(street: Street) -> np.ndarray:
    height, width = street.frame(0).depth.shape
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(np.float64)


def _transferred(street: Street, i: int, j: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Projection into frame j of frame i's pixels taken as rigid, their depth there, and their surface."""
    pixels = _grid(street)
    depth, surface = street.depth_at(i, pixels)
    rays = np.linalg.solve(street.intrinsics, np.column_stack([pixels, np.ones(len(pixels))]).T)
    world = street.camera_to_world(i) @ np.vstack([rays * depth, np.ones(len(pixels))])
    seen = street.intrinsics @ np.linalg.solve(street.camera_to_world(j), world)[:3]
    return (seen[:2] / seen[2]).T, seen[2], surface


def _warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return cv2.remap(
        image, (x + flow[..., 0]).astype(np.float32), (y + flow[..., 1]).astype(np.float32), cv2.INTER_LINEAR
    )


def test_same_seed_same_bits() -> None:
    first, second = Street(5, frames=8), Street(5, frames=8)
    for one, other in zip(first.frame(6), second.frame(6)):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first.flow(1, 2)[0], second.flow(1, 2)[0])


def test_seeds_and_styles_look_different() -> None:
    images = [Street(seed, frames=3, style=style).frame(1).image.astype(float) for seed in (0, 1) for style in STYLES]
    for k, image in enumerate(images):
        assert image.std() > 25
        for other in images[:k]:
            assert np.abs(image - other).mean() > 15


def test_the_size_of_the_image_does_not_change_the_world() -> None:
    small, large = Street(5, frames=4, height=64, width=200), Street(5, frames=4, height=192, width=600)
    np.testing.assert_array_equal(small.camera_to_world(3), large.camera_to_world(3))
    centre = [np.array([street.intrinsics[:2, 2]]) for street in (small, large)]
    assert small.depth_at(3, centre[0])[0] == pytest.approx(large.depth_at(3, centre[1])[0], rel=1e-12)


def test_default_intrinsics() -> None:
    np.testing.assert_allclose(Street(0, frames=1).intrinsics, [[241.28, 0, 207.5], [0, 241.28, 63.5], [0, 0, 1]])


def test_frame_agrees_with_rays(street: Street) -> None:
    frame = street.frame(7)
    depth, surface = street.depth_at(7, _grid(street))
    np.testing.assert_allclose(frame.depth.ravel(), depth, rtol=1e-6)
    np.testing.assert_array_equal(frame.surface.ravel(), surface)
    assert (frame.depth[frame.surface < 0] == SKY_DEPTH).all()
    assert (frame.surface < 0).any() and (frame.depth[frame.surface >= 0] < SKY_DEPTH).all()


def test_ground_lies_in_one_horizontal_plane(street: Street) -> None:
    pixels = _grid(street)
    depth, surface = street.depth_at(9, pixels)
    ground = surface == 0
    assert ground.mean() > 0.1
    rays = np.linalg.solve(street.intrinsics, np.column_stack([pixels, np.ones(len(pixels))]).T)
    world = street.camera_to_world(9) @ np.vstack([rays * depth, np.ones(len(pixels))])
    np.testing.assert_allclose(world[1, ground], 0, atol=1e-9)
    assert -1.75 < street.camera_to_world(9)[1, 3] < -1.45


@pytest.mark.parametrize("pair", [(10, 11), (11, 10), (30, 33)])
def test_visible_static_points_are_found_in_the_other_frame(street: Street, pair: tuple[int, int]) -> None:
    i, j = pair
    flow, visible = street.flow(i, j)
    frame = street.frame(i)
    target, depth, surface = _transferred(street, i, j)
    static = (visible & ~frame.moving & (frame.surface >= 0)).ravel()
    assert static.mean() > 0.3
    np.testing.assert_allclose(flow.reshape(-1, 2)[static], (target - _grid(street))[static], atol=1e-8)
    found, there = street.depth_at(j, target[static])
    same = there == surface[static]
    assert same.mean() > 0.999  # a point on an edge may fall beside it by rounding
    np.testing.assert_allclose(found[same], depth[static][same], rtol=1e-9)


def test_hidden_points_have_something_in_front(street: Street) -> None:
    flow, visible = street.flow(20, 24)
    target, depth, surface = _transferred(street, 20, 24)
    frame = street.frame(20)
    inside = ((target >= 0) & (target <= np.array([415, 127]))).all(axis=1) & (depth > 0)
    hidden = inside & ~visible.ravel() & ~frame.moving.ravel() & (surface >= 0)
    assert hidden.sum() > 100
    assert (street.depth_at(24, target[hidden])[0] < depth[hidden]).all()
    assert not visible.ravel()[~inside & ~frame.moving.ravel()].any()


def test_sky_is_visible_unless_something_is_in_front(street: Street) -> None:
    frame, (_, visible) = street.frame(10), street.flow(10, 11)
    target, _, surface = _transferred(street, 10, 11)
    sky = (surface < 0) & ((target >= 0) & (target <= np.array([415, 127]))).all(axis=1)
    np.testing.assert_array_equal(visible.ravel()[sky], street.depth_at(11, target[sky])[1] < 0)
    assert visible[frame.surface < 0].mean() > 0.5


def test_there_and_back_is_no_motion(street: Street) -> None:
    flow, visible = street.flow(15, 17)
    back, _ = street.flow(17, 15)
    residual = np.linalg.norm(flow + _warped(back, flow), axis=-1)[visible]
    assert residual.size > 10_000
    assert np.median(residual) < 0.02


def test_moving_vehicles_do_not_follow_the_rigid_flow(street: Street) -> None:
    apart = []
    for i in range(0, 56, 5):
        flow, visible = street.flow(i, i + 3)
        rigid = (_transferred(street, i, i + 3)[0] - _grid(street)).reshape(flow.shape)
        apart.append(np.linalg.norm(flow - rigid, axis=-1)[street.frame(i).moving & visible])
    pixels = np.concatenate(apart)
    assert pixels.size > 5000
    assert np.percentile(pixels, 75) > 1  # a vehicle far ahead at the camera's own speed hardly departs from it


def test_flow_of_moving_vehicles_stays_on_their_surfaces(street: Street) -> None:
    for i in range(2, 56, 13):
        frame, (flow, visible) = street.frame(i), street.flow(i, i + 2)
        moving = (frame.moving & visible).ravel()
        _, there = street.depth_at(i + 2, (_grid(street) + flow.reshape(-1, 2))[moving])
        assert moving.sum() > 100
        assert (there == frame.surface.ravel()[moving]).mean() > 0.999


def test_true_flow_explains_the_pictures(street: Street) -> None:
    for i, j in ((5, 6), (26, 25), (44, 45)):
        flow, visible = street.flow(i, j)
        here, there = (street.frame(k).image.astype(np.float32) for k in (i, j))
        unwarped = np.abs(there - here)[visible].mean()
        assert np.abs(_warped(there, flow) - here)[visible].mean() < 0.35 * unwarped
        assert unwarped > 6


@pytest.mark.parametrize("style", STYLES)
def test_anti_aliasing(style: str) -> None:
    plain = Street(2, frames=6, height=64, width=208, style=style).frame(4).image.astype(np.float32)
    large = (
        Street(2, frames=6, height=256, width=832, focal=4 * 0.58 * 208, style=style).frame(4).image.astype(np.float32)
    )
    reference = large.reshape(64, 4, 208, 4, 3).mean(axis=(1, 3))
    error = np.abs(plain - reference).mean()
    picked = np.abs(large[1::4, 1::4] - reference).mean()  # one sample per pixel: what no filtering would give
    assert error < 4
    assert error < 0.6 * picked


@pytest.mark.parametrize("seed", [3, 4])
def test_drive_turns_both_ways_and_keeps_clear(seed: int) -> None:
    street = Street(seed, frames=150)
    poses = np.stack([street.camera_to_world(i) for i in range(street.frames)])
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (150, 1, 1)), atol=1e-12)
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    assert speed.min() > 0.2 and speed.max() < 0.5
    yaw = np.rad2deg(np.diff(np.arctan2(poses[:, 0, 2], poses[:, 2, 2])))
    assert yaw.max() > 0.9 and yaw.min() < -0.9 and np.abs(yaw).max() < 2.5
    pitch = np.abs(np.rad2deg(np.diff(np.arcsin(-poses[:, 1, 2]))))
    assert 0.05 < pitch.mean() < 0.8
    for i in range(0, street.frames, 6):
        assert street.depth_at(i, _grid(street)[::7])[0].min() > 0.8


def test_relative_pose_composes(street: Street) -> None:
    forth = street.relative_pose(4, 9)
    np.testing.assert_allclose(forth @ street.relative_pose(9, 4), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(street.camera_to_world(9) @ forth, street.camera_to_world(4), atol=1e-12)
    assert street.relative_pose(4, 5)[2, 3] < -0.4  # what is ahead comes nearer


def test_rendering_is_fast() -> None:
    street = Street(0, frames=20)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        street.frame(0)
        start = time.process_time()
        for i in range(1, 13):
            street.frame(i)
        assert 12 / (time.process_time() - start) > 8
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize(
    "wrong", [{"style": "moon"}, {"frames": 0}, {"height": 0}, {"width": -1}, {"focal": 0.0}, {"seed": -1}]
)
def test_unusable_arguments(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=f"street {next(iter(wrong))}.*{next(iter(wrong.values()))}.*expected"):
        Street(**{"seed": 0, **wrong})


@pytest.mark.parametrize("i", [-1, 60])
def test_frames_that_do_not_exist(street: Street, i: int) -> None:
    with pytest.raises(IndexError, match="0 to 59"):
        street.frame(i)
