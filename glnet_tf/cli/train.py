"""Trains GLNet: python tools/train.py --dataset=video --data_dir=VIDEOS --run_dir=runs/mine"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from glnet_tf.cli.flagging import adopt, check_data, config_from_flags, define
from glnet_tf.config import DataConfig, LossConfig, ModelConfig, TrainingConfig
from glnet_tf.errors import ConfigError

if TYPE_CHECKING:
    from glnet_tf.data.source import Source

define(DataConfig, ModelConfig, LossConfig, TrainingConfig)
flags.DEFINE_float(
    "flow_scale", 1.5, "with --teacher: size at which flow is found, relative to that of the depth", lower_bound=1.0
)
flags.DEFINE_string(
    "run_dir", "", "folder of the run: checkpoints, metrics.jsonl, TensorBoard; an existing one is resumed"
)

# What --help shows, in this order.
FIRST = (
    "data_dir",
    "run_dir",
    "weights",
    "dataset",
    "split",
    "holdout_frames",
    "teacher",
    "steps",
    "learning_rate",
    "batch_size",
    "image_height",
    "image_width",
    "intrinsics",
    "field_of_view",
    "target_parallax",
    "min_parallax",
    "distribute",
    "mixed_precision",
)


def main() -> int:
    given, *_, training = configurations()
    weights = training.weights
    check_data(given)
    if not flags.FLAGS.run_dir:
        raise ConfigError("--run_dir is missing: expected the folder that the run is to fill")
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.data.sources import open_source
    from glnet_tf.training.depth_trainer import DepthTrainer
    from glnet_tf.training.distribution import joined
    from glnet_tf.training.trainer import Trainer
    from glnet_tf.training.weights import architecture_of_weights

    if weights:
        adopt(architecture_of_weights(weights))
    data, model, loss, training = configurations()
    with joined(training.distribute) as distribution:
        source = open_source(data, "train")
        validation = None
        if data.street.validation_streets:
            seed = data.street.street_seed + data.street.streets
            further = dataclasses.replace(data.street, street_seed=seed, streets=data.street.validation_streets)
            streets = dataclasses.replace(data, dataset="street", data_dir="", split="", street=further)
            validation = open_source(streets, "train")
        elif data.holdout_frames:
            validation = open_source(data, "validation")
        if learns_evidence(source, data, model, training):
            print("DepthNet learns evidence; with --teacher=none, from the objective", file=sys.stderr)
            smoothness, scale = loss.depth_smoothness, flags.FLAGS.flow_scale
            trainer: DepthTrainer | Trainer = DepthTrainer(
                flags.FLAGS.run_dir, source, validation, data, model, smoothness, training, scale
            )
        else:
            trainer = Trainer(flags.FLAGS.run_dir, source, validation, data, model, loss, training, distribution)
        trainer.run()
    return 128 + trainer.stopped_by if trainer.stopped_by else 0


def learns_evidence(source: Source, data: DataConfig, model: ModelConfig, training: TrainingConfig) -> bool:
    """Returns whether DepthNet alone learns, from evidence, by what --teacher says.

    Raises:
      ConfigError: it does, and a flag asks for what only the objective can do.
    """
    if training.teacher == "auto":
        known = source.calibrated or model.intrinsics == "fov"
        others_learn = training.flow_rate or training.camera_rate or training.virtual_steps
        evidence = bool(known and training.weights and data.cache_dir and not others_learn)
    else:
        evidence = training.teacher == "evidence"
    if evidence and (training.distribute != "off" or training.mixed_precision):
        raise ConfigError(
            f"--distribute={training.distribute} --mixed_precision={training.mixed_precision}: expected off and False: "
            "evidence is learned by one device in single precision; or give --teacher=none"
        )
    return evidence


def configurations() -> list[Any]:
    return [config_from_flags(config) for config in (DataConfig, ModelConfig, LossConfig, TrainingConfig)]
