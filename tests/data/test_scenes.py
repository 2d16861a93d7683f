import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scene_files import (
    HEIGHT,
    K_TEXT,
    P_TEXT,
    WIDTH,
    frame_numbers,
    loaded_values,
    pose_rows,
    write_odometry,
    write_scene,
)

from glnet_tf.config import DataConfig, KittiConfig
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.datasets.kitti import KittiOdometrySource, KittiRawSource, eigen_labels
from glnet_tf.data.source import snippet_frames
from glnet_tf.errors import DataError


@pytest.mark.parametrize(
    ("runs", "stride", "holdout", "part", "expected"),
    [
        ([0, 0, 0, 0, 0], 1, 0, "train", [1, 2, 3]),
        ([0, 0, 0, 0, 0], 2, 0, "train", [2]),
        ([0, 0, 0, 1, 1, 1], 1, 0, "train", [1, 4]),
        ([0, 0, 0, -1, 1, 1, 1], 1, 0, "train", [1, 5]),
        ([0] * 8, 1, 3, "train", [1, 2, 3]),
        ([0] * 8, 1, 3, "validation", [6]),
        ([0] * 8, 1, 4, "validation", [5, 6]),
        ([0] * 8, 2, 2, "train", [2, 3]),
        ([0, 0], 1, 0, "train", []),
        ([], 1, 0, "train", []),
        ([-1, -1, -1], 1, 0, "train", []),
    ],
)
def test_snippet_frames(runs, stride, holdout, part, expected):
    frames = snippet_frames(np.array(runs, int), stride, holdout, part)
    assert frames[:, 1].tolist() == expected
    assert (np.diff(frames) == stride).all()


def test_frames_are_in_order_of_their_numbers_and_load_in_that_order(tmp_path):
    write_scene(tmp_path / "a", [1, 2, 3, 9, 10, 11], pattern="{}.png")
    source = FolderSource(tmp_path)
    assert frame_numbers(source) == [(1, 2, 3), (9, 10, 11)]
    assert loaded_values(source, 1) == [9, 10, 11]


def test_a_missing_number_splits_the_scene(tmp_path):
    write_scene(tmp_path / "a", [0, 1, 2, 4, 5, 6, 7])
    assert frame_numbers(FolderSource(tmp_path)) == [(0, 1, 2), (4, 5, 6), (5, 6, 7)]
    assert frame_numbers(FolderSource(tmp_path, part="validation", config=DataConfig(holdout_frames=3))) == [(5, 6, 7)]


def test_a_regular_step_in_the_numbers_is_no_gap(tmp_path):
    write_scene(tmp_path / "a", [0, 5, 10, 15, 25, 30], pattern="frame_{:04d}.jpg")
    assert frame_numbers(FolderSource(tmp_path)) == [(0, 5, 10), (5, 10, 15)]


def test_time_stamps_with_jitter_are_no_gaps(tmp_path):
    write_scene(tmp_path / "a", [1000, 1033, 1067, 1100, 1233, 1266, 1300])
    assert frame_numbers(FolderSource(tmp_path)) == [(1000, 1033, 1067), (1033, 1067, 1100), (1233, 1266, 1300)]


def test_stride_and_holdout(tmp_path):
    write_scene(tmp_path / "a", range(8))
    assert frame_numbers(FolderSource(tmp_path, config=DataConfig(stride=3))) == [(0, 3, 6), (1, 4, 7)]
    training = FolderSource(tmp_path, config=DataConfig(holdout_frames=4))
    validation = FolderSource(tmp_path, part="validation", config=DataConfig(holdout_frames=4))
    assert frame_numbers(training) == [(0, 1, 2), (1, 2, 3)]
    assert frame_numbers(validation) == [(4, 5, 6), (5, 6, 7)]


def test_an_unreadable_header_is_skipped_named_and_never_bridged(tmp_path):
    paths = write_scene(tmp_path / "a", range(7), pattern="frame{}.png")
    Path(paths[3]).write_bytes(b"not an image")
    source = FolderSource(tmp_path)
    assert frame_numbers(source) == [(0, 1, 2), (4, 5, 6)]
    assert len(source.skipped) == 1 and source.skipped[0].startswith(paths[3])


