"""Predictions of data sets into result folders, by a refiner whose results are fixed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import street_trees as trees
import tensorflow as tf

from glnet_tf.config import (
    DataConfig,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    RefinementConfig,
    StreetConfig,
)
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError
from glnet_tf.evaluation.protocols import evaluate
from glnet_tf.inference import adaptation
from glnet_tf.inference import predictor as predictor_module
from glnet_tf.inference.frame_prediction import scale_between
from glnet_tf.inference.predictor import Predictor
from glnet_tf.inference.refine import predict_data_set
from glnet_tf.inference.result_folder import ResultFolder
from glnet_tf.inference.snippets import SnippetReader
from glnet_tf.models.glnet import both_ways
from glnet_tf.refinement.history import History
from glnet_tf.refinement.refiner import Refined, Stage
from glnet_tf.structures import LossReport, Predictions, Snippet
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


class Fixed:
    """Knows a depth for every frame, by its pixels, and refines each batch into another scale; nothing else moves."""

    calls = 0

    def __init__(self, model, loss, config, frames=3, size=None, image_size=None, count=None):
        self.model, self.config, self.frames, self.size = model, config, frames, size
        Fixed.calls = 0

    def __call__(self, snippet: Snippet, outputs_only: bool = False) -> Refined:
        Fixed.calls += 1
        scale = 1.0 + Fixed.calls
        count, frames = snippet.images.shape[:2]
        disparity = 0.1 + tf.reduce_mean(snippet.images, axis=-1, keepdims=True)
        step = tf.constant([[0.0] * 4] * 2 + [[0, 0, 0, -1.0], [0.0] * 4])
        rest = tf.eye(4, batch_shape=[count, frames - 1])
        flows = tf.ones([count, 2 * (frames - 1), *self.size, 2])
        initial = Predictions((disparity,), (flows,), both_ways(rest + step), snippet.intrinsics)
        final = Predictions((scale * disparity,), (flows / 2,), both_ways(rest + step / scale), snippet.intrinsics)
        history = History(
            *tf.nest.map_structure(
                lambda x: tf.fill([2, count], x), (0.5, LossReport(*[0.1] * len(LossReport._fields)))
            )
        )
        stages = Stage("none", initial, flows), Stage("fusion", final, flows / 2), Stage("oft", final, flows / 2)
        moving = tf.zeros([count, flows.shape[1], *self.size, 1])
        return Refined(stages, disparity, moving, tuple(range(count)), None, history, ("",) * count)


@pytest.fixture(autouse=True)
def fixed(monkeypatch):
    monkeypatch.setattr(predictor_module, "Refiner", Fixed)
    monkeypatch.setattr(predictor_module, "load_model", lambda weights: (MODEL, ARCHITECTURE))


def run(folder: Path, every: int = 1, count: int | None = None, weights: str = "run", **settings) -> str:
    config = RefinementConfig(**{"refine": "oft", "flow_scale": 1.0, **settings})
    source = open_source(DATA, "all")
    settings = {"weights": weights, **dataclasses.asdict(config)}
    with ResultFolder(folder, settings, outputs=["page", "cloud", "depth_png"]) as results:
        return predict_data_set(
            Predictor(weights, config), source, DATA, range(0, count or len(source), every), results
        )


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def test_every_frame_and_only_what_is_missing_again(tmp_path):
    text = run(tmp_path)
    assert "8 of 8 frames refined" in text
    table = json.loads((tmp_path / "table.json").read_text())
    assert set(table) == {"none", "fusion", "oft"} and 0 < table["oft"]["depth_abs_rel"] < 10
    assert table["none"]["flow_epe"] != table["oft"]["flow_epe"]
    rows = lines(tmp_path)
    assert [row["name"] for row in rows] == [f"street0/{frame:06d}" for frame in range(FRAMES)]
    # The ends of the scene are seen beside the next frames.
    assert [bool(row["oft"]) for row in rows] == [True, False, *[True] * 5, False]
    assert rows[3]["oft"]["total"] == [0.5, 0.5] and [bool(row["errors"]) for row in rows] == [
        False,
        *[True] * 6,
        False,
    ]
    assert cv2.imread(str(tmp_path / "depth/street0/000003.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert len(read_trajectory(tmp_path / "trajectory/street0.txt")[0]) == FRAMES
    assert list((tmp_path / "tensorboard").iterdir()) and (tmp_path / "cloud/street0.ply").exists()
    assert "Errors against the truth" in (tmp_path / "report.html").read_text()

    # As if it had been killed while the fifth frame was written.
    file = tmp_path / "frames.jsonl"
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join(whole[:4]) + whole[4][:40])
    before = read_trajectory(tmp_path / "trajectory/street0.txt")[0]
    run(tmp_path)
    assert Fixed.calls == 1 and [row["name"] for row in lines(tmp_path)] == [row["name"] for row in rows]
    np.testing.assert_array_equal(read_trajectory(tmp_path / "trajectory/street0.txt")[0], before)
    with pytest.raises(ConfigError, match=r"prior=0.01, not 1.0"):
        run(tmp_path, prior=1.0)
    with pytest.raises(ConfigError, match=r"weights=run, not another"):
        run(tmp_path, weights="another")


def test_results_are_evaluated_as_they_are(tmp_path):
    """The errors of the files are those that were found on the way; the trajectory is straight ahead."""
    run(tmp_path)
    table, source = json.loads((tmp_path / "table.json").read_text())["oft"], open_source(DATA, "all")
    for task, name in (("depth", "abs_rel"), ("flow", "epe")):
        config = EvaluationConfig(task=task, predictions=str(tmp_path))
        metrics = evaluate(source, range(len(source)), config, DATA, None).metrics
        np.testing.assert_allclose(metrics[name], table[f"{task}_{name}"], rtol=1e-5)
    config = EvaluationConfig(task="odometry", predictions=str(tmp_path))
    metrics = evaluate(source, range(len(source)), config, DATA, None).metrics
    np.testing.assert_allclose(metrics["ate"], metrics["ate_straight"], atol=1e-6)


@pytest.mark.parametrize("window", [3, 4])
def test_a_resumed_sequence_goes_on_with_the_parameters_that_it_carried(tmp_path, monkeypatch, window):
    class Carrying(Fixed):
        def __call__(self, snippet, outputs_only=False):
            self.model.passed.assign_add(1)
            return super().__call__(snippet)

    monkeypatch.setattr(predictor_module, "Refiner", Carrying)
    model = tf.Module()
    model.passed = tf.Variable(0)
    model.__dict__.update(vars(MODEL))
    monkeypatch.setattr(predictor_module, "load_model", lambda weights: (model, ARCHITECTURE))
    settings = {"refine": "pft", "policy": "sequence", "window": window}
    run(tmp_path, count=4, **settings)
    done = int(model.passed)
    model.passed.assign(0)
    run(tmp_path, **settings)
    assert 0 < done < int(model.passed)


def test_a_gap_ends_a_path_and_ends_of_snippets_are_others(tmp_path):
    """Every second snippet, the frames 1, 3 and 5: each begins a path, and the scene's first frame comes along."""
    run(tmp_path, every=2)
    assert [row["path"] for row in lines(tmp_path)] == ["street0", "street0", "street0_000003", "street0_000005"]
    assert [row["name"][-1] for row in lines(tmp_path)] == ["0", "1", "3", "5"]


