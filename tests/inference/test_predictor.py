"""Predictions of a stream of images in windows, by networks that are told what to say, and what is written of them."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf
import trimesh

from glnet_tf.config import RefinementConfig
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.frames import Frames
from glnet_tf.errors import DataError
from glnet_tf.files import read_array
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.inference import predictor
from glnet_tf.inference.predictions import read_depth, read_flow
from glnet_tf.inference.predictor import MAX_STRIDE, Predictor, share_of_motion
from glnet_tf.inference.written import Pictures, PredictionFolder
from glnet_tf.models.glnet import both_ways
from glnet_tf.refinement.refiner import Refined
from glnet_tf.structures import Predictions, Snippet, merge, split
from glnet_tf.visualization.point_cloud import MAX_POINTS, PointCloud

HEIGHT, WIDTH = 32, 96


class Told:
    """Inverse depth is the images' brightness, refined into another scale in every window; each motion is a step."""

    windows: list[list[int]] = []

    def __init__(self, model, loss, config, frames=3, size=None, image_size=None):
        self.config, self.frames, self.size = config, frames, size

    def __call__(self, snippet: Snippet) -> Refined:
        assert snippet.images.shape[1] == self.frames
        small = tf.image.resize(merge(snippet.images), self.size, method="area")
        brightness = split(tf.reduce_mean(small, axis=-1, keepdims=True), self.frames)
        Told.windows.append([int(x * 255 + 0.5) for x in tf.reduce_mean(brightness, axis=[2, 3, 4])[0]])
        scale = 1.0 if self.config.refine == "none" else float(len(Told.windows))
        pairs = 2 * (self.frames - 1)

        def said(scale: float) -> Predictions:
            forward = tf.eye(4, batch_shape=[1, self.frames - 1]).numpy()
            forward[..., 2, 3] = -1 / scale
            flows = tf.ones([1, pairs, *self.size, 2])
            intrinsics = resize_intrinsics(snippet.intrinsics, snippet.images.shape[2:4], self.size)
            return Predictions((scale * brightness,), (flows,), both_ways(tf.constant(forward)), intrinsics)

        moving = np.zeros([1, pairs, *self.size, 1], np.float32)
        moving[:, :, :, : self.size[1] // 2] = 1
        final = said(scale)
        confidence = tf.fill(brightness.shape, 0.75)
        flow = tf.ones([1, pairs, *snippet.images.shape[2:4], 2])
        return Refined(said(1.0), final, final, None, flow, confidence, tf.constant(moving), None, None, ("",))


@pytest.fixture
def told(monkeypatch):
    Told.windows = []
    model = SimpleNamespace(field_of_view=60.0, image_size=(HEIGHT, WIDTH), source_of_intrinsics="given")
    monkeypatch.setattr(predictor, "load_model", lambda run_dir: (model, None))
    monkeypatch.setattr(predictor, "Refiner", Told)


def images(count: int, size=(40, 120)) -> list[np.ndarray]:
    return [np.full((*size, 3), 100 + i, np.uint8) for i in range(count)]


@pytest.mark.parametrize("refine", ["none", "oft"])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 15, 16, 20])
def test_every_image_once_in_order_in_one_scale(told, count, refine):
    config = RefinementConfig(refine=refine, window=8)
    said = list(Predictor("run", config).predict(iter(images(count))))
    assert len(said) == count
    depths = np.array([frame.disparity.mean() for frame in said])
    np.testing.assert_allclose(depths / depths[0], (100 + np.arange(count)) / 100, rtol=1e-5)
    positions = np.array([frame.pose[:3, 3] for frame in said])
    np.testing.assert_allclose(positions, np.arange(count)[:, np.newaxis] * [0, 0, 1.0], atol=1e-5)
    assert [frame.flow is None for frame in said] == [False] * (count - 1) + [True]
    assert all(frame.disparity.shape == (40, 120) and frame.image.shape == (40, 120, 3) for frame in said)
    for frame in said[:-1]:
        np.testing.assert_allclose(frame.flow[5, 5], [120 / 160, 40 / 64])
        assert frame.moving[:, :59].all() and not frame.moving[:, 61:].any()
    seen = [number for window in Told.windows for number in window]
    assert set(seen) == set(range(100, 100 + count)) and len(seen) <= count + 2 * 8


