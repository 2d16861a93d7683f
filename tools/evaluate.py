"""Judges a run, or anyone's arrays, by a published protocol: python tools/evaluate.py --task=depth --run_dir=RUN ..."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

from absl import flags
from flagging import config_from_flags, define, run

from glnet_tf.config import DataConfig, EvaluationConfig
from glnet_tf.errors import ConfigError

define(DataConfig, EvaluationConfig)
flags.DEFINE_string("run_dir", "", "folder of a training run")


def main() -> None:
    data, config = config_from_flags(DataConfig), config_from_flags(EvaluationConfig)
    run_dir = flags.FLAGS.run_dir
    if bool(run_dir) == bool(config.predictions):
        raise ConfigError(f"--run_dir={run_dir} --predictions={config.predictions}: expected one of the two")
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.data.kitti import eigen_labels
    from glnet_tf.data.sources import open_source
    from glnet_tf.evaluation.trajectory import aligned_trajectory
    from glnet_tf.inference.evaluate import evaluate
    from glnet_tf.inference.plots import write_trajectory_plot
    from glnet_tf.inference.predictions import ModelPredictions
    from glnet_tf.training.checkpoints import write_text

    eigen = data.dataset == "kitti_raw" and data.split == "eigen"
    if data.holdout_frames:
        part = "validation"
    else:
        part = "frames" if config.task in ("depth", "flow") else "all"
    source = open_source(dataclasses.replace(data, split="") if eigen else data, part)
    labels = eigen_labels() if eigen else None
    indices = [index for index in range(len(source)) if labels is None or source.label(index) in labels]
    report = evaluate(source, indices, config, data, ModelPredictions(run_dir) if run_dir else None)
    if run_dir:
        report.protocol["run_dir"] = run_dir
    print(table(report.protocol, report.metrics))
    if config.output:
        output = Path(config.output)
        write_text(output, json.dumps({"protocol": report.protocol, "metrics": report.metrics}, indent=2))
        write_text(output.with_suffix(".csv"), csv_table(report.protocol, report.metrics))
        if report.trajectories:
            true, ours = report.trajectories["truth"], report.trajectories["prediction"]
            ours = aligned_trajectory(true, ours, config.alignment)
            write_trajectory_plot(output.with_suffix(".png"), {"truth": true, "prediction": ours})


def table(protocol: dict, metrics: dict) -> str:
    """Returns the protocol and, below it, the metrics, one on each line."""
    lines = [f"{name:20} {value}" for name, value in protocol.items()]
    return "\n".join(lines + [""] + [f"{name:20} {value:.4g}" for name, value in metrics.items()])


def csv_table(protocol: dict, metrics: dict) -> str:
    """Returns a header and one row: the tables of several evaluations can be joined."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*protocol, *metrics])
    writer.writerow([*protocol.values(), *metrics.values()])
    return text.getvalue()


if __name__ == "__main__":
    run(main)
