"""Predictions of a stream of images in windows, by networks whose results are fixed, and what is written of them."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import tensorflow as tf
import trimesh
from PIL import Image

from glnet_tf.config import RefinementConfig
from glnet_tf.data.files.calibration import Camera
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.frames import Frames
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.evaluation.predicted_files import read_depth, read_flow
from glnet_tf.files import read_json
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.inference import predictor
from glnet_tf.inference.calibration import Calibration
from glnet_tf.inference.frame_prediction import share_of_motion
from glnet_tf.inference.metric_scale import Metres
from glnet_tf.inference.predictor import MAX_STRIDE, Predictor
from glnet_tf.inference.refine import predict_video
from glnet_tf.inference.result_folder import ResultFolder, motion_misfits
from glnet_tf.inference.summary import doubts
from glnet_tf.models.glnet import both_ways
from glnet_tf.refinement.refiner import STAGES, Refined, Stage
from glnet_tf.structures import Predictions, Snippet, merge, split
from glnet_tf.visualization.point_cloud import MAX_POINTS, PointCloud

HEIGHT, WIDTH = 32, 96
ASSUMED = Calibration(Camera(), "assumed")


class Fixed:
    """Inverse depth is the images' brightness, refined into another scale in every window; each motion is a step."""

    windows: list[list[int]] = []

    def __init__(self, model, loss, config, frames=3, size=None, image_size=None, count=None):
        self.config, self.frames, self.size = config, frames, size

    def __call__(self, snippet: Snippet) -> Refined:
        assert snippet.images.shape[1] == self.frames
        small = tf.image.resize(merge(snippet.images), self.size, method="area")
        brightness = split(tf.reduce_mean(small, axis=-1, keepdims=True), self.frames)
        Fixed.windows.append([int(x * 255 + 0.5) for x in tf.reduce_mean(brightness, axis=[2, 3, 4])[0]])
        scale = 1.0 if self.config.refine == "none" else float(len(Fixed.windows))
        pairs = 2 * (self.frames - 1)

        def predicted(scale: float) -> Predictions:
            forward = tf.eye(4, batch_shape=[1, self.frames - 1]).numpy()
            forward[..., 2, 3] = -1 / scale
            flows = tf.ones([1, pairs, *self.size, 2])
            intrinsics = resize_intrinsics(snippet.intrinsics, snippet.images.shape[2:4], self.size)
            return Predictions((scale * brightness,), (flows,), both_ways(tf.constant(forward)), intrinsics)

        moving = np.zeros([1, pairs, *self.size, 1], np.float32)
        moving[:, :, :, : self.size[1] // 2] = 1
        confidence = tf.fill(brightness.shape, 0.75)
        flow = tf.ones([1, pairs, *snippet.images.shape[2:4], 2])
        names = STAGES[self.config.refine]
        stages = tuple(Stage(name, predicted(scale if number else 1.0), flow) for number, name in enumerate(names))
        return Refined(stages, confidence, tf.constant(moving), (0,), None, None, ("",))


@pytest.fixture
def fixed(monkeypatch):
    Fixed.windows = []
    model = SimpleNamespace(field_of_view=60.0, image_size=(HEIGHT, WIDTH), source_of_intrinsics="given")
    monkeypatch.setattr(predictor, "load_model", lambda run_dir: (model, None))
    monkeypatch.setattr(predictor, "Refiner", Fixed)


def images(count: int, size=(40, 120)) -> list[np.ndarray]:
    return [np.full((*size, 3), 100 + i, np.uint8) for i in range(count)]


@pytest.mark.parametrize("refine", ["none", "oft"])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 15, 16, 20])
def test_every_image_once_in_order_in_one_scale(fixed, count, refine):
    config = RefinementConfig(refine=refine, window=8)
    predicted = list(Predictor("run", config).predict(iter(images(count))))
    assert len(predicted) == count
    depths = np.array([frame.disparity.mean() for frame in predicted])
    np.testing.assert_allclose(depths / depths[0], (100 + np.arange(count)) / 100, rtol=1e-5)
    positions = np.array([frame.pose[:3, 3] for frame in predicted])
    np.testing.assert_allclose(positions, np.arange(count)[:, np.newaxis] * [0, 0, 1.0], atol=1e-5)
    assert [frame.flow is None for frame in predicted] == [False] * (count - 1) + [True]
    assert all(frame.disparity.shape == (40, 120) and frame.image.shape == (40, 120, 3) for frame in predicted)
    for frame in predicted[:-1]:
        np.testing.assert_allclose(frame.flow[5, 5], [120 / 160, 40 / 64])
        assert frame.moving[:, :59].all() and not frame.moving[:, 61:].any()
    seen = [number for window in Fixed.windows for number in window]
    assert set(seen) == set(range(100, 100 + count)) and len(seen) <= count + 2 * 8


