import numpy as np
import pytest
import tensorflow as tf
from scene_files import HEIGHT, K_TEXT, WIDTH, frame_numbers, loaded_values, pose_rows, write_odometry, write_scene

from glnet_tf.config import DataConfig, StreetConfig
from glnet_tf.data import sources
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.sources import JoinedSource, StreetSource, open_source
from glnet_tf.errors import ConfigError
from glnet_tf.street.street import Mount, Street


@pytest.fixture(scope="module")
def street() -> StreetSource:
    return StreetSource([3, 4], 4, 32, 64)


def test_street(street):
    assert len(street) == 4 and street.cameras == ("street",) and street.calibrated
    assert street.files(2) == ("street 4 frame 0", "street 4 frame 1", "street 4 frame 2")
    images, intrinsics, camera = street.load(tf.constant(3, tf.int64))
    assert images.shape == (3, 32, 64, 3) and images.dtype == tf.uint8 and int(camera) == 0
    assert intrinsics.numpy()[0, 2] == 31.5
    np.testing.assert_array_equal(images[:2], street.load(tf.constant(2, tf.int64))[0][1:])
    assert (images[0].numpy() != street.load(tf.constant(1, tf.int64))[0][0].numpy()).any()


@pytest.mark.parametrize("style", ["town", "mixed"])
def test_street_ground_truth_connects_depth_pose_and_flow(style):
    street = StreetSource([5, 4], 4, 32, 64, style)
    truth = street.ground_truth(1)
    assert truth.depth.shape == (32, 64) and truth.flow.shape == (32, 64, 2) and truth.poses.shape == (2, 4, 4)
    assert 0 == truth.depth.min() < truth.depth.max() < 1000
    k = street.load(tf.constant(1, tf.int64))[1].numpy().astype(float)
    y, x = np.mgrid[:32, :64].astype(float)
    points = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(k).T * truth.depth[..., np.newaxis]
    moved = points @ truth.poses[1, :3, :3].T + truth.poses[1, :3, 3]
    known = (truth.depth > 0) & truth.flow_valid & ~truth.moving
    assert known.mean() > 0.3
    projected = moved[known] @ k.T
    flow = projected[:, :2] / projected[:, 2:] - np.stack([x, y], -1)[known]
    np.testing.assert_allclose(flow, truth.flow[known], atol=1e-3)


def test_streets_beyond_those_kept_are_laid_out_again(monkeypatch, street):
    monkeypatch.setattr(sources, "STREETS_KEPT", 1)
    few = StreetSource([3, 4], 4, 32, 64)
    for index in (0, 3, 1):
        for one, other in zip(few.ground_truth(index), street.ground_truth(index)):
            np.testing.assert_array_equal(one, other)
    assert few._street.cache_info().misses == 5  # both rendered, then 3, 4 and 3 again


def test_mixed_streets_have_a_camera_each():
    street = StreetSource([3, 4], 4, 32, 64, "mixed")
    assert street.cameras == ("street3", "street4") and len(street.shapes) == 2
    (first, k0, camera0), (last, k1, camera1) = (street.load(tf.constant(i, tf.int64)) for i in (0, 3))
    assert (int(camera0), int(camera1)) == (0, 1)
    assert k0[0, 0] != k1[0, 0] and all(32 <= k[0, 0] <= 0.9 * 64 for k in (k0, k1))
    level, raised = Street(3, 2, 32, 64), Street(3, 2, 32, 64, mount=Mount(raised=0.5, pitch=0.1))
    up = np.linalg.inv(level.camera_to_world(0)) @ raised.camera_to_world(0)
    np.testing.assert_allclose(raised.camera_to_world(0)[1, 3], level.camera_to_world(0)[1, 3] - 0.5)
    np.testing.assert_allclose(up[1, 2], -np.sin(0.1))  # ahead of the raised camera is upwards in the level one
    assert (first.numpy() != last.numpy()).any()


