"""Every layout, written from a rendered street: what a source reads is what was rendered."""

import numpy as np
import pytest
import street_trees as trees
import tensorflow as tf

from glnet_tf.config import DataConfig, KittiConfig
from glnet_tf.data.datasets.cityscapes import CityscapesSource
from glnet_tf.data.datasets.flow_pairs import KittiFlowSource
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.datasets.kitti import KittiRawSource
from glnet_tf.data.datasets.rgbd import RgbdSource
from glnet_tf.data.sources import FILE_SOURCES, open_source
from glnet_tf.errors import DataError

TREES = {
    "folder": trees.write_folder_tree,
    "kitti_odometry": trees.write_odometry_tree,
    "kitti_raw": trees.write_raw_tree,
    "kitti_flow": trees.write_kitti_flow_tree,
    "cityscapes": trees.write_cityscapes_tree,
    "rgbd": trees.write_rgbd_tree,
    "middlebury_flow": trees.write_middlebury_tree,
}


@pytest.fixture(scope="module")
def video():
    return trees.street()


@pytest.fixture
def config(tmp_path):
    return DataConfig(cache_dir=str(tmp_path / "cache"))


def images_of(source, index: int) -> np.ndarray:
    return source.load(tf.constant(index, tf.int64))[0].numpy()


@pytest.mark.parametrize("kind", sorted(TREES))
def test_images_and_intrinsics(tmp_path, video, config, kind):
    TREES[kind](tmp_path / "tree", video)
    source = FILE_SOURCES[kind](tmp_path / "tree", part="frames", config=config)
    images, intrinsics, camera = source.load(tf.constant(0, tf.int64))
    height = 24 if kind == "cityscapes" else 32
    np.testing.assert_array_equal(images[1], video.frame(0).image[:height])
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[2], video.frame(1).image[:height])
    if kind in ("kitti_flow", "middlebury_flow"):
        assert not source.calibrated and not intrinsics.numpy().any()
    else:
        np.testing.assert_allclose(intrinsics, video.intrinsics, rtol=1e-6)
    assert int(camera) == 0


@pytest.mark.parametrize("kind", ["folder", "kitti_odometry", "kitti_raw", "rgbd"])
def test_poses(tmp_path, video, config, kind):
    TREES[kind](tmp_path / "tree", video)
    source = FILE_SOURCES[kind](tmp_path / "tree", part="all", config=config)
    assert len(source) == 3
    for index in range(3):
        expected = [video.relative_pose(index, index + 1), video.relative_pose(index + 1, index + 2)]
        np.testing.assert_allclose(source.ground_truth(index).poses, expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "resolution"), [("folder", 1 / 512), ("kitti_raw", 2e-5), ("rgbd", 1 / 2000)])
def test_depth(tmp_path, video, config, kind, resolution):
    TREES[kind](tmp_path / "tree", video)
    source = FILE_SOURCES[kind](tmp_path / "tree", part="frames", config=config)
    for frame in (0, 3):
        depth, expected = source.ground_truth(frame).depth, trees.true_depth(video, frame)
        assert (expected > 0).mean() > 0.3
        np.testing.assert_array_equal(depth > 0, expected > 0)
        np.testing.assert_allclose(depth, expected, atol=resolution * 1.01, rtol=1e-5)


def test_lidar_depth_is_kept(tmp_path, video, config):
    trees.write_raw_tree(tmp_path / "tree", video)
    source = KittiRawSource(tmp_path / "tree", part="frames", config=config)
    first = source.ground_truth(2).depth
    kept = list((tmp_path / "cache" / "lidar").iterdir())
    assert len(kept) == 1 and kept[0].suffix == ".npz"
    np.testing.assert_array_equal(source.ground_truth(2).depth, first)
    sweep = tmp_path / "tree" / trees.DATE / trees.DRIVE / "velodyne_points" / "data" / "0000000002.bin"
    sweep.write_bytes(sweep.read_bytes()[:160])
    # Another content is another depth map, whatever is kept.
    assert np.count_nonzero(source.ground_truth(2).depth) == 10
    sweep.write_bytes(sweep.read_bytes()[:-3])
    with pytest.raises(DataError, match="0000000002.bin"):
        source.ground_truth(2)
    assert len(list((tmp_path / "cache" / "lidar").iterdir())) == 2


def test_improved_depth_takes_the_place_of_lidar(tmp_path, video):
    trees.write_raw_tree(tmp_path / "tree", video)
    folder = tmp_path / "annotated" / "val" / trees.DRIVE / "proj_depth" / "groundtruth" / "image_02"
    folder.mkdir(parents=True)
    trees.write_depth_png(folder / "0000000001.png", np.full((32, 96), 7.5), 256.0)
    config = DataConfig(kitti=KittiConfig(depth_dir=str(tmp_path / "annotated")))
    source = KittiRawSource(tmp_path / "tree", part="frames", config=config)
    assert (source.ground_truth(1).depth == 7.5).all() and source.ground_truth(2).depth is None