def test_a_folder_of_images_is_one_scene_with_suffixes_of_any_case(tmp_path):
    write_scene(tmp_path, range(2), pattern="{}.PNG")
    write_scene(tmp_path, [2], pattern="{}.JPeG")
    (tmp_path / "._1.png").write_bytes(b"resource fork")
    (tmp_path / "notes.txt").write_text("no image")
    source = FolderSource(tmp_path)
    assert source.cameras == (tmp_path.name,) and len(source) == 1 and not source.skipped


def test_cameras_calibration_and_split(tmp_path):
    write_scene(tmp_path / "scene10", range(3))
    write_scene(tmp_path / "scene9", range(4), K_TEXT)
    source = FolderSource(tmp_path)
    assert source.cameras == ("scene9", "scene10") and not source.calibrated and len(source) == 3
    images, intrinsics, camera = source.load(tf.constant(1, tf.int64))
    assert images.dtype == tf.uint8 and images.shape == (3, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(intrinsics, [[50, 0, 9.5], [0, 40, 5.5], [0, 0, 1]])
    assert intrinsics.dtype == tf.float32 and camera.dtype == tf.int32 and int(camera) == 0
    _, unknown, camera = source.load(tf.constant(2, tf.int64))
    assert not unknown.numpy().any() and int(camera) == 1
    calibrated = FolderSource(tmp_path, split="scene9")
    assert calibrated.calibrated and calibrated.cameras == ("scene9",) and len(calibrated) == 2


def test_a_short_scene_among_others_is_told_and_left_out(tmp_path):
    write_scene(tmp_path / "a", range(2))
    write_scene(tmp_path / "b", range(3))
    source = FolderSource(tmp_path)
    assert len(source) == 1 and source.skipped == ("a: no snippet, 2 readable frames",)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16", "1", "CMYK"])
def test_images_of_every_mode_become_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    for number in range(3):
        if mode == "I;16":
            image = Image.fromarray(np.full((HEIGHT, WIDTH), 200 * 257, np.uint16))
        else:
            image = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255)).convert(mode)
        image.save(tmp_path / f"{number}.{suffix}")
    images = FolderSource(tmp_path).load(tf.constant(0, tf.int64))[0].numpy()
    assert images.shape == (3, HEIGHT, WIDTH, 3)
    assert (images == (200 if mode == "I;16" else 255)).all()


def test_poses_become_the_motion_from_the_middle_to_the_next_frame(tmp_path):
    write_scene(tmp_path, range(5))
    (tmp_path / "poses.txt").write_text(pose_rows(5))
    truth = FolderSource(tmp_path).ground_truth(1)  # frames 1, 2, 3 at z = 1, 3, 6
    expected = np.eye(4)
    expected[2, 3] = -3  # a point ahead comes 3 m closer
    np.testing.assert_allclose(truth.poses[1], expected)
    assert truth.depth is None and truth.flow is None and truth.flow_valid is None
    np.testing.assert_allclose(FolderSource(tmp_path, config=DataConfig(stride=2)).ground_truth(0).poses[1, 2, 3], -7)


def test_without_poses_there_is_no_ground_truth(tmp_path):
    write_scene(tmp_path, range(3))
    assert FolderSource(tmp_path).ground_truth(0) is None


def test_kitti_odometry(tmp_path):
    write_odometry(tmp_path)
    source = KittiOdometrySource(tmp_path)
    assert len(source) == 4 and source.cameras == ("01", "02") and source.calibrated
    assert "image_0" in source.files(0)[0] and "image_2" in source.files(2)[0]
    for index in (0, 2):
        np.testing.assert_array_equal(source.load(tf.constant(index, tf.int64))[1][0], [50, 0, 9.5])
    assert source.ground_truth(0).poses[1, 2, 3] == -2 and source.ground_truth(2) is None


def test_sequences_that_are_test_drives_of_eigen_only_validate(tmp_path):
    for sequence in ("00", "03"):
        write_scene(tmp_path / "sequences" / sequence / "image_0", range(8))
        (tmp_path / "sequences" / sequence / "calib.txt").write_text(f"P0: {P_TEXT}\n")
    assert KittiOdometrySource(tmp_path).cameras == ("03",)
    config = DataConfig(holdout_frames=4)
    assert KittiOdometrySource(tmp_path, part="validation", config=config).cameras == ("00", "03")
    with pytest.raises(DataError, match="2011_10_03_drive_0027, one of Eigen's test drives"):
        KittiOdometrySource(tmp_path, "00")


