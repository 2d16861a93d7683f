"""Whatever is wrong with a folder leads to one line that names file, value, expectation and remedy."""

import pytest
from scene_files import P_TEXT, pose_rows, write_scene

from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.datasets.kitti import KittiOdometrySource, KittiRawSource
from glnet_tf.errors import DataError

BAD_FOLDERS = []


def bad(message):
    """Registers a function that spoils a good folder, with the message that it must lead to."""

    def register(spoil):
        BAD_FOLDERS.append(pytest.param(spoil, message, id=spoil.__name__))
        return spoil

    return register


@bad(r"root: is not a folder: .*correct --data_dir")
def missing_folder(root):
    root.rename(root.with_name("elsewhere"))


@bad(r"root: holds no images: .*extract the video's frames")
def no_images(root):
    for file in (root / "a").glob("*.png"):
        file.unlink()


@bad(r"root: no snippet for train .*3 consecutive readable frames; a: no snippet, 2 readable frames")
def two_frames(root):
    for file in sorted((root / "a").glob("*.png"))[2:]:
        file.unlink()


@bad(r"no snippet for train .*a: no snippet, 4 readable frames in 2 uninterrupted runs")
def a_gap_after_two_frames(root):
    (root / "a" / "000002.png").unlink()


@bad(r"a/000003.png: is 8x6 pixels: expected 20x12 .*resize it")
def another_size(root):
    write_scene(root / "a", [3], size=(6, 8))


@bad(r"a/000001_depth.png: has the number of 000001.png: expected one image per frame; move depth maps")
def depth_maps_among_images(root):
    write_scene(root / "a", [1], pattern="{:06d}_depth.png")


@bad(r"a/cam.txt: has 3\+3 numbers: expected a 3x3 matrix")
def two_rows_of_intrinsics(root):
    (root / "a" / "cam.txt").write_text("50 0 9\n0 50 5\n")


@bad(r"a/cam.txt: has no numbers: expected a 3x3 matrix")
def empty_intrinsics(root):
    (root / "a" / "cam.txt").write_text("")


@bad(r"a/cam.txt:2: 'fy 0 1': expected numbers only")
def words_as_intrinsics(root):
    (root / "a" / "cam.txt").write_text("50 0 9\nfy 0 1\n0 0 1\n")


@bad(r"a/cam.txt:1: .*expected numbers only")
def binary_intrinsics(root):
    (root / "a" / "cam.txt").write_bytes(b"\x80\xff\x00\x01")


@bad(r"a/cam.txt: focal lengths \(50, 0\): expected finite positive pixels")
def zero_focal_length(root):
    (root / "a" / "cam.txt").write_text("50 0 9 \n 0 0 5 \n 0 0 1")


@bad(r"a/cam.txt: focal lengths \(-50, 50\): expected finite positive pixels")
def negative_focal_length(root):
    (root / "a" / "cam.txt").write_text("-50 0 9 \n 0 50 5 \n 0 0 1")


@bad(r"a/cam.txt: focal lengths \(nan, 50\): expected finite positive pixels")
def focal_length_not_a_number(root):
    (root / "a" / "cam.txt").write_text("nan 0 9 \n 0 50 5 \n 0 0 1")


@bad(r"a/cam.txt: focal lengths \(0.58, 1.92\) look normalised: expected K in pixels")
def normalised_intrinsics(root):
    (root / "a" / "cam.txt").write_text("0.58 0 0.5 \n 0 1.92 0.5 \n 0 0 1")


@bad(r"a/cam.txt: .*expected rows fx 0 cx, 0 fy cy, 0 0 1")
def transposed_intrinsics(root):
    (root / "a" / "cam.txt").write_text("50 0 0 \n 0 50 0 \n 9 5 1")


@bad(r"a: principal point \(300, 5\) is outside of its 20x12 images: .*scale it")
def intrinsics_of_larger_images(root):
    (root / "a" / "cam.txt").write_text("50 0 300 \n 0 50 5 \n 0 0 1")


@bad(r"a/poses.txt: row 2 has 11 numbers: expected 12")
def short_pose(root):
    (root / "a" / "poses.txt").write_text(pose_rows(1) + "1 0 0 0 0 1 0 0 0 0 1\n")


@bad(r"a/poses.txt: has 4 rows: expected 5, one per image")
def too_few_poses(root):
    (root / "a" / "poses.txt").write_text(pose_rows(4))


@bad(r"a/poses.txt: row 1 has 12 numbers: expected 12 finite ones")
def infinite_pose(root):
    (root / "a" / "poses.txt").write_text("1 0 0 inf 0 1 0 0 0 0 1 0\n")


@pytest.mark.parametrize(("spoil", "message"), BAD_FOLDERS)
def test_bad_folders(tmp_path, spoil, message):
    root = tmp_path / "root"
    write_scene(root / "a", range(5))
    spoil(root)
    with pytest.raises(DataError, match=message) as error:
        FolderSource(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "calib.txt: is missing: expected the calibration with a line P0"),
        (f"P2: {P_TEXT}", "calib.txt: has no line P0: "),
        ("P0: 1 2 3", "calib.txt: 'P0: 1 2 3': expected P0: and 12 numbers"),
        ("P0: 1 2 3 a", "expected P0: and 12 numbers"),
        (f"P0: {P_TEXT.replace('50', '0')}", "focal lengths"),
    ],
)
def test_bad_kitti_calibration(tmp_path, text, message):
    write_scene(tmp_path / "sequences" / "01" / "image_0", range(3))
    if text is not None:
        (tmp_path / "sequences" / "01" / "calib.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        KittiOdometrySource(tmp_path)


def test_folders_that_are_not_kitti(tmp_path):
    with pytest.raises(DataError, match="has no sequences/"):
        KittiOdometrySource(tmp_path)
    with pytest.raises(DataError, match="has no DATE/"):
        KittiRawSource(tmp_path)