@pytest.mark.parametrize("count", [7, 20, 31, 32, 33, 40, 57, 64, 100])
@pytest.mark.parametrize("strides", [[4], [2], [1, 4], [4, 1, 3]])
def test_frames_apart_are_seen_together_and_those_between_follow(fixed, monkeypatch, count, strides):
    wanted = itertools.cycle(strides)
    monkeypatch.setattr(Predictor, "_stride", lambda self, held: next(wanted))
    predictor_ = Predictor("run", RefinementConfig(refine="fusion", window=8))
    steps = []

    def next_flow(images, disparities, motion, intrinsics, refined):
        steps.append(images.numpy().mean(axis=(1, 2, 3)) * 255)
        assert refined and disparities.shape[:2] == (1, 2) and abs(motion[2, 3]) < 1
        return tf.ones([64, 160, 2])

    predictor_._next_flow = next_flow
    predicted = list(predictor_.predict(iter(images(count))))
    assert len(predicted) == count
    depths = np.array([frame.disparity.mean() for frame in predicted])
    np.testing.assert_allclose(depths / depths[0], (100 + np.arange(count)) / 100, rtol=1e-5)
    assert all(np.unique(np.diff(window)).tolist() in ([1], [2], [3], [4]) for window in Fixed.windows)
    assert [frame.flow is None for frame in predicted] == [False] * (count - 1) + [True]
    np.testing.assert_allclose([b - a for a, b in steps], 1, atol=1e-3)
    # A motion of 1 from one frame of a window to the next, whatever lies between.
    speed = np.diff([frame.pose[2, 3] for frame in predicted])
    np.testing.assert_allclose(1 / speed, np.round(1 / speed), atol=1e-5)
    if len(strides) == 1 and count >= 3 * strides[0]:
        np.testing.assert_allclose(speed, 1 / strides[0], rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_share_of_a_motion_makes_it_when_repeated(steps):
    motion = np.eye(4)
    motion[:3, :3] = cv2.Rodrigues(np.array([0.1, -0.4, 0.2]))[0]
    motion[:3, 3] = [0.3, -1, 2]
    np.testing.assert_allclose(np.linalg.matrix_power(share_of_motion(motion, steps), steps), motion, atol=1e-12)


def test_the_stride_brings_the_parallax_that_is_wanted(fixed):
    """The upper half passes twice as fast as the lower one: half a pixel of 320 apart from what a rotation explains."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (240, 400)).astype(np.float32), (0, 0), 2)
    texture = np.clip((texture - 127) * 5 + 127, 0, 255)

    def seen(frame: int) -> np.ndarray:
        upper, lower = (
            cv2.warpAffine(texture, np.float32([[1, 0, -x * frame], [0, 1, 0]]), (320, 240)) for x in (2, 1)
        )
        return np.repeat(np.uint8([*upper[:120], *lower[120:]])[..., np.newaxis], 3, axis=2)

    given = Predictor("run", target_parallax=4.0)
    held, faster = ([given._fitted(seen(by * frame), None) for frame in range(8)] for by in (1, 2))
    assert given._stride(held) in (3, 4, 5) and given._stride(faster) == 2
    assert given._stride([held[0]] * 8) == given._stride(held[:1]) == 1  # nothing is gained by waiting
    given.target_parallax = 0.0
    assert given._stride(held) == 1
    given.target_parallax = 1e3
    assert given._stride(held) == MAX_STRIDE


def test_a_stream_is_not_read_further_than_a_window(fixed):
    read = []

    def stream():
        for image in images(40):
            read.append(image)
            yield image

    predicted = Predictor("run").predict(stream())
    for done in range(1, 30):
        next(predicted)
        assert len(read) <= done + 8


def test_given_intrinsics_come_back_and_images_that_do_not_fit_are_refused(fixed):
    K = np.array([[90.0, 0, 60], [0, 80, 20], [0, 0, 1]], np.float32)
    predicted = list(Predictor("run", intrinsics=K).predict(images(3)))
    np.testing.assert_allclose(predicted[1].intrinsics, K, rtol=1e-5)
    with pytest.raises(DataError, match="120x20 pixels: expected at least 32"):
        list(Predictor("run").predict(images(3, (20, 120))))
    with pytest.raises(DataError, match="expected images of one size"):
        list(Predictor("run").predict(images(1) + images(1, (50, 120))))


def predict_folder(folder, frames, **settings):
    predictor_ = Predictor("run", RefinementConfig(refine="oft", window=4))
    with ResultFolder(folder, settings, outputs=["all"]) as results:
        return predict_video(predictor_, frames, results, Metres(0.0, 0.0), ASSUMED, min_confidence=0.0)


@pytest.fixture
def video(tmp_path):
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images(12)):
        Image.fromarray(image).save(tmp_path / f"in/{number:06d}.png")
    return str(tmp_path / "in")


def test_what_is_written_reads_back(fixed, tmp_path, video):
    out = tmp_path / "out"
    assert predict_folder(out, Frames(video))
    predicted = list(Predictor("run", RefinementConfig(refine="oft", window=4)).predict(images(12)))
    with ResultFolder(out, {}, outputs=["all"]) as results:
        for number, frame in enumerate(predicted):
            read = results.read(f"{number:06d}")
            for name in ("disparity", "confidence", "pose", "intrinsics", "image"):
                np.testing.assert_allclose(getattr(read, name), getattr(frame, name), rtol=1e-6, err_msg=name)
            for name in ("flow", "moving", "motion"):
                ours, theirs = getattr(read, name), getattr(frame, name)
                assert (ours is None) == (theirs is None) == (number == 11)
                np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_allclose(read.initial.depth, frame.initial.depth, rtol=1e-3)
        scale = results.rows["000003"].depth_png_scale
    np.testing.assert_allclose(read_depth(out / "confidence/000003.png") * 256 / 65535, 0.75, atol=1e-4)
    np.testing.assert_allclose(read_depth(out / "depth/000003.png") * 256 / scale, predicted[3].depth, rtol=1e-3)
    for suffix in (".flo", ".png"):
        np.testing.assert_allclose(read_flow(out / f"flow/000003{suffix}"), predicted[3].flow, atol=1 / 128)
    for name in ("trajectory.txt", "trajectory.tum"):
        np.testing.assert_allclose(read_trajectory(out / name)[0][5, 2, 3], 5, rtol=1e-5)
    intrinsics = read_json(out / "intrinsics.json")
    assert intrinsics["width"] == 120 and intrinsics["fx"]["std"] < 1e-3
    movie = Frames(str(out / "video.mp4"))
    assert movie.count == 11 and len(list(movie)) == 11
    with av.open(str(out / "depth_video.mkv")) as film:
        grey = [picture.to_ndarray() for picture in film.decode(video=0)]
    for depth, frame in zip(grey, predicted):
        np.testing.assert_allclose(depth / scale, frame.depth, rtol=1e-3)
    assert len(grey) == 12 and grey[0].dtype == np.uint16
    cloud = trimesh.load(out / "cloud.ply")
    # What moves, on the left, is left out; of the last frame nobody knows what moves.
    assert len(cloud.vertices) > 1000 and 0 < (cloud.vertices[:, 0] < -0.2).mean() < 0.2
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg") > 20 and "depth_before" in page and "base64_data=" in page
    # A library's source names addresses; the page asks for none.
    assert "http" not in re.sub(r'srcdoc=".*?"', "", page, flags=re.DOTALL)


@pytest.mark.parametrize(
    "outputs, written",
    [
        (["depth_png"], {"depth", "frames.jsonl"}),
        (["cloud"], {"image", "depth", "cloud.ply", "frames.jsonl"}),
        (["flow_png", "confidence"], {"flow", "confidence", "frames.jsonl"}),
        (["depth_video", "flow_colour"], {"image", "depth", "flow", "flow_colour", "depth_video.mkv", "frames.jsonl"}),
    ],
)
def test_what_is_written_is_chosen(fixed, tmp_path, video, outputs, written):
    out = tmp_path / "out"
    predictor_ = Predictor("run", RefinementConfig(refine="oft", window=4))
    with ResultFolder(out, {}, outputs=outputs) as results:
        assert predict_video(predictor_, Frames(video), results, Metres(), ASSUMED, min_confidence=0.0)
    always = {".lock", "settings.json", "prediction.json", "trajectory.txt", "trajectory.tum", "intrinsics.json"}
    assert {file.name for file in out.iterdir()} == written | always
    with pytest.raises(ConfigError, match="was made with outputs="):
        ResultFolder(out, {}, outputs=["page"])
    with pytest.raises(ConfigError, match="--outputs=depths: expected some of image, depth, "):
        ResultFolder(tmp_path / "new", {}, outputs=["depths"])


def test_a_motion_no_better_than_straight_ahead_is_a_doubt(fixed):
    """Flow of a camera that moves sideways; the motion found is that, or one straight ahead."""
    frame = next(Predictor("run").predict(images(3)))._replace(initial=None)
    y, x = np.mgrid[: frame.flow.shape[0], : frame.flow.shape[1]]
    sideways = np.stack([np.full_like(x, -3.0, float), np.zeros_like(y, float)], axis=-1).astype(np.float32)
    right = np.eye(4)
    right[0, 3] = -1
    found, straight = motion_misfits(frame._replace(flow=sideways, motion=right))
    assert found < 1e-3 < 0.5 < straight
    ahead = np.eye(4)
    ahead[2, 3] = -0.3
    wrong = motion_misfits(frame._replace(flow=sideways, motion=ahead))
    assert wrong[0] == pytest.approx(straight, rel=1e-3) == wrong[1]
    assert motion_misfits(frame._replace(flow=None)) is None
    row = SimpleNamespace(misfits=[found, straight])
    assert not doubts([row]) and not doubts([SimpleNamespace(misfits=None)])
    assert "no better than straight ahead would (1." in doubts([row, *[SimpleNamespace(misfits=[1.0, 1.1])] * 2])[0]


@pytest.mark.parametrize("after", [0, 2, 3, 7, 11])
def test_an_interrupted_video_goes_on_to_the_same_results(fixed, tmp_path, video, after):
    class Interrupted(Frames):
        def __iter__(self):
            for number, frame in enumerate(super().__iter__()):
                if number == after:
                    raise KeyboardInterrupt
                yield frame

    assert predict_folder(tmp_path / "whole", Frames(video))
    assert not predict_folder(tmp_path / "out", Interrupted(video))
    note = read_json(tmp_path / "out/prediction.json")
    assert not note["complete"] and "interrupted" in note["remarks"][0] and note["frames"] <= after
    assert predict_folder(tmp_path / "out", Frames(video))
    for name in ("frames.jsonl", "trajectory.tum"):
        ours, theirs = ((tmp_path / place / name).read_text() for place in ("out", "whole"))
        assert ours == theirs
    np.testing.assert_allclose(
        *(read_depth(tmp_path / place / "depth/000009.npz") for place in ("out", "whole")), rtol=1e-6
    )
    with pytest.raises(ConfigError, match="a=None, not 1"):
        predict_folder(tmp_path / "out", Frames(video), a=1)


def test_a_disk_without_room_for_all_is_said_after_the_first_frame(fixed, tmp_path, video, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=50_000))
    with pytest.raises(DataError, match=r"has 0.00 GB free: expected 0.00 GB for what is to be written"):
        predict_folder(tmp_path / "out", Frames(video))
    assert len((tmp_path / "out/frames.jsonl").read_text().splitlines()) == 1


def test_a_start_that_failed_leaves_the_folder_to_the_corrected_command(fixed, tmp_path, video):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/0.png").write_bytes(b"no image")
    (tmp_path / "bad/1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="holds no frame that can be used"):
        predict_folder(tmp_path / "out", Frames(str(tmp_path / "bad")), input="bad")
    assert predict_folder(tmp_path / "out", Frames(video), input="good")


def test_a_folder_of_something_else_is_left_alone(fixed, tmp_path, video):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds something else: expected a new or empty folder"):
        predict_folder(tmp_path / "out", Frames(video))
    (tmp_path / "in/000000.png").rename(tmp_path / "in/0000000.png")
    (tmp_path / "out/thesis.tex").unlink()
    with ResultFolder(tmp_path / "out", {}, outputs=["all"]) as results:
        results.add("000000", next(Predictor("run").predict(images(2))))
        with pytest.raises(DataError, match="another process is writing there"):
            ResultFolder(tmp_path / "out", {})
    with pytest.raises(DataError, match="holds frame 000000, not 0000000: expected the same video"):
        predict_folder(tmp_path / "out", Frames(video))


def test_a_point_cloud_holds_what_is_certain(fixed):
    frame = list(Predictor("run").predict(images(2)))[0]
    half = frame._replace(confidence=np.where(np.arange(40)[:, np.newaxis] < 20, 0.6, 0.4) * np.ones((40, 120)))
    counts = {}
    for least in (0.0, 0.5, 0.9):
        cloud = PointCloud(least)
        cloud.add(half)
        counts[least] = len(cloud.arrays()[0])
    assert counts[0.0] == counts[0.9] == 2 * counts[0.5] > 0


def test_a_point_cloud_stays_bounded(fixed):
    frame = list(Predictor("run").predict(images(2, (200, 300))))[0]
    cloud = PointCloud()
    for _ in range(60):
        cloud.add(frame)
    points, colours = cloud.arrays()
    assert MAX_POINTS / 4 < len(points) <= MAX_POINTS and len(points) == len(colours)
