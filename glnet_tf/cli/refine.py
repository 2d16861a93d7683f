"""Refines the predictions of a trained model on a video or data set: python tools/refine.py --run_dir=RUN ..."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from glnet_tf.cli.flagging import check_data, chosen_model, config_from_flags, define, define_model, define_outputs
from glnet_tf.config import REFINEMENT_LOSS, DataConfig, LossConfig, RefinementConfig, settings_of
from glnet_tf.errors import ConfigError
from glnet_tf.inference.outputs import outputs_of
from glnet_tf.progress import shard_of

define(DataConfig, REFINEMENT_LOSS, RefinementConfig)
define_model("kitti-lite")
define_outputs()
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
    "target_parallax",
    "window",
    "epochs",
    "policy",
    "every",
    "outputs",
    "split",
    "shard",
)

# Of DataConfig: what says which of the frames, and where they are.
ANY_PART = ("data_dir", "split", "holdout_frames", "holdout_scenes", "cache_dir")


def main() -> None:
    data, loss = config_from_flags(DataConfig), config_from_flags(LossConfig)
    config = config_from_flags(RefinementConfig)
    weights = chosen_model()
    if not flags.FLAGS.output_dir:
        raise ConfigError("--output_dir=: expected a folder")
    shard = flags.FLAGS.shard
    shard_of([], shard)
    outputs_of(flags.FLAGS.outputs)
    if flags.FLAGS.video:
        data = dataclasses.replace(data, dataset="video", data_dir=flags.FLAGS.video)
    check_data(data)
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.data.sources import open_source
    from glnet_tf.inference.adaptation import adapt
    from glnet_tf.inference.predictor import Predictor
    from glnet_tf.inference.refine import predict_data_set
    from glnet_tf.inference.result_folder import ResultFolder
    from glnet_tf.inference.snippets import SnippetReader
    from glnet_tf.training.weights import weights_digest

    predictor = Predictor(weights, config, loss)
    source = open_source(data, "validation" if data.holdout_frames else "all")
    scene_of = {index: source.label(index).rpartition("/")[0] for index in range(0, len(source), flags.FLAGS.every)}
    scenes = set(shard_of(list(dict.fromkeys(scene_of.values())), shard))
    indices = [index for index, scene in scene_of.items() if scene in scenes]
    folder = Path(flags.FLAGS.output_dir)
    folder = folder if shard == "0/1" else folder / shard.replace("/", "of")
    if not indices:
        print(f"{source.name}: no scene is left for --shard={shard}")
        return
    settings = {
        "weights": weights,
        "weights_digest": weights_digest(predictor.model),
        "data": source.name,
        **{name: value for name, value in settings_of(data).items() if name not in ANY_PART},
        **settings_of(loss),
        **settings_of(config),
    }
    with ResultFolder(folder, settings, outputs=flags.FLAGS.outputs) as results:
        if config.epochs:
            reader = SnippetReader(predictor.model, predictor.architecture, source, data, config.flow_scale)
            adapt(reader, indices, loss, config, folder / "adapted")
        print(predict_data_set(predictor, source, data, indices, results))