@pytest.mark.parametrize("count", [7, 20, 31, 32, 33, 40, 57, 64, 100])
@pytest.mark.parametrize("strides", [[4], [2], [1, 4], [4, 1, 3]])
def test_frames_apart_are_seen_together_and_those_between_follow(told, monkeypatch, count, strides):
    wanted = itertools.cycle(strides)
    monkeypatch.setattr(Predictor, "_stride", lambda self, held: next(wanted))
    predictor_ = Predictor("run", RefinementConfig(refine="fusion", window=8))
    steps = []

    def next_flow(images, disparities, motion, intrinsics, refined):
        steps.append(images.numpy().mean(axis=(1, 2, 3)) * 255)
        assert refined and disparities.shape[:2] == (1, 2) and abs(motion[2, 3]) < 1
        return tf.ones([64, 160, 2])

    predictor_._next_flow = next_flow
    said = list(predictor_.predict(iter(images(count))))
    assert len(said) == count
    depths = np.array([frame.disparity.mean() for frame in said])
    np.testing.assert_allclose(depths / depths[0], (100 + np.arange(count)) / 100, rtol=1e-5)
    assert all(np.unique(np.diff(window)).tolist() in ([1], [2], [3], [4]) for window in Told.windows)
    assert [frame.flow is None for frame in said] == [False] * (count - 1) + [True]
    np.testing.assert_allclose([b - a for a, b in steps], 1, atol=1e-3)
    # A motion of 1 from one frame of a window to the next, whatever lies between.
    speed = np.diff([frame.pose[2, 3] for frame in said])
    np.testing.assert_allclose(1 / speed, np.round(1 / speed), atol=1e-5)
    if len(strides) == 1 and count >= 3 * strides[0]:
        np.testing.assert_allclose(speed, 1 / strides[0], rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_share_of_a_motion_makes_it_when_repeated(steps):
    motion = np.eye(4)
    motion[:3, :3] = cv2.Rodrigues(np.array([0.1, -0.4, 0.2]))[0]
    motion[:3, 3] = [0.3, -1, 2]
    np.testing.assert_allclose(np.linalg.matrix_power(share_of_motion(motion, steps), steps), motion, atol=1e-12)


def test_the_stride_brings_the_parallax_that_is_wanted(told):
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


def test_a_stream_is_not_read_further_than_a_window(told):
    read = []

    def stream():
        for image in images(40):
            read.append(image)
            yield image

    said = Predictor("run").predict(stream())
    for done in range(1, 30):
        next(said)
        assert len(read) <= done + 8


def test_given_intrinsics_come_back_and_images_that_do_not_fit_are_refused(told):
    K = np.array([[90.0, 0, 60], [0, 80, 20], [0, 0, 1]], np.float32)
    said = list(Predictor("run", intrinsics=K).predict(images(3)))
    np.testing.assert_allclose(said[1].intrinsics, K, rtol=1e-5)
    with pytest.raises(DataError, match="120x20 pixels: expected at least 32"):
        list(Predictor("run").predict(images(3, (20, 120))))
    with pytest.raises(DataError, match="expected images of one size"):
        list(Predictor("run").predict(images(1) + images(1, (50, 120))))


def test_what_is_written_reads_back(told, tmp_path):
    folder, pictures = PredictionFolder(tmp_path / "out", 10.0), Pictures()
    said = list(Predictor("run", RefinementConfig(refine="oft", window=4)).predict(images(6)))
    for number, frame in enumerate(said):
        folder.add(f"{number:06d}", frame, pictures.draw(frame), metric=False)
    notes = {"input": "x", "unit": "up to scale", "seconds": 1.0, "refinement": {"refine": "oft"}, "remarks": ["cut"]}
    folder.close(notes)
    out = tmp_path / "out"
    np.testing.assert_allclose(read_depth(out / "depth/000003.npz"), said[3].depth)
    np.testing.assert_allclose(read_array(out / "depth/000003.npz", "confidence"), 0.75)
    np.testing.assert_allclose(read_depth(out / "confidence/000003.png") * 256 / 65535, 0.75, atol=1e-4)
    note = json.loads((out / "prediction.json").read_text())
    png = read_depth(out / "depth/000003.png") * 256 / note["depth_png_scale"]
    np.testing.assert_allclose(png, said[3].depth, rtol=1e-3)
    for suffix in (".flo", ".png"):
        np.testing.assert_allclose(read_flow(out / f"flow/000003{suffix}"), said[3].flow, atol=1 / 128)
    for name in ("trajectory.txt", "trajectory.tum"):
        np.testing.assert_allclose(read_trajectory(out / name)[0][5, 2, 3], 5, rtol=1e-5)
    intrinsics = json.loads((out / "intrinsics.json").read_text())
    assert intrinsics["width"] == 120 and intrinsics["fx"]["std"] < 1e-3
    movie = Frames(str(out / "video.mp4"))
    assert movie.count == 5 and len(list(movie)) == 5
    cloud = trimesh.load(out / "cloud.ply")
    # What moves, on the left, is left out; of the last frame nobody knows what moves.
    assert len(cloud.vertices) > 1000 and 0 < (cloud.vertices[:, 0] < -0.2).mean() < 0.2
    page = (out / "report.html").read_text()
    assert "cut" in page and page.count("data:image/jpeg") > 20 and "depth_before" in page and "http" not in page


def test_a_point_cloud_holds_what_is_certain(told):
    frame = list(Predictor("run").predict(images(2)))[0]
    half = frame._replace(confidence=np.where(np.arange(40)[:, np.newaxis] < 20, 0.6, 0.4) * np.ones((40, 120)))
    counts = {}
    for least, said in ((0.0, half), (0.5, half), (0.9, half)):
        cloud = PointCloud(least)
        cloud.add(said)
        counts[least] = len(cloud.arrays()[0])
    assert counts[0.0] == counts[0.9] == 2 * counts[0.5] > 0


def test_a_point_cloud_stays_bounded(told):
    frame = list(Predictor("run").predict(images(2, (200, 300))))[0]
    cloud = PointCloud()
    for _ in range(60):
        cloud.add(frame)
    points, colours = cloud.arrays()
    assert MAX_POINTS / 4 < len(points) <= MAX_POINTS and len(points) == len(colours)