def test_what_cannot_be_decoded_is_left_out_and_ends_a_path(tmp_path, monkeypatch):
    trees.write_rgbd_tree(tmp_path / "data", trees.street(frames=9))
    data = dataclasses.replace(DATA, dataset="rgbd", data_dir=str(tmp_path / "data"), batch_size=1)
    source = open_source(data, "all")
    Path(source.files(3)[1]).write_bytes(b"no image")
    with ResultFolder(tmp_path / "out", {}) as results:
        predict_data_set(Predictor("run", RefinementConfig(refine="oft")), source, data, range(len(source)), results)
        paths = [(row.name[-1], row.path.rpartition("_")[2]) for row in results.rows.values()]
    scene = source.label(0).rpartition("/")[0]
    assert [number for number, _ in paths] == list("012678")
    assert {path for _, path in paths[3:]} != {scene} and len({path for _, path in paths}) == 2


def test_the_scale_is_the_median_ratio():
    assert scale_between(np.array([1.0, 2, 3, 400]), np.array([2.0, 4, 6, 8])) == 0.5


@pytest.mark.parametrize("window", [3, 4, 5])
def test_windows_come_out_in_one_scale(tmp_path, window):
    """That of the networks, whatever the refinement made of it; the depths are exactly those of the refiner."""
    assert "8 of 8 frames refined" in run(tmp_path, window=window)
    source = open_source(DATA, "all")
    for frame in range(FRAMES):
        index, place = (frame - 1, 1) if 0 < frame < FRAMES - 1 else ((0, 0) if frame == 0 else (FRAMES - 3, 2))
        image = source.load(tf.constant(index, tf.int64))[0][place].numpy() / np.float32(255)
        with np.load(tmp_path / f"depth/street0/{frame:06d}.npz") as file:
            np.testing.assert_allclose(1 / file["depth"], 0.1 + image.mean(-1), rtol=1e-6)
    poses = read_trajectory(tmp_path / "trajectory/street0.txt")[0]
    np.testing.assert_allclose(poses[:, 2, 3], np.arange(FRAMES), atol=1e-4)
    assert [row["name"] for row in lines(tmp_path)] == [f"street0/{frame:06d}" for frame in range(FRAMES)]
    for row in lines(tmp_path)[1:-1]:
        np.testing.assert_allclose(row["motion"][2][3], -1, rtol=1e-4)
        assert "depth_abs_rel" in row["errors"]["oft"]


def test_a_video_shorter_than_the_window_is_one(tmp_path):
    assert "8 of 8 frames refined" in run(tmp_path, window=9) and Fixed.calls == 1


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
        reader = SnippetReader(model, ARCHITECTURE, source, DATA, scale=1.5)
        config = RefinementConfig(epochs=epochs)
        adaptation.adapt(reader, range(len(source)), LossConfig(), config, tmp_path / "adapted")

    # Two batches a pass, of which the second is not finite.
    adapt(2)
    assert Nudged.calls == 4
    np.testing.assert_allclose(load_model(tmp_path / "adapted")[0].trainable_weights[0], first + 2, atol=1e-5)
    model.trainable_weights[0].assign(first)
    adapt(3)
    assert Nudged.calls == 6
    np.testing.assert_allclose(model.trainable_weights[0], first + 3, atol=1e-5)
    assert dataclasses.replace(ARCHITECTURE) == load_model(tmp_path / "adapted")[1]