@pytest.mark.parametrize(("kind", "resolution"), [("kitti_flow", 1 / 128), ("middlebury_flow", 1e-5)])
def test_flow(tmp_path, video, config, kind, resolution):
    TREES[kind](tmp_path / "tree", video)
    source = FILE_SOURCES[kind](tmp_path / "tree", part="frames", config=config)
    truth, (flow, visible) = source.ground_truth(0), video.flow(0, 1)
    np.testing.assert_allclose(truth.flow, flow, atol=resolution * 1.01)
    assert truth.flow_valid.all() and source.ground_truth(1) is None
    if kind == "kitti_flow":
        assert 0 < visible.mean() < 1
        np.testing.assert_array_equal(truth.visible, visible)
        np.testing.assert_array_equal(truth.moving, video.frame(0).moving)
        assert source.label(2) == "000001_10"


def test_flow_belongs_to_the_frame_that_is_followed(tmp_path, video):
    trees.write_kitti_flow_tree(tmp_path, video)
    # Far from frames 10 and 11: no snippet reaches from one pair into the other.
    trees.write_images(tmp_path / "training" / "image_2", video, "000000_0{}.png", [2, 3])
    with pytest.raises(DataError, match="000000: no snippet, 4 readable frames in 2 uninterrupted runs"):
        KittiFlowSource(tmp_path, "000000")
    source = KittiFlowSource(tmp_path, part="frames")
    with_truth = [source.label(i) for i in range(len(source)) if source.ground_truth(i) is not None]
    assert with_truth == ["000000_10", "000001_10"]


def test_cityscapes_without_its_bonnet(tmp_path, video):
    trees.write_cityscapes_tree(tmp_path, video)
    source = CityscapesSource(tmp_path)
    assert source.cameras == ("aachen", "bochum") and len(source) == 6
    assert source.label(3) == "bochum_000002/bochum_000002_000001_leftImg8bit"
    (tmp_path / "leftImg8bit_sequence" / "train" / "aachen" / "aachen_000002_000002_leftImg8bit.png").unlink()
    assert len(CityscapesSource(tmp_path)) == 3


def test_cityscapes_without_calibration(tmp_path, video):
    trees.write_cityscapes_tree(tmp_path, video)
    file = tmp_path / "camera" / "train" / "aachen" / "aachen_000002_000002_camera.json"
    file.write_text("[]")
    with pytest.raises(DataError, match=r"camera.json: .*expected JSON with intrinsic fx"):
        CityscapesSource(tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=r"aachen: has no aachen_000002_\*_camera.json: .*camera package"):
        CityscapesSource(tmp_path)


@pytest.mark.parametrize("kind", ["kitti_flow", "cityscapes", "rgbd", "middlebury_flow"])
def test_a_folder_of_another_layout(tmp_path, kind):
    with pytest.raises(DataError, match=r"correct --data_dir"):
        FILE_SOURCES[kind](tmp_path)


def test_oxts_that_is_cut_short(tmp_path, video):
    trees.write_raw_tree(tmp_path, video)
    file = tmp_path / trees.DATE / trees.DRIVE / "oxts" / "data" / "0000000003.txt"
    file.write_text("49.0 8.4\n")
    with pytest.raises(DataError, match="0000000003.txt: expected one line of 30"):
        KittiRawSource(tmp_path, part="frames")
    file.unlink()
    with pytest.raises(DataError, match="0000000003.txt: "):
        KittiRawSource(tmp_path, part="frames")


def test_a_pose_that_is_no_matrix(tmp_path, video):
    trees.write_rgbd_tree(tmp_path, video)
    (tmp_path / "street" / "seq-01" / "frame-000002.pose.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n")
    with pytest.raises(DataError, match="frame-000002.pose.txt: expected a 4x4 matrix"):
        RgbdSource(tmp_path)


def test_true_depth_of_another_size(tmp_path, video):
    trees.write_folder_tree(tmp_path, video)
    trees.write_depth_png(tmp_path / "street" / "depth" / "000001.png", np.ones((8, 8)), 256.0)
    with pytest.raises(DataError, match="street/000001: its true depth is 8x8 pixels: expected 96x32"):
        FolderSource(tmp_path).ground_truth(0)


def test_every_kind_opens_by_its_name(tmp_path, video):
    for kind in ("cityscapes", "kitti_odometry", "folder", "rgbd"):
        TREES[kind](tmp_path / kind, video)
        assert len(open_source(DataConfig(dataset=kind, data_dir=str(tmp_path / kind)), "train")) >= 3
