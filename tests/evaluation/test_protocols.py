"""Perfect predictions of a rendered street have no error, spoilt ones the error that was put in."""

import numpy as np
import pytest
import street_trees as trees

from glnet_tf.config import DataConfig, EvaluationConfig, ModelConfig, RefinementConfig
from glnet_tf.data.files.arrays import write_flo, write_kitti_flow
from glnet_tf.data.files.trajectories import write_kitti_trajectory, write_tum_trajectory
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.evaluation.protocols import evaluate
from glnet_tf.inference.predictor import Predictor

TREES = {
    "folder": trees.write_folder_tree,
    "kitti_odometry": trees.write_odometry_tree,
    "kitti_raw": trees.write_raw_tree,
    "kitti_flow": trees.write_kitti_flow_tree,
    "rgbd": trees.write_rgbd_tree,
    "middlebury_flow": trees.write_middlebury_tree,
}


@pytest.fixture(scope="module")
def video():
    return trees.street(frames=7)


def evaluated(tmp_path, video, kind, task, **settings):
    if not (tmp_path / kind).exists():
        TREES[kind](tmp_path / kind, video)
    data = DataConfig(dataset=kind, data_dir=str(tmp_path / kind), cache_dir="")
    config = EvaluationConfig(task=task, predictions=str(tmp_path / "predictions"), **settings)
    source = open_source(data, "frames" if task in ("depth", "flow") else "all")
    return evaluate(source, range(len(source)), config, data, None)


def save_depth(tmp_path, video, names, factor=lambda frame: 1.0):
    for frame, name in enumerate(names):
        file = tmp_path / "predictions" / f"{name}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, depth=np.maximum(video.frame(frame).depth, 1e-3) * factor(frame))


def raw_names(video):
    return [f"{trees.DRIVE}/{frame:010d}" for frame in range(video.frames)]


@pytest.mark.parametrize(("scaling", "abs_rel"), [("median", 0.0), ("set", 0.1 / 7), ("none", (6 * 1 + 1.2) / 7)])
def test_depth_and_its_scale(tmp_path, video, scaling, abs_rel):
    # All frames are twice as far as they are, one of them by another tenth.
    save_depth(tmp_path, video, raw_names(video), lambda frame: 2.2 if frame == 3 else 2.0)
    report = evaluated(tmp_path, video, "kitti_raw", "depth", scaling=scaling)
    # Clipping at 80 m takes a little off the unscaled errors.
    np.testing.assert_allclose(report.metrics["abs_rel"], abs_rel, atol=0.12 if scaling == "none" else 1e-4)
    assert report.metrics["images"] == 7 and report.protocol["ground truth"] == "raw LiDAR, depth from the camera"
    assert report.protocol["crop"] == "garg" and report.protocol["cap (m)"] == 80
    if scaling == "median":
        np.testing.assert_allclose(report.metrics["scale_median"], 0.5, rtol=1e-4)
        ratios = np.array([1.0] * 6 + [1 / 1.1])
        np.testing.assert_allclose(report.metrics["scale_std"], ratios.std(), rtol=1e-3)


def test_a_constant_has_the_error_of_the_best_constant_or_more(tmp_path, video):
    save_depth(tmp_path, video, raw_names(video), lambda frame: 1 / np.maximum(video.frame(frame).depth, 1e-3))
    metrics = evaluated(tmp_path, video, "kitti_raw", "depth").metrics
    assert metrics["abs_rel"] >= metrics["abs_rel_constant"] > 0.1


def test_depth_of_one_scene_may_lie_in_the_folder_itself(tmp_path, video):
    save_depth(tmp_path, video, [f"{frame:06d}" for frame in range(video.frames)])
    assert evaluated(tmp_path, video, "folder", "depth").metrics["abs_rel"] < 1e-3


@pytest.mark.parametrize("suffix", ["flo", "png", "npz"])
def test_flow(tmp_path, video, suffix):
    folder = tmp_path / "predictions"
    folder.mkdir()
    for number in range(2):
        flow = video.flow(2 * number, 2 * number + 1)[0].astype(np.float32)
        # 3-4-5: every pixel is off by 5 px in the first pair.
        flow = flow + (np.float32([3, 4]) if number == 0 else 0)
        file = folder / f"{number:06d}_10.{suffix}"
        {"flo": write_flo, "png": write_kitti_flow}.get(suffix, np.savez)(file, flow)
    metrics = evaluated(tmp_path, video, "kitti_flow", "flow").metrics
    np.testing.assert_allclose([metrics["epe"], metrics["epe_noc"], metrics["f1"]], [2.5, 2.5, 0.5], atol=0.01)
    moving = [video.frame(frame).moving.any() for frame in (0, 2)]
    assert ("epe_moving" in metrics) == any(moving) and metrics["epe_zero"] > 1
    assert 0 < metrics["epe_dis"] < 0.7 * metrics["epe_zero"]


