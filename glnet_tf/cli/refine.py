"""Refines the predictions of a trained model on a video or data set: python tools/refine.py --run_dir=RUN ..."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from glnet_tf.cli.flagging import chosen_model, config_from_flags, define, define_model
from glnet_tf.config import REFINEMENT_LOSS, DataConfig, LossConfig, RefinementConfig
from glnet_tf.errors import ConfigError
from glnet_tf.progress import shard_of

define(DataConfig, REFINEMENT_LOSS, RefinementConfig)
define_model()
flags.DEFINE_string("output_dir", "", "folder for the results; the same command goes on where it was interrupted")
flags.DEFINE_string("video", "", "a video file, instead of --dataset and --data_dir")
flags.DEFINE_integer("every", 1, "refine every n-th snippet only", lower_bound=1)
flags.DEFINE_string("shard", "0/1", "i/n: of the scenes every n-th from number i on, for n machines; i from 0")

# What --help shows, in this order.
FIRST = (
    "weights",
    "run_dir",
    "video",
    "dataset",
    "data_dir",
    "output_dir",
    "refine",
    "iterations",
    "window",
    "epochs",
    "policy",
    "every",
    "split",
    "shard",
)


def main() -> None:
    data, loss = config_from_flags(DataConfig), config_from_flags(LossConfig)
    config = config_from_flags(RefinementConfig)
    weights = chosen_model()
    if not flags.FLAGS.output_dir:
        raise ConfigError("--output_dir=: expected a folder")
    shard = flags.FLAGS.shard
    shard_of([], shard)
    if flags.FLAGS.video:
        data = dataclasses.replace(data, dataset="video", data_dir=flags.FLAGS.video)
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.data.sources import open_source
    from glnet_tf.files import locked, make_folder
    from glnet_tf.inference.adaptation import adapt
    from glnet_tf.inference.refining import refine_source
    from glnet_tf.inference.task import Task
    from glnet_tf.inference.video import refine_video
    from glnet_tf.structures import FRAMES
    from glnet_tf.training.weights import load_model

    model, architecture = load_model(weights)
    source = open_source(data, "validation" if data.holdout_frames else "all")
    scene_of = {index: source.label(index).rpartition("/")[0] for index in range(0, len(source), flags.FLAGS.every)}
    scenes = set(shard_of(list(dict.fromkeys(scene_of.values())), shard))
    indices = [index for index, scene in scene_of.items() if scene in scenes]
    folder = Path(flags.FLAGS.output_dir)
    folder = make_folder(folder if shard == "0/1" else folder / shard.replace("/", "of"), "output_dir")
    if not indices:
        print(f"{source.name}: no scene is left for --shard={shard}")
        return
    if Path(weights).exists():
        weights = str(Path(weights).resolve())
    task = Task(weights, model, architecture, source, indices, data, loss, config)
    refine = refine_source if config.window == FRAMES else refine_video
    with locked(folder):
        if config.epochs:
            adapt(task, folder / "adapted")
        print(refine(task, folder))
