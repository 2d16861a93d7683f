"""DepthNet trained on targets: single frames, cheap steps."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tqdm import tqdm

from glnet_tf.config import DataConfig, ModelConfig, TrainingConfig
from glnet_tf.data.source import Source
from glnet_tf.errors import ConfigError, NonFiniteLossError
from glnet_tf.files import writing
from glnet_tf.folders import locked
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.losses.evidence import evidence_loss
from glnet_tf.losses.smoothness import depth_smoothness, edge_weights
from glnet_tf.models.glnet import GLNet
from glnet_tf.optimization import Adam, make_optimizers, update
from glnet_tf.progress import COMPILING, Forecast, progress_bar
from glnet_tf.training.checkpoints import Architecture, Checkpoints, note_training, open_run_folder
from glnet_tf.training.interruption import interruption
from glnet_tf.training.schedule import LearningRate
from glnet_tf.training.summaries import Summaries
from glnet_tf.training.targets import Targets, make_targets, target_batches, whole_targets
from glnet_tf.training.trainer import SCALAR_STEPS, forget_metrics_after, resolved_config, write_skipped
from glnet_tf.training.weights import architecture_of_weights, start_from, weights_digest


class DepthResult(NamedTuple):
    """What a step says: the loss, its two parts, unweighted, and the gradient's length."""

    total: tf.Tensor
    evidence: tf.Tensor
    depth_smoothness: tf.Tensor
    gradient_norm: tf.Tensor


def make_depth_step(
    model: GLNet, optimizers: Sequence[Adam], smoothness: float
) -> Callable[[tf.Tensor, Evidence], DepthResult]:
    """Returns the compiled step of DepthNet on images [B, h, w, 3], of any size, and evidence about them.

    Args:
      model: whose DepthNet learns; nothing else does.
      optimizers: one, of DepthNet's variables.
      smoothness: weight of the depth smoothness at full size.
    """
    variables = model.depth_net.trainable_variables
    maps = tf.TensorSpec([None, None, None, 1])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3]), Evidence(maps, maps)], autograph=False)
    def step(images: tf.Tensor, found: Evidence) -> DepthResult:
        with tf.GradientTape() as tape:
            disparities = model.depth_net(images, training=True)
            error = tf.reduce_mean(evidence_loss(disparities, found))
            smooth = tf.reduce_mean(depth_smoothness(disparities[0], edge_weights(images), 0))
            total = error + smoothness * smooth
        return DepthResult(total, error, smooth, update(optimizers, [variables], tape.gradient(total, variables)))

    return step


