"""What each term of the objective is good for: trainings that lack one, from the same starts, evaluated and refined."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, RefinementConfig, TrainingConfig
from glnet_tf.data.pipeline import batches, stream
from glnet_tf.data.source import Source
from glnet_tf.errors import DataError, NonFiniteLossError
from glnet_tf.files import append_json_line, check_settings, read_json_lines
from glnet_tf.inference.frame_errors import SHOWN, Errors, average_errors, frame_errors
from glnet_tf.inference.frame_prediction import window_predictions
from glnet_tf.losses.objective import loss_weights
from glnet_tf.parsing import misfit
from glnet_tf.progress import progress_bar
from glnet_tf.refinement.refiner import Refiner
from glnet_tf.structures import MIDDLE, snippet_signature
from glnet_tf.training.checkpoints import Architecture
from glnet_tf.training.step import make_train_step, training_optimizers
from glnet_tf.training.trainer import resolved_config
from glnet_tf.visualization.pictures import image_picture

# What is left out, and the weights that are 0 then; "adaptive": both branches of the photometric loss to the end.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "adaptive": (),
    "structure": ("structure",),
    "epipolar": ("epipolar",),
    "smoothness": ("depth_smoothness", "flow_smoothness"),
    "consistency": ("consistency",),
    "evidence": ("evidence",),
}


class Ablation:
    """Trains and evaluates GLNet without a part of its objective; one graph serves all trainings.

    Args:
      source: of the training snippets.
      tests: sources with a truth, by name.
      snippets: number of each that are evaluated, evenly spread.
      seeds: number of trainings of each kind.
      data, model, loss, training, refinement: the configuration from which one part at a time is left out.
    """

    def __init__(
        self,
        source: Source,
        tests: dict[str, Source],
        snippets: int,
        seeds: int,
        data: DataConfig,
        model: ModelConfig,
        loss: LossConfig,
        training: TrainingConfig,
        refinement: RefinementConfig,
    ):
        self.seeds = seeds
        self._source, self._tests, self._snippets = source, tests, snippets
        self._data, self._loss, self._training, self._refinement = data, loss, training, refinement
        self._architecture = Architecture(
            resolved_config(model, source), data.image_height, data.image_width, source.cameras, source.shapes
        )
        # All starts beforehand: setting a seed makes TensorFlow prepare every graph anew.
        models = [self._started(seed) for seed in range(seeds)]
        self._starts = [model.get_weights() for model in models]
        self._model = models[0]
        self._weights = loss_weights(loss, two_branch=1.0, made=partial(tf.Variable, trainable=False))
        self._optimizers = training_optimizers(self._model, training)
        signature = snippet_signature(data.image_height, data.image_width)
        self._steps = {
            adaptive: make_train_step(
                self._model,
                self._optimizers,
                self._weights,
                loss,
                training if adaptive else dataclasses.replace(training, two_branch_floor=1.0),
                signature,
            )
            for adaptive in (True, False)
        }
        constant_share = self._weights._replace(two_branch=tf.constant(refinement.two_branch_weight))
        self._refiner = Refiner(self._model, loss, refinement, weights=constant_share)

    def run(self, left_out: str, seed: int) -> dict[str, Errors]:
        """Trains once, and returns the average errors by test, stage of the refinement, and name.

        Raises:
          NonFiniteLossError: the objective of the training is not finite.
        """
        self._model.set_weights(self._starts[seed])
        for optimizer in self._optimizers:
            for variable in optimizer.variables():
                variable.assign(tf.zeros_like(variable))
        for name, weight in zip(self._weights._fields[:-1], self._weights):
            weight.assign(0.0 if name in LEFT_OUT[left_out] else getattr(self._loss, name))
        step = self._steps[left_out != "adaptive"]
        for snippet, _ in stream(self._source, self._data, seed).take(self._training.steps):
            if not math.isfinite(float(step(snippet).total)):
                raise NonFiniteLossError(f"without {left_out}, seed {seed}: the objective is not finite")
        return {name: self._errors(test) for name, test in self._tests.items()}

    def _started(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = self._architecture.build()
        model.build_variables()
        return model

    def _errors(self, source: Source) -> Errors:
        rows: list[Errors] = []
        indices = np.linspace(0, len(source) - 1, self._snippets).astype(int).tolist()
        for snippet in batches(source, self._data, indices):
            refined = self._refiner(snippet)
            for i, index in enumerate(snippet.index.numpy()):
                truth, image = source.ground_truth(int(index)), image_picture(snippet.images[i, MIDDLE].numpy())
                assert truth is not None
                rows.append(
                    {
                        stage.name: frame_errors(truth, found.at(MIDDLE, image, np.eye(4)))
                        for stage, found in zip(refined.stages, window_predictions(refined, i))
                    }
                )
        return average_errors(rows)


def run_all(ablation: Ablation, folder: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs every training that `folder`/trainings.jsonl does not hold yet, and returns all its lines.

    Raises:
      ConfigError: the folder holds trainings of other settings.
    """
    file = folder / "trainings.jsonl"
    settings = json.loads(json.dumps(settings))
    lines = read_json_lines(file, dict, repair=True)
    if lines:
        check_settings(file, lines[0], settings)
    else:
        append_json_line(file, settings)
    done = lines[1:]
    if wrong := misfit(done, [{"without": str, "seed": int, "errors": {str: {str: {str: float}}}}]):
        raise DataError(f"{file}: is damaged ({wrong}, after its first line): expected trainings; restore it")
    todo = [(name, seed) for seed in range(ablation.seeds) for name in LEFT_OUT]
    todo = [pair for pair in todo if pair not in {(row["without"], row["seed"]) for row in done}]
    with progress_bar(len(LEFT_OUT) * ablation.seeds, "ablation", "training", len(done)) as bar:
        for name, seed in todo:
            done.append({"without": name, "seed": seed, "errors": ablation.run(name, seed)})
            append_json_line(file, done[-1])
            bar.update()
    return done


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns mean and standard deviation over the seeds, a row for every test, stage and part left out."""
    cells: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for row in rows:
        for test, stages in row["errors"].items():
            for stage, errors in stages.items():
                cell = cells.setdefault((test, stage, row["without"]), {})
                for name, value in errors.items():
                    cell.setdefault(name, []).append(value)
    lines = ["| data | refined | without | " + " | ".join(SHOWN) + " |", "| --- " * (3 + len(SHOWN)) + "|"]
    for key in sorted(cells, key=lambda key: key[:2]):
        shown = [f"{np.mean(x):.3f} ± {np.std(x):.3f}" if (x := cells[key].get(name)) else "" for name in SHOWN]
        lines.append(f"| {' | '.join(key)} | {' | '.join(shown)} |")
    return "\n".join(lines)