def test_joined_sources_in_a_graph(tmp_path, street):
    write_scene(tmp_path / "a", range(3), K_TEXT)
    write_scene(tmp_path / "b", range(4), size=(16, 16))
    (tmp_path / "a" / "poses.txt").write_text(pose_rows(3))
    folder = FolderSource(tmp_path)
    source = JoinedSource([street, folder])
    assert len(source) == 7 and source.cameras == ("street", "a", "b") and not source.calibrated
    shapes, cameras = [], []
    for images, _, camera in tf.data.Dataset.range(7).map(source.load):
        shapes.append(tuple(images.shape[1:3]))
        cameras.append(int(camera))
    assert shapes == [(32, 64)] * 4 + [(HEIGHT, WIDTH)] + [(16, 16)] * 2
    assert cameras == [0] * 4 + [1, 2, 2]
    assert source.files(3) == street.files(3) and source.files(4) == folder.files(0)
    assert loaded_values(source, 6) == [1, 2, 3]
    np.testing.assert_array_equal(source.load(tf.constant(4, tf.int64))[1], folder.load(tf.constant(0, tf.int64))[1])
    assert source.ground_truth(4).poses[1, 2, 3] == -2 and source.ground_truth(5) is None


def test_joined_sources_tell_cameras_of_one_name_apart(tmp_path):
    roots = [tmp_path / name for name in ("x", "y")]
    for root in roots:
        write_scene(root / "a", range(3))
    assert JoinedSource([FolderSource(root) for root in roots]).cameras == tuple(f"{root}/a" for root in roots)


def test_open_source_by_lists(tmp_path):
    write_odometry(tmp_path / "k")
    write_scene(tmp_path / "f" / "a", range(5))
    write_scene(tmp_path / "f" / "b", range(5))
    config = DataConfig(dataset="kitti_odometry,folder", data_dir=f"{tmp_path}/k,{tmp_path}/f")
    assert len(open_source(config, "train")) == 10
    config = DataConfig(dataset=config.dataset, data_dir=config.data_dir, split="b,01", holdout_frames=3)
    validation = open_source(config, "validation")
    assert validation.cameras == ("01", "b") and len(validation) == 2
    assert frame_numbers(validation) == [(1, 2, 3), (2, 3, 4)]
    street = DataConfig(
        dataset="folder, street",
        data_dir=f"{tmp_path}/f,",
        split="a",
        street=StreetConfig(street_frames=3, streets=1),
        image_width=32,
    )
    assert open_source(street, "train").cameras == ("a", "street")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "cityscape"}, "--dataset=cityscape: .*folder, kitti_odometry, kitti_raw, .*cityscapes, .*street"),
        ({"dataset": ""}, "--dataset=: "),
        ({"dataset": "folder", "data_dir": ""}, "--data_dir=: expected 1 folder"),
        ({"dataset": "folder,street", "data_dir": "{root}"}, "expected 2 folder.*street's is empty"),
        ({"data_dir": "{root}", "split": "a,z"}, "--split=a,z: z is not in .*: expected some of a, b"),
        ({"dataset": "folder,folder", "data_dir": "{root},{root}/a", "split": "b"}, "names no scene of .*/a: .* a"),
        ({"data_dir": "{root}", "holdout_frames": 2}, "--holdout_frames=2: expected at least 3"),
    ],
)
def test_configurations_that_do_not_fit_together(tmp_path, settings, message):
    for name in ("a", "b"):
        write_scene(tmp_path / name, range(5))
    settings = {
        key: value.format(root=tmp_path) if isinstance(value, str) else value for key, value in settings.items()
    }
    with pytest.raises(ConfigError, match=message) as error:
        open_source(DataConfig(**settings), "validation" if "holdout_frames" in settings else "train")
    assert "\n" not in str(error.value)


def test_frames_may_be_held_out_of_some_scenes_only(tmp_path):
    write_scene(tmp_path / "x" / "a", range(6))
    write_scene(tmp_path / "x" / "b", range(6))
    write_scene(tmp_path / "y" / "c", range(6))
    config = DataConfig(
        dataset="folder,folder", data_dir=f"{tmp_path}/x,{tmp_path}/y", holdout_frames=3, holdout_scenes="b"
    )
    training, validation = open_source(config, "train"), open_source(config, "validation")
    assert len(training) == 4 + 1 + 4 and frame_numbers(validation) == [(3, 4, 5)]
    assert training.cameras == validation.cameras
    cameras = [int(camera) for _, _, camera in tf.data.Dataset.range(1).map(validation.load)]
    assert cameras == [validation.cameras.index("b")]