class DepthTrainer:
    """Trains the DepthNet of a trained model, or a new one on another backbone, on targets that the model itself gives,
    see training.targets.

    The run folder is that of a Trainer; the same call resumes an interrupted run. FlowNet and CameraNet stay. Of the
    checkpoints the last is kept: the error against evidence on held-out frames is that of the same teacher, and those
    that it chose were worse by the truth.

    Args:
      run_dir: where checkpoints (latest/), metrics.jsonl and tensorboard/ go.
      source: of the frames.
      validation: of the held-out frames, or None.
      data: size of DepthNet's images, batch, augmentation, cache_dir for the targets.
      model: the networks; training.weights names the teacher, from which they start.
      smoothness: weight of the depth smoothness.
      training: steps, rate, and what the run leaves behind.
      flow_scale: size at which the teacher finds flow, relative to DepthNet's.

    Attributes:
      stopped_by: number of the signal that ended the last run; 0: none did.

    Raises:
      CheckpointError: the run folder holds another architecture, or there is no such teacher.
      ConfigError: there is no teacher, or nowhere to keep its targets.
    """

    def __init__(
        self,
        run_dir: str | Path,
        source: Source,
        validation: Source | None,
        data: DataConfig,
        model: ModelConfig,
        smoothness: float,
        training: TrainingConfig,
        flow_scale: float,
    ):
        if not (training.weights and data.cache_dir):
            raise ConfigError(
                f"--teacher=evidence --weights={training.weights} --cache_dir={data.cache_dir}: expected the teacher "
                "as --weights, and a folder where its targets are kept"
            )
        self.run_dir, self.data, self.training = Path(run_dir), data, training
        self._others = {"smoothness": smoothness, "flow_scale": flow_scale, "snippets": len(source)}
        self._skipped, self.stopped_by = source.skipped, 0
        networks = resolved_config(model, source)
        architecture = Architecture(networks, data.image_height, data.image_width, source.cameras, source.shapes)
        open_run_folder(self.run_dir, architecture)
        keras.utils.set_random_seed(training.seed)
        encoder = architecture_of_weights(training.weights).model.encoder_of_depth
        of_teacher = dataclasses.replace(architecture, model=dataclasses.replace(networks, depth_encoder=encoder))
        self.model = _started(of_teacher, training.weights, pretrained=False)
        teacher = self.model, weights_digest(self.model)
        if encoder != networks.encoder_of_depth:
            self.model = _started(architecture, training.weights, pretrained=True)
        folder = Path(data.cache_dir).expanduser() / "targets"
        self.targets = make_targets(*teacher, source, data, flow_scale, folder)
        self.held_out: list[Targets] = []
        if validation is not None and len(validation):
            found = make_targets(*teacher, validation, data, flow_scale, folder)
            self.held_out = [group for group in found if len(group.usable)]
        rate = LearningRate(training.learning_rate, training)
        optimizers = make_optimizers([rate], [self.model.depth_net.trainable_variables])
        self._train_step = make_depth_step(self.model, optimizers, smoothness)
        self._score = tf.function(
            lambda images, found: evidence_loss(self.model.depth_net(images)[:1], found), autograph=False
        )
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        state = tf.train.Checkpoint(model=self.model, optimizers=list(optimizers), step=self.step)
        self._checkpoints = Checkpoints(self.run_dir, state)

    def run(self) -> int:
        """Trains until the last step or an interruption (Ctrl-C, SIGTERM), saves, and returns the step reached.

        Raises:
          NonFiniteLossError: the loss or the gradient is not finite; the checkpoints of before are kept.
        """
        with writing(self.run_dir), locked(self.run_dir):
            return self._run()

    def _run(self) -> int:
        if self._checkpoints.restore():
            print(f"{self.run_dir}: resuming at step {int(self.step)} of {self.training.steps}", file=sys.stderr)
        note_training(self.run_dir, (self.data, self.training), **self._others)
        first, stopped = int(self.step), 0
        forget_metrics_after(self.run_dir / "metrics.jsonl", first)
        with (
            interruption() as interrupted,
            contextlib.closing(Summaries(str(self.run_dir))) as summaries,
            open(self.run_dir / "metrics.jsonl", "a") as log,
            progress_bar(self.training.steps, "training depth", "step", first) as bar,
        ):
            forecast = Forecast(bar)
            bar.set_postfix_str(COMPILING)
            batches = iter(target_batches(self.targets, self.data, self.training.seed, first))
            while not (stopped := interrupted()) and int(self.step) < self.training.steps:
                result = self._train_step(*next(batches))
                values = {name: float(value) for name, value in result._asdict().items()}
                step = int(self.step.assign_add(1))
                if not all(map(math.isfinite, values.values())):
                    raise NonFiniteLossError(
                        f"step {step}: {values}: expected finite numbers; lower --learning_rate; the checkpoint of an "
                        f"earlier step is in {self.run_dir / 'latest'}"
                    )
                forecast.step()
                bar.set_postfix(evidence=f"{values['evidence']:.3f}", refresh=False)
                bar.update()
                log.write(json.dumps({"step": step, **values}) + "\n")
                if step % SCALAR_STEPS == 0:
                    summaries.scalars(step, values)
                if step % self.training.checkpoint_steps == 0 or step == self.training.steps:
                    self._save(step, summaries, log)
            if stopped:
                self._checkpoints.save(int(self.step), best=False)
        self.stopped_by = stopped
        write_skipped(self.run_dir, self._skipped)
        if stopped:
            print(f"stopped at step {int(self.step)} and saved; the same command goes on", file=sys.stderr)
        return int(self.step)

    def _save(self, step: int, summaries: Summaries, log) -> None:  # type: ignore[no-untyped-def]
        if self.held_out:
            error = self.validate()
            summaries.scalars(step, {"evidence": error}, writer="validation")
            log.write(json.dumps({"step": step, "validation": {"evidence": error}}) + "\n")
            tqdm.write(f"step {step}: error against evidence on held-out frames {error:.4f}", sys.stderr)
        log.flush()
        self._checkpoints.save(step, best=False)

    def validate(self) -> float:
        """Returns the mean error against evidence on the held-out frames."""
        errors = [self._score(*batch) for batch in whole_targets(self.held_out, self.training.validation_snippets)]
        return float(np.mean(np.concatenate(errors)))


def _started(architecture: Architecture, weights: str, pretrained: bool) -> GLNet:
    """A model that starts from weights; its own DepthNet, if it has another backbone, from the pretrained one."""
    model = architecture.build(pretrained)
    if not pretrained:
        model.depth_net.learns_statistics = model.flow_net.learns_statistics = False
    model.build_variables()
    start_from(model, architecture, weights)
    return model