def write_drive(root, date, drive, cameras=("image_02",)):
    for camera in cameras:
        folder = root / date / f"{date}_drive_{drive:04d}_sync" / camera / "data"
        write_scene(folder, range(3), pattern="{:010d}.png")
    lines = [f"P_rect_{camera[-2:]}: {P_TEXT}\n" for camera in cameras]
    (root / date / "calib_cam_to_cam.txt").write_text("calib_time: 09-Jan\n" + "".join(lines))


def test_kitti_raw_drives_of_a_date_share_their_camera(tmp_path):
    for date, drives in (("2011_09_26", (1, 2, 5)), ("2011_09_28", (1,))):
        for drive in drives:
            write_drive(tmp_path, date, drive)
    source = KittiRawSource(tmp_path)
    assert source.cameras == ("2011_09_26", "2011_09_28") and len(source) == 3 and source.calibrated
    assert [int(source.load(tf.constant(i, tf.int64))[2]) for i in range(3)] == [0, 0, 1]
    assert len(KittiRawSource(tmp_path, "2011_09_26_drive_0005_sync")) == 1


def test_eigen_test_drives_are_for_testing_only(tmp_path):
    write_drive(tmp_path, "2011_09_26", 1)
    write_drive(tmp_path, "2011_09_26", 2)
    training = KittiRawSource(tmp_path)
    assert training.cameras == ("2011_09_26",) and {training.label(i).split("/")[0] for i in range(len(training))} == {
        "2011_09_26_drive_0001_sync"
    }
    assert training.skipped == ("2011_09_26_drive_0002_sync: one of Eigen's test drives, never trained on",)
    testing = KittiRawSource(tmp_path, "2011_09_26_drive_0002_sync", part="frames")
    assert frame_numbers(testing) == [(0, 0, 1), (0, 1, 2), (1, 2, 2)]
    with pytest.raises(DataError, match="one of Eigen's test drives"):
        KittiRawSource(tmp_path, "2011_09_26_drive_0002_sync")


def test_eigen_test_set_has_697_frames():
    labels = eigen_labels()
    assert len(labels) == 697 and "2011_09_26_drive_0048_sync/0000000000" in labels


def test_both_cameras_of_a_drive(tmp_path):
    write_drive(tmp_path, "2011_09_26", 1, cameras=("image_02", "image_03"))
    source = KittiRawSource(tmp_path, config=DataConfig(kitti=KittiConfig(kitti_camera="both")))
    assert source.cameras == ("2011_09_26", "2011_09_26/image_03")
    assert [source.label(i) for i in range(2)] == [
        "2011_09_26_drive_0001_sync/0000000001",
        "2011_09_26_drive_0001_sync/image_03/0000000001",
    ]


needs_data = pytest.mark.skipif(not os.environ.get("GLNET_DATA"), reason="GLNET_DATA names no folder with real data")


@needs_data
def test_real_driving_scenes():
    root = Path(os.environ["GLNET_DATA"]) / "driving"
    source = FolderSource(root)
    assert source.calibrated and not source.skipped
    counts = {name: len(FolderSource(root, split=name)) for name in source.cameras}
    # 400 frames 0-400 without 23: 21 snippets before the gap and 375 after it.
    assert counts == {"kitti_0015": 301, "kitti_0039": 396, "kitti_0095": 266, "kitti_odometry_03": 799}
    gap = frame_numbers(FolderSource(root, split="kitti_0039"))
    assert gap[20:22] == [(20, 21, 22), (24, 25, 26)]
    forward = source.ground_truth(len(source) - 1).poses[1]
    np.testing.assert_allclose(forward[:3, :3] @ forward[:3, :3].T, np.eye(3), atol=1e-5)


@needs_data
def test_real_kitti_odometry():
    source = KittiOdometrySource(Path(os.environ["GLNET_DATA"]) / "kitti_odometry", part="all")
    images, intrinsics, _ = source.load(tf.constant(0, tf.int64))
    assert len(source) == 198 and images.shape == (3, 376, 1241, 3)
    np.testing.assert_allclose(intrinsics, [[718.856, 0, 607.1928], [0, 718.856, 185.2157], [0, 0, 1]], rtol=1e-6)
    # Frame 1 is at z = 0.8586941 m and frame 2 about as much farther on: points ahead come closer.
    np.testing.assert_allclose(source.ground_truth(0).poses[1, 2, 3], -0.858, atol=0.01)