@pytest.mark.parametrize("form", ["kitti", "tum"])
def test_odometry(tmp_path, video, form):
    (tmp_path / "predictions").mkdir()
    poses = np.stack([video.camera_to_world(frame) for frame in range(7)])
    # Another unit of length and another world: neither may matter.
    poses[:, :3, 3] *= 3
    poses = trees.rigid(trees.RECTIFICATION, [1, 2, 3]) @ poses
    file = tmp_path / "predictions" / "09.txt"
    if form == "kitti":
        write_kitti_trajectory(file, poses)
    else:
        write_tum_trajectory(file, poses, np.arange(7.0))
    report = evaluated(tmp_path, video, "kitti_odometry", "odometry")
    for name in ("ate", "ate_rmse", "rpe_translation", "rpe_rotation_deg"):
        np.testing.assert_allclose(report.metrics[name], 0, atol=1e-5)
    assert report.metrics["ate_straight"] > 1e-4 and report.protocol["frames"] == 7
    assert "t_err_percent" not in report.metrics
    write_kitti_trajectory(file, poses[:5])
    with pytest.raises(DataError, match=r"09.txt: has 5 poses: expected 7"):
        evaluated(tmp_path, video, "kitti_odometry", "odometry")


def test_bad_predictions(tmp_path, video):
    names = raw_names(video)
    save_depth(tmp_path, video, names[:5])
    with pytest.raises(DataError, match=r"predictions: has 5 of 7 predictions, not .*/0000000005: expected it as"):
        evaluated(tmp_path, video, "kitti_raw", "depth")
    save_depth(tmp_path, video, names, lambda frame: np.nan if frame == 2 else 1.0)
    with pytest.raises(DataError, match=r"0000000002: the predicted depth is not finite and positive at \d+ of"):
        evaluated(tmp_path, video, "kitti_raw", "depth")
    np.savez(tmp_path / "predictions" / f"{names[2]}.npz", depth=np.ones((16, 96)))
    with pytest.raises(DataError, match=r"0000000002 is 96x16 pixels: expected 96x32 as the truth"):
        evaluated(tmp_path, video, "kitti_raw", "depth")
    np.savez(tmp_path / "predictions" / f"{names[2]}.npz", depth=np.ones(96))
    with pytest.raises(DataError, match=r"0000000002.npz: has shape \(96,\): expected \(height, width\)"):
        evaluated(tmp_path, video, "kitti_raw", "depth")


def test_what_has_no_truth(tmp_path, video):
    with pytest.raises(DataError, match="none of 7 frames has a true depth"):
        evaluated(tmp_path, video, "kitti_odometry", "depth")
    with pytest.raises(DataError, match="none of 7 frames has a true flow"):
        evaluated(tmp_path, video, "kitti_odometry", "flow")
    for task in ("intrinsics", "road"):
        with pytest.raises(ConfigError, match="--run_dir"):
            evaluated(tmp_path, video, "kitti_odometry", task)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of one camera, never trained, whose K is learned."""
    import tensorflow as tf

    from glnet_tf.training.checkpoints import Architecture, Checkpoints, open_run_folder

    folder = tmp_path_factory.mktemp("run")
    model = ModelConfig(encoder_weights="none", flow_net="matching", intrinsics="learned", field_of_view=90)
    architecture = Architecture(model, 32, 96, ("09",))
    open_run_folder(folder, architecture)
    built = architecture.build()
    built.build_variables()
    Checkpoints(folder, tf.train.Checkpoint(model=built)).save(0, best=True)
    return folder


@pytest.mark.slow
def test_a_model_is_evaluated_like_files(tmp_path, video, run_dir):
    model = Predictor(run_dir, RefinementConfig(refine="none"))
    tasks = ("kitti_odometry", "odometry"), ("kitti_odometry", "intrinsics"), ("rgbd", "depth"), ("rgbd", "road")
    for kind, task in tasks:
        if not (tmp_path / kind).exists():
            TREES[kind](tmp_path / kind, video)
        # The camera of the RGB-D scene is unknown to the run, and its name is not in the run's list.
        data = DataConfig(dataset=kind, data_dir=str(tmp_path / kind), batch_size=3)
        source = open_source(data, "frames" if task == "depth" else "all")
        report = evaluate(source, range(len(source)), EvaluationConfig(task=task), data, model)
        assert report.protocol["predictions"] == "model at 32x96"
        if task == "odometry":
            assert report.metrics["ate"] > 0 and np.isfinite(report.metrics["ate_rmse"])
        if task == "intrinsics":
            # 90 degrees: f = W / 2 = 48 against 0.58 W = 55.68.
            np.testing.assert_allclose(report.metrics["fx"], 48 / 55.68 - 1, rtol=1e-4)
            assert abs(report.metrics["cx"]) < 1e-6 and report.metrics["frames"] == 5
        if task == "depth":
            # Never trained: a flat depth, no better than a constant.
            assert report.metrics["abs_rel"] > 0.9 * report.metrics["abs_rel_constant"]
            assert report.metrics["images"] == 7
        if task == "road":
            # A flat depth is a plane, too.
            assert report.metrics["flat_share"] > 0.99 and report.metrics["flat_frames"] == 1


def test_no_truth_within_the_cap_is_one_line(tmp_path, video):
    save_depth(tmp_path, video, raw_names(video))
    with pytest.raises(DataError, match=r"no true depth between 0.001 and 0.01 m, crop garg.*correct --max_depth"):
        evaluated(tmp_path, video, "kitti_raw", "depth", max_depth=0.01)
