"""Refinement of sources and videos into folders, with a refiner that is told what to say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, RefinementConfig, StreetConfig
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.inference import adaptation
from glnet_tf.inference import task as task_module
from glnet_tf.inference.refining import refine_source
from glnet_tf.inference.task import Task
from glnet_tf.inference.video import refine_video, scale_between, starts
from glnet_tf.models.glnet import both_ways
from glnet_tf.refinement.history import History
from glnet_tf.refinement.refiner import Refined
from glnet_tf.structures import LossReport, Predictions, Snippet, merge, split
from glnet_tf.training.checkpoints import Architecture
from glnet_tf.training.weights import load_model

HEIGHT, WIDTH, FRAMES = 32, 96, 8
MODEL = SimpleNamespace(field_of_view=60.0, image_size=(HEIGHT, WIDTH), source_of_intrinsics="given")
CONFIG = ModelConfig(
    encoder="efficientnet_lite0", encoder_weights="none", flow_net="matching", camera_net="solved", intrinsics="given"
)
ARCHITECTURE = Architecture(CONFIG, HEIGHT, WIDTH, ("street",), (WIDTH / HEIGHT,))
DATA = DataConfig(
    dataset="street",
    street=StreetConfig(streets=1, street_frames=FRAMES),
    image_height=HEIGHT,
    image_width=WIDTH,
    batch_size=4,
)


class Told:
    """Knows a depth for every frame, by its pixels, and refines each batch into another scale; nothing else moves."""

    calls = 0

    def __init__(self, model, loss, config, frames=3, size=None, image_size=None):
        self.config, self.frames, self.size = config, frames, size
        Told.calls = 0

    def __call__(self, snippet: Snippet, outputs_only: bool = False) -> Refined:
        Told.calls += 1
        scale = 1.0 + Told.calls
        count, frames = snippet.images.shape[:2]
        small = split(tf.image.resize(merge(snippet.images), self.size, method="area"), frames)
        disparity = 0.1 + tf.reduce_mean(small, axis=-1, keepdims=True)
        step = tf.constant([[0.0] * 4] * 2 + [[0, 0, 0, -1.0], [0.0] * 4])
        rest = tf.eye(4, batch_shape=[count, frames - 1])
        flows = tf.ones([count, 2 * (frames - 1), *self.size, 2])
        pairs = flows.shape[1]
        initial = Predictions((disparity,), (flows,), both_ways(rest + step), snippet.intrinsics)
        final = Predictions((scale * disparity,), (flows / 2,), both_ways(rest + step / scale), snippet.intrinsics)
        history = History(
            *tf.nest.map_structure(
                lambda x: tf.fill([2, count], x), (0.5, LossReport(*[0.1] * len(LossReport._fields)))
            )
        )
        moving = tf.zeros([count, pairs, *self.size, 1])
        return Refined(initial, final, final, None, flows, disparity, moving, None, history, ("",) * count)


@pytest.fixture(autouse=True)
def told(monkeypatch):
    monkeypatch.setattr(task_module, "Refiner", Told)


def task(model, indices, config: RefinementConfig, name: str = "run") -> Task:
    return Task(name, model, ARCHITECTURE, open_source(DATA, "all"), indices, DATA, LossConfig(), config)


def run(folder: Path, every: int = 1, **settings) -> str:
    folder.mkdir(exist_ok=True)
    config = RefinementConfig(refine="oft", flow_scale=1.0, **settings)
    source = open_source(DATA, "all")
    refine = refine_source if config.window == 3 else refine_video
    return refine(task(MODEL, range(0, len(source), every), config), folder)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "snippets.jsonl").read_text().splitlines()]


def test_every_snippet_and_only_what_is_missing_again(tmp_path):
    text = run(tmp_path)
    assert "6 of 6 snippets refined" in text
    table = json.loads((tmp_path / "table.json").read_text())
    assert set(table) == {"none", "fusion", "oft"} and 0 < table["oft"]["depth_abs_rel"] < 10
    assert table["none"]["flow_epe"] != table["oft"]["flow_epe"]
    rows = lines(tmp_path)
    assert [row["label"] for row in rows] == [f"street0/{frame:06d}" for frame in range(1, 7)]
    assert all(row["oft"]["total"] == [0.5, 0.5] for row in rows)
    with np.load(tmp_path / "depth/street0/000003.npz") as file:
        assert file["depth"].shape == (HEIGHT, WIDTH) and np.all(file["depth"] > 0)
    assert cv2.imread(str(tmp_path / "depth/street0/000003.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert len(read_trajectory(tmp_path / "trajectory/street0.txt")[0]) == FRAMES
    assert list((tmp_path / "tensorboard").iterdir()) and (tmp_path / "pictures/street0/000003.png").exists()

    # As if it had been killed while the fifth snippet was written.
    file = tmp_path / "snippets.jsonl"
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join(whole[:4]) + whole[4][:40])
    run(tmp_path)
    assert Told.calls == 1 and [row["label"] for row in lines(tmp_path)] == [row["label"] for row in rows]
    with pytest.raises(ConfigError, match=r"prior=0.01, not 1.0"):
        run(tmp_path, prior=1.0)
    with pytest.raises(ConfigError, match=r"run=run, not another"):
        refine_source(task(MODEL, range(6), RefinementConfig(refine="oft", flow_scale=1.0), "another"), tmp_path)


@pytest.mark.parametrize("window", [3, 4])
def test_a_resumed_sequence_goes_on_with_the_parameters_that_it_carried(tmp_path, monkeypatch, window):
    class Carrying(Told):
        def __init__(self, model, *arguments, **sizes):
            super().__init__(model, *arguments, **sizes)
            self.model = model

        def __call__(self, snippet, outputs_only=False):
            self.model.passed.assign_add(1)
            return super().__call__(snippet)

    monkeypatch.setattr(task_module, "Refiner", Carrying)
    model = tf.Module()
    model.passed = tf.Variable(0)
    model.__dict__.update(vars(MODEL))
    config = RefinementConfig(refine="pft", policy="sequence", window=window)
    refine = refine_source if window == 3 else refine_video
    count = len(open_source(DATA, "all"))
    refine(task(model, range(4), config), tmp_path)
    done = int(model.passed)
    model.passed.assign(0)
    refine(task(model, range(count), config), tmp_path)
    assert 0 < done < int(model.passed)


def test_a_gap_ends_a_trajectory(tmp_path):
    run(tmp_path, every=2)
    assert {file.name for file in (tmp_path / "trajectory").glob("*.txt")} == {
        "street0.txt", "street0_000003.txt", "street0_000005.txt",
    }  # fmt: skip


@pytest.mark.parametrize("count, frames, expected", [(8, 4, [0, 3, 4]), (7, 4, [0, 3]), (4, 4, [0]), (9, 5, [0, 4])])
def test_windows_cover_the_video(count, frames, expected):
    assert starts(count, frames) == expected


def test_the_scale_is_the_median_ratio():
    assert scale_between(np.array([1.0, 2, 3, 400]), np.array([2.0, 4, 6, 8])) == 0.5


def test_windows_come_out_in_one_scale(tmp_path):
    text = run(tmp_path, window=4)
    assert "7 snippets" not in text and "6 of 6 snippets refined" in text
    source = open_source(DATA, "all")
    for frame in range(FRAMES):
        index, place = (frame - 1, 1) if 0 < frame < FRAMES - 1 else ((0, 0) if frame == 0 else (FRAMES - 3, 2))
        image = source.load(tf.constant(index, tf.int64))[0][place].numpy() / 255
        with np.load(tmp_path / f"depth/street0/{frame:06d}.npz") as file:
            np.testing.assert_allclose(1 / file["depth"], 0.1 + image.mean(-1), rtol=1e-3)
    # The networks' scale, whatever the refinement made of it.
    poses = read_trajectory(tmp_path / "trajectory/street0.txt")[0]
    np.testing.assert_allclose(poses[:, 2, 3], np.arange(FRAMES), atol=1e-4)
    assert [row["label"] for row in lines(tmp_path)] == [f"street0/{frame:06d}" for frame in range(FRAMES - 1)]
    for row in lines(tmp_path)[1:]:
        np.testing.assert_allclose(np.array(row["motions"])[:, 2, 3], -1, rtol=1e-4)
        assert "depth_abs_rel" in row["errors"]["oft"]

    (tmp_path / "windows/street0/000004.npz").unlink()
    run(tmp_path, window=4)
    assert Told.calls == 1
    np.testing.assert_array_equal(read_trajectory(tmp_path / "trajectory/street0.txt")[0], poses)


def test_a_video_shorter_than_the_window(tmp_path):
    with pytest.raises(DataError, match="smaller --window"):
        run(tmp_path, window=9)


class Nudged:
    """Moves one parameter by one; every second batch is not finite."""

    calls = 0

    def __init__(self, model, *_):
        self.weight = model.trainable_weights[0]

    def run(self, *_):
        Nudged.calls += 1
        self.weight.assign_add(tf.ones_like(self.weight))
        return History(tf.ones([1, 1]), None), Nudged.calls % 2 == 1


@pytest.mark.slow
def test_what_is_adapted_to_a_video_is_kept_as_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "ParameterRefinement", Nudged)
    model = ARCHITECTURE.build()
    model.build_variables()
    first = model.trainable_weights[0].numpy()
    source = open_source(DATA, "all")

    def adapt(epochs: int) -> None:
        settings = RefinementConfig(epochs=epochs)
        adaptation.adapt(task(model, range(len(source)), settings), tmp_path / "adapted")

    # Two batches a pass, of which the second is not finite.
    adapt(2)
    assert Nudged.calls == 4
    np.testing.assert_allclose(load_model(tmp_path / "adapted")[0].trainable_weights[0], first + 2, atol=1e-5)
    model.trainable_weights[0].assign(first)
    adapt(3)
    assert Nudged.calls == 6
    np.testing.assert_allclose(model.trainable_weights[0], first + 3, atol=1e-5)
    assert dataclasses.replace(ARCHITECTURE) == load_model(tmp_path / "adapted")[1]
