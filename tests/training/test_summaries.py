"""Summaries: the event files hold what was written, and the pictures show which branch explains which pixel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glnet_tf.structures import PAIRS, Predictions, Snippet
from glnet_tf.training.summaries import BOARD, Summaries, board, explain, point_cloud
from glnet_tf.visualization.pictures import FLOW_COLOUR, RIGID_COLOUR, flow_picture, image_picture

HEIGHT, WIDTH, HALF, SHIFT = 24, 64, 32, 2
# Away from the seam in the middle, the image's border and the 3x3 windows that reach over them.
LEFT, RIGHT = np.s_[1:-1, 1 : HALF - 4], np.s_[1:-1, HALF + 4 : -5]


def read_back(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


@pytest.fixture(scope="module")
def scene():
    """Two snippets; in the first one, from t to t+1, the left half follows the camera and the right half moves itself.

    The camera's motion shifts everything by +SHIFT. The left half does so, but the flow says that it stands still; the
    right half moves by -SHIFT, as the flow says. The flow of a corner leaves the image, as the rigid one does there.
    The second snippet is not a number throughout.
    """
    frame = np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    after = np.where(np.arange(WIDTH)[:, None] < HALF, np.roll(frame, SHIFT, axis=1), np.roll(frame, -SHIFT, axis=1))
    images = np.stack([np.zeros_like(frame), frame, after])

    pair = PAIRS.index((1, 2))
    flows = np.full((len(PAIRS), HEIGHT, WIDTH, 2), 7.0, np.float32)
    flows[pair] = 0
    flows[pair, :, HALF:, 0] = -SHIFT
    flows[pair, 0, -1] = 1000
    # The way back sees the right half return, and contradicts the flow on the upper left.
    back = PAIRS.index((2, 1))
    flows[back] = -flows[pair]
    flows[back, 0, -1] = 0
    flows[back, : HEIGHT // 2, : HALF - 2 * SHIFT] = 20
    poses = np.tile(np.eye(4, dtype=np.float32), (len(PAIRS), 1, 1))
    poses[pair, 0, 3] = SHIFT * 10 / 40
    intrinsics = np.array([[40, 0, 31.5], [0, 40, 11.5], [0, 0, 1]], np.float32)

    def batch(array):
        return tf.constant(np.stack([array, np.full_like(array, np.nan)]))

    disparity = np.full((3, HEIGHT, WIDTH, 1), 0.1, np.float32)
    predictions = Predictions((batch(disparity),), (batch(flows),), batch(poses), batch(intrinsics))
    snippet = Snippet(
        images=batch(images),
        intrinsics=batch(intrinsics),
        camera=tf.zeros([2], tf.int32),
        index=tf.zeros([2], tf.int64),
        mirrored=tf.zeros([2], tf.bool),
    )
    return frame, snippet, predictions


@pytest.fixture(scope="module")
def explained(scene):
    _, snippet, predictions = scene
    return explain(snippet, predictions)


def test_every_picture_is_a_picture_of_the_frames_size(explained):
    assert {name for row in BOARD for name, _ in row} == set(explained)
    assert all(picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8 for picture in explained.values())


def test_rigid_wins_left_and_flow_wins_right(explained):
    assert (explained["branch"][LEFT] == RIGID_COLOUR).all()
    assert (explained["branch"][RIGHT] == FLOW_COLOUR).all()
    assert (explained["branch"][1:, -1] == FLOW_COLOUR).all()
    assert (explained["branch"][0, -1] == 0).all()


def test_each_warp_restores_the_frame_where_its_correspondence_is_true(scene, explained):
    frame = image_picture(scene[0])
    assert (explained["frame"] == frame).all()
    assert np.abs(explained["rigid_warp"][LEFT].astype(int) - frame[LEFT]).max() <= 1
    assert np.abs(explained["flow_warp"][RIGHT].astype(int) - frame[RIGHT]).max() <= 1
    assert np.abs(explained["flow_warp"][LEFT].astype(int) - frame[LEFT]).mean() > 30
    assert np.abs(explained["rigid_warp"][RIGHT].astype(int) - frame[RIGHT]).mean() > 30
    assert (explained["rigid_warp"][:, -SHIFT:] == 0).all()
    assert (explained["flow_warp"][0, -1] == 0).all()


def test_flows_share_one_scale(explained):
    assert (explained["flow"][:, :HALF] == 255).all()
    assert (explained["flow"][1:, HALF:] == flow_picture(np.array([[[-1.0, 0.0]]]), 1.0)).all()
    assert (np.abs(explained["rigid_flow"].astype(int) - [255, 0, 0]) <= 1).all()


def test_masks_show_the_frame_where_they_are_set(explained):
    frame = explained["frame"]

    def is_set(name, region):
        return (explained[name][region] == frame[region]).all(axis=-1)

    assert is_set("rigid_visible", np.s_[:, : -SHIFT - 1]).all()
    assert not is_set("rigid_visible", np.s_[:, -SHIFT:]).any()
    assert is_set("flow_visible", np.s_[HEIGHT // 2 :, 1 : HALF - 4]).all() and is_set("flow_visible", RIGHT).all()
    assert not is_set("flow_visible", np.s_[: HEIGHT // 2, 1 : HALF - 2 * SHIFT]).any()


def test_flow_and_rigid_flow_agree_where_they_are_alike(scene):
    frame, snippet, predictions = scene
    flows = predictions.flows[0].numpy()
    flows[0, PAIRS.index((1, 2)), :, :HALF] = [SHIFT, 0]
    agreement = explain(snippet, predictions._replace(flows=(tf.constant(flows),)))["agreement"]
    is_set = (agreement == image_picture(frame)).all(axis=-1)
    assert is_set[LEFT].all() and not is_set[RIGHT].any()


def test_points_behind_the_camera_have_no_rigid_flow(scene):
    _, snippet, predictions = scene
    poses = predictions.poses.numpy()
    poses[0, PAIRS.index((1, 2)), 2, 3] = -11
    pictures = explain(snippet, predictions._replace(poses=tf.constant(poses)))
    assert (pictures["rigid_flow"] == 0).all() and (pictures["rigid_warp"] == 0).all()
    assert (pictures["flow"] == flow_picture(predictions.flows[0][0, PAIRS.index((1, 2))].numpy())).all()


def test_the_board_holds_every_picture(explained):
    sheet = board(explained)
    windows = {
        sheet[y : y + HEIGHT, x : x + WIDTH].tobytes()
        for y in range(sheet.shape[0] - HEIGHT + 1)
        for x in range(sheet.shape[1] - WIDTH + 1)
    }
    assert all(picture.tobytes() in windows for picture in explained.values())


def test_event_files_hold_what_was_written(tmp_path, explained):
    summaries = Summaries(tmp_path / "run")
    summaries.scalars(7, {"photometric": 0.25, "total": 1.5})
    summaries.scalars(8, {"photometric": 0.125})
    summaries.scalars(8, {"depth_abs_rel": 0.5}, writer="validation")
    summaries.focal(8, ["left", "right"], fx=[240.0, 250.0], fy=[241.0, 251.0])
    summaries.pictures(8, {"branch": explained["branch"]})
    summaries.close()

    train = read_back(tmp_path / "run" / "tensorboard" / "train")
    assert [(step, float(value)) for step, value in train["photometric"]] == [(7, 0.25), (8, 0.125)]
    assert [(step, float(value)) for step, value in train["total"]] == [(7, 1.5)]
    focal = {tag: float(train[tag][0][1]) for tag in train if tag.startswith("focal/")}
    assert focal == {"focal/left/fx": 240, "focal/left/fy": 241, "focal/right/fx": 250, "focal/right/fy": 251}
    step, (width, height, png) = train["branch"][0]
    assert step == 8 and (int(width), int(height)) == (WIDTH, HEIGHT)
    assert (tf.io.decode_png(png).numpy() == explained["branch"]).all()

    validation = read_back(tmp_path / "run" / "tensorboard" / "validation")
    assert list(validation) == ["depth_abs_rel"]


def test_what_was_written_is_on_the_disk_before_the_end(tmp_path):
    summaries = Summaries(tmp_path)
    summaries.scalars(1, {"total": 1.0})
    summaries.pictures(1, {"frame": np.zeros((4, 4, 3), np.uint8)})
    assert set(read_back(tmp_path / "tensorboard" / "train")) == {"total", "frame"}
    summaries.close()


def test_the_point_cloud_reads_back(scene, tmp_path):
    frame, snippet, predictions = scene
    points, colours = point_cloud(snippet, predictions)
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    np.testing.assert_allclose(points[:, 0].reshape(HEIGHT, WIDTH), (x - 31.5) / 4, rtol=1e-5)
    np.testing.assert_allclose(points[:, 1].reshape(HEIGHT, WIDTH), -(y - 11.5) / 4, rtol=1e-5)
    np.testing.assert_allclose(points[:, 2], -10, rtol=1e-6)
    summaries = Summaries(tmp_path)
    summaries.points(7, points, colours)
    summaries.close()
    found = read_back(tmp_path / "tensorboard/train")
    assert [step for step, _ in found["points_VERTEX"]] == [7]
    np.testing.assert_allclose(found["points_VERTEX"][0][1][0], points, rtol=1e-6)
    np.testing.assert_array_equal(found["points_COLOR"][0][1][0], image_picture(frame).reshape(-1, 3))
