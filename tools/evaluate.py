"""Evaluates a trained model: python tools/evaluate.py --task=odometry --run_dir=RUN --dataset=... --data_dir=..."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from absl import flags
from flagging import config_from_flags, define, run

from glnet_tf.config import DataConfig
from glnet_tf.errors import ConfigError

define(DataConfig)
flags.DEFINE_enum(
    "task", "snippets", ("snippets", "odometry"), "snippets: errors against the source's truth; odometry: ATE"
)
flags.DEFINE_enum("part", "validation", ("train", "validation"), "all but the held-out frames, or those")
flags.DEFINE_string("run_dir", "", "folder of a training run")
flags.DEFINE_string("output", "", "JSON file for protocol and metrics; empty: only print")


def main() -> None:
    data = config_from_flags(DataConfig)
    if not flags.FLAGS.run_dir:
        raise ConfigError("--run_dir is missing: expected the folder of a training run")
    from glnet_tf.data.sources import open_source
    from glnet_tf.training.checkpoints import load_model, write_text
    from glnet_tf.training.step import snippet_signature
    from glnet_tf.training.validation import make_predict, trajectory_errors, validate

    model, architecture = load_model(flags.FLAGS.run_dir)
    size = (architecture.image_height, architecture.image_width)
    data = dataclasses.replace(data, image_height=size[0], image_width=size[1])
    source = open_source(data, flags.FLAGS.part)
    predict = make_predict(model, snippet_signature(*size))
    protocol = {
        "task": flags.FLAGS.task,
        "data": source.name,
        "part": flags.FLAGS.part,
        "snippets": len(source),
        "image": list(size),
    }
    if flags.FLAGS.task == "odometry":
        protocol["ate"] = "5-frame ATE as published by SfMLearner, mean and standard deviation, metres"
        metrics = trajectory_errors(predict, source, data)
    else:
        protocol["depth"] = "median scaling per image, 80 m cap"
        metrics = validate(predict, source, data, range(len(source)))
    print(json.dumps({"protocol": protocol, "metrics": metrics}, indent=2))
    if flags.FLAGS.output:
        write_text(Path(flags.FLAGS.output), json.dumps({"protocol": protocol, "metrics": metrics}, indent=2))


if __name__ == "__main__":
    run(main)
