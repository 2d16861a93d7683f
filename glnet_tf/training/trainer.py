"""The training run: steps, reports, validation, checkpoints, and a clean end whatever ends it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tqdm import tqdm

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, TrainingConfig
from glnet_tf.data.pipeline import WHOLE, missing_positions, stream, unreadable
from glnet_tf.data.source import Source
from glnet_tf.errors import ConfigError, NonFiniteLossError
from glnet_tf.files import read_bytes, read_json_lines, write_bytes, writing
from glnet_tf.folders import locked
from glnet_tf.geometry.camera import focal_and_principal_point
from glnet_tf.losses.objective import loss_weights
from glnet_tf.models.glnet import make_predict
from glnet_tf.optimization import make_optimizers
from glnet_tf.progress import COMPILING, Forecast
from glnet_tf.structures import Snippet, snippet_signature
from glnet_tf.training.checkpoints import Architecture, Checkpoints, note_training, open_run_folder
from glnet_tf.training.devices import prefetched
from glnet_tf.training.distribution import Distribution
from glnet_tf.training.interruption import interruption
from glnet_tf.training.monitor import CollapseMonitor
from glnet_tf.training.precision import LossScale, layer_precision
from glnet_tf.training.schedule import LearningRate
from glnet_tf.training.step import StepResult, VirtualResult, make_train_step, make_virtual_step, training_optimizers
from glnet_tf.training.summaries import Summaries, explain, point_cloud
from glnet_tf.training.validation import make_objective, validate
from glnet_tf.training.weights import start_from


def resolved_config(config: ModelConfig, source: Source) -> ModelConfig:
    """Returns the configuration without "auto": K given where the data is calibrated, ImageNet where it can be had."""
    if config.intrinsics == "auto":
        config = dataclasses.replace(config, intrinsics="given" if source.calibrated else "learned")
    if config.encoder_weights == "auto":
        random = "resnet18" in (config.encoder, config.encoder_of_depth)
        config = dataclasses.replace(config, encoder_weights="none" if random else "imagenet")
        if config.encoder_weights == "none":
            print(
                "resnet18 starts from random weights; --encoder_weights=PATH of torchvision's checkpoint learns faster",
                file=sys.stderr,
            )
    return config


class Trainer:
    """Trains GLNet on a source and leaves everything in a run folder; the same call resumes an interrupted run.

    Args:
      run_dir: where checkpoints (latest/, best/), metrics.jsonl, tensorboard/ and skipped.txt go.
      source: of the training snippets.
      validation: source of the validation snippets, or None.
      data, model, loss, training: the configuration.
      distribution: that of `training`, where it had to be made before the source.

    Attributes:
      predict: the model compiled for inference, Snippet -> Predictions.
      stopped_by: number of the signal that ended the last run; of another worker's, SIGTERM's; 0: none did.

    Raises:
      CheckpointError: the run folder holds another architecture.
      ConfigError: the devices cannot share the batch equally, or a zoom would spoil the K that is to be learned.
    """

    def __init__(
        self,
        run_dir: str | Path,
        source: Source,
        validation: Source | None,
        data: DataConfig,
        model: ModelConfig,
        loss: LossConfig,
        training: TrainingConfig,
        distribution: Distribution | None = None,
    ):
        self._distribution = distribution or Distribution(training.distribute)
        self._share = self._distribution.share(data.batch_size)
        self.run_dir = Path(run_dir)
        self.stopped_by = 0
        self._loss = loss
        self.source, self.validation = source, validation
        self.data, self.training = data, training
        self.architecture = Architecture(
            resolved_config(model, source), data.image_height, data.image_width, source.cameras, source.shapes
        )
        intrinsics = self.architecture.model.intrinsics
        if data.zoom and intrinsics not in ("given", "predicted"):
            raise ConfigError(f"--zoom={data.zoom}: expected 0 with --intrinsics={intrinsics}, one K for all snippets")
        if self._distribution.chief:
            open_run_folder(self.run_dir, self.architecture)

        keras.utils.set_random_seed(training.seed)
        # Variables, so that a change of weight never traces the step again.
        weights = loss_weights(loss, two_branch=1.0, made=partial(tf.Variable, trainable=False))
        size = data.image_height, data.image_width
        signature = snippet_signature(*size, count=data.batch_size // self._share.workers)
        with self._distribution.scope():
            with layer_precision(training.mixed_precision):
                self.model = self.architecture.build()
                self.model.build_variables()
                if training.weights:
                    start_from(self.model, self.architecture, training.weights)
            together = dataclasses.replace(
                training, steps=max(training.steps - training.virtual_steps, 1), virtual_steps=0
            )
            optimizers = training_optimizers(self.model, together)
            scale = LossScale() if training.mixed_precision else None
            self._train_step = make_train_step(
                self.model, optimizers, weights, loss, training, signature, self._distribution, scale
            )
            virtual = None
            if training.virtual_steps:
                alone = dataclasses.replace(training, steps=training.virtual_steps)
                rate, variables = LearningRate(training.learning_rate, alone), self.model.flow_net.trainable_variables
                virtual = make_optimizers([rate], [variables])
                self._virtual_step = make_virtual_step(
                    self.model, virtual, training, signature, self._distribution, scale
                )
        self.predict = make_predict(self.model, snippet_signature(*size))
        self._score = make_objective(weights, loss)

        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._position = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._best = tf.Variable(math.inf, dtype=tf.float64, trainable=False)
        state = tf.train.Checkpoint(
            model=self.model,
            optimizers=list(optimizers),
            step=self.step,
            position=self._position,
            best=self._best,
            **({"loss_scale": scale} if scale else {}),
            **({"virtual_optimizer": virtual[0]} if virtual else {}),
        )
        self._checkpoints = Checkpoints(self.run_dir, state)
        self._monitor = CollapseMonitor(grace_steps=training.virtual_steps + training.warmup_steps)
        self._skipped: dict[str, None] = dict.fromkeys(source.skipped)

    def run(self) -> int:
        """Trains until the last step or an interruption (Ctrl-C, SIGTERM), saves, and returns the step reached.

        Raises:
          NonFiniteLossError: a term or the gradient is not finite; the checkpoints of before are kept.
        """
        with writing(self.run_dir), locked(self.run_dir) if self._distribution.chief else contextlib.nullcontext():
            return self._run()

    def _run(self) -> int:
        chief = self._distribution.chief
        if self._checkpoints.restore() and chief:
            print(f"{self.run_dir}: resuming at step {int(self.step)} of {self.training.steps}", file=sys.stderr)
        first = int(self.step)
        self._distribution.check_resumed(first, self.run_dir)
        if chief:
            note_training(self.run_dir, (self.data, self._loss, self.training), snippets=len(self.source))
            forget_metrics_after(self.run_dir / "metrics.jsonl", first)
        self._next = int(self._position)
        interval = 0.5 if sys.stderr.isatty() else 30.0
        # Whoever is not the chief reports nothing.
        reports = contextlib.nullcontext(str(self.run_dir)) if chief else tempfile.TemporaryDirectory()
        with (
            interruption() as interrupted,
            reports as folder,
            contextlib.closing(Summaries(folder)) as summaries,
            open(Path(folder, "metrics.jsonl"), "a") as log,
            tqdm(
                total=self.training.steps,
                initial=first,
                desc="training",
                unit="step",
                mininterval=interval,
                disable=not chief,
            ) as bar,
        ):
            snippets = stream(self.source, self.data, self.training.seed, self._next, share=self._share)
            batches = iter(prefetched(snippets) if self.training.distribute == "off" else snippets)
            forecast = Forecast(bar)
            bar.set_postfix_str(COMPILING)
            while not (stopped := self._distribution.any(bool(interrupted()))) and int(self.step) < self.training.steps:
                batch = next(batches, None)
                if batch is None:
                    raise unreadable(self.source)
                snippet, positions = batch
                virtual = int(self.step) < self.training.virtual_steps
                result = (self._virtual_step if virtual else self._train_step)(snippet)
                self._check_finite(result, snippet)
                self._advance(positions.numpy())
                step = int(self.step.assign_add(1))
                if chief and not virtual:
                    forecast.step()
                if chief and virtual:
                    self._report_virtual(step, result, summaries, log, bar)
                elif chief:
                    self._report(step, result, snippet, summaries, log, bar)
                if chief and (step % self.training.checkpoint_steps == 0 or step == self.training.steps):
                    self._save(step, summaries, log)
            if stopped and chief:
                self._checkpoints.save(int(self.step), best=False)
        self.stopped_by = (interrupted() or signal.SIGTERM) if stopped else 0
        if chief:
            self._end(stopped)
        return int(self.step)

    def _check_finite(self, result: StepResult | VirtualResult, snippet: Snippet) -> None:
        if math.isfinite(float(result.total)) and math.isfinite(float(result.gradient_norm)):
            return
        report = result.report._asdict() if isinstance(result, StepResult) else {"virtual motion": result.total}
        terms = [name for name, value in report.items() if not math.isfinite(float(value))]
        files = "; ".join(self.source.files(int(index))[1] for index in snippet.index.numpy())
        raise NonFiniteLossError(
            f"step {int(self.step) + 1}: {', '.join(terms) or 'the gradient'} is not finite on the snippets around "
            f"{files}; look at these images, or lower --learning_rate; the checkpoint of an earlier step is in "
            f"{self.run_dir / 'latest'}"
        )

    def _advance(self, positions: np.ndarray) -> None:
        """Notes what was left out before the positions of a batch, and where a resumed run goes on."""
        start = int(self._position)
        for position in missing_positions(self._next, positions):
            if not self._share.holds(position - start, self.data.batch_size):
                continue
            index = int(self.source.index_at(position, self.training.seed))
            files = self.source.files(index)
            if files[1] not in self._skipped:
                self._skipped[files[1]] = None
                tqdm.write(f"warning: a snippet cannot be decoded and is left out: {', '.join(files)}", sys.stderr)
        self._next = int(positions[-1]) + 1
        # One of several workers that left something out is ahead of the others: resumed, it reads that part again.
        self._position.assign(self._next if self._share == WHOLE else start + self.data.batch_size)

    def _report(self, step, result, snippet, summaries, log, bar) -> None:  # type: ignore[no-untyped-def]
        warning = self._monitor.check(step, result.vitals)
        if warning:
            tqdm.write(f"warning: {warning}", sys.stderr)
        values = {"total": float(result.total), **{k: float(v) for k, v in result.report._asdict().items()}}
        bar.set_postfix(total=f"{values['total']:.3f}", refresh=False)
        bar.update()
        log.write(json.dumps({"step": step, **values}) + "\n")
        if step % SCALAR_STEPS == 0:
            summaries.scalars(step, {**values, "gradient_norm": float(result.gradient_norm)})
            fx, fy = self.focal_lengths()
            if fx is not None:
                summaries.focal(step, self.source.cameras, fx, fy)
        if step % self.training.summary_steps == 0:
            predictions = self.predict(snippet)
            summaries.pictures(step, explain(snippet, predictions))
            summaries.points(step, *point_cloud(snippet, predictions))

    def _report_virtual(self, step, result, summaries, log, bar) -> None:  # type: ignore[no-untyped-def]
        values = {"virtual_motion": float(result.total), "virtual_flow_epe": float(result.flow_epe)}
        bar.set_postfix(virtual_flow_epe=f"{values['virtual_flow_epe']:.2f}", refresh=False)
        bar.update()
        log.write(json.dumps({"step": step, **values}) + "\n")
        if step % SCALAR_STEPS == 0:
            summaries.scalars(step, {**values, "gradient_norm": float(result.gradient_norm)})

    def focal_lengths(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Returns the learned fx and fy of every camera, [C] each in pixels of the network's images, or None twice."""
        if self.model.camera_parameters is None:
            return None, None
        focal = focal_and_principal_point(self.model.learned_intrinsics())[0].numpy()
        return focal[:, 0], focal[:, 1]

    def _save(self, step: int, summaries: Summaries, log) -> None:  # type: ignore[no-untyped-def]
        best = False
        if self.validation is not None:
            count = min(self.training.validation_snippets, len(self.validation))
            indices = np.linspace(0, len(self.validation) - 1, count).astype(int)
            metrics = validate(self.predict, self.validation, self.data, indices.tolist(), self._score)
            # None of them can be decoded: nothing to choose by.
            decisive = metrics.get("depth_abs_rel", metrics.get("objective", math.inf))
            # While FlowNet learns alone, there is nothing to choose yet.
            best = decisive < float(self._best) and step > self.training.virtual_steps
            self._best.assign(decisive if best else self._best)
            summaries.scalars(step, metrics, writer="validation")
            log.write(json.dumps({"step": step, "validation": metrics}) + "\n")
            shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            tqdm.write(f"step {step}: {shown}", sys.stderr)
        log.flush()
        self._checkpoints.save(step, best)

    def _end(self, interrupted: bool) -> None:
        write_skipped(self.run_dir, self._skipped)
        if interrupted:
            print(f"stopped at step {int(self.step)} and saved; the same command goes on", file=sys.stderr)


SCALAR_STEPS = 10


def write_skipped(run_dir: Path, names: Iterable[str]) -> None:
    """Adds what was left out to the run's skipped.txt."""
    file = run_dir / "skipped.txt"
    before = read_bytes(file).decode(errors="replace").splitlines() if file.exists() else []
    found = dict.fromkeys([*before, *names])
    if found:
        write_bytes(file, "".join(f"{name}\n" for name in found).encode())
        print(f"{len(found)} images left out, listed in {file}", file=sys.stderr)


def forget_metrics_after(path: Path, step: int) -> None:
    """Takes the lines of steps that no checkpoint holds out of metrics.jsonl: they will be made again."""
    lines = [
        json.dumps(line) + "\n" for line in read_json_lines(path, {"step": int}, repair=True) if line["step"] <= step
    ]
    if path.exists():
        write_bytes(path, "".join(lines).encode())
