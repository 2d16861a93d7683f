"""Judges a run, or anyone's arrays, by a published protocol: python tools/evaluate.py --task=depth --run_dir=RUN ..."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from glnet_tf.cli.flagging import check_data, chosen_model, config_from_flags, define, define_model
from glnet_tf.config import REFINEMENT_LOSS, DataConfig, EvaluationConfig, LossConfig, RefinementConfig
from glnet_tf.errors import ConfigError

if TYPE_CHECKING:
    from glnet_tf.evaluation.protocols import Report

define(DataConfig, EvaluationConfig, REFINEMENT_LOSS, RefinementConfig)
define_model()
flags.FLAGS.set_default("refine", "none")
flags.DEFINE_integer("every", 1, "evaluate every n-th frame or snippet only", lower_bound=1)

# What --help shows, in this order.
FIRST = (
    "task",
    "weights",
    "run_dir",
    "predictions",
    "truth",
    "dataset",
    "data_dir",
    "split",
    "refine",
    "scaling",
    "crop",
    "alignment",
    "output",
    "every",
)


def main() -> None:
    data, config = config_from_flags(DataConfig), config_from_flags(EvaluationConfig)
    if config.predictions and (flags.FLAGS.run_dir or flags.FLAGS.weights):
        raise ConfigError(f"--predictions={config.predictions}: expected no --run_dir and no --weights beside it")
    for place in filter(None, (config.predictions, config.truth)):
        if not Path(place).exists():
            raise ConfigError(f"{place}: no such file or folder; correct --predictions or --truth")
    if not config.truth:
        check_data(data)
    weights = "" if config.predictions or config.truth else chosen_model()
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.evaluation.tracks import compare_tracks
    from glnet_tf.files import write_bytes, write_json
    from glnet_tf.metrics.trajectory import aligned_trajectory
    from glnet_tf.visualization.plots import write_trajectory_plot

    report = compare_tracks(config) if config.truth else evaluate_source(data, config, weights)
    print(table(report.protocol, report.metrics))
    if config.output:
        output = Path(config.output)
        write_json(output, {"protocol": report.protocol, "metrics": report.metrics})
        write_bytes(output.with_suffix(".csv"), csv_table(report.protocol, report.metrics).encode())
        if report.trajectories:
            true, ours = report.trajectories["truth"], report.trajectories["prediction"]
            ours = aligned_trajectory(true, ours, config.alignment)
            write_trajectory_plot(output.with_suffix(".png"), {"truth": true, "prediction": ours})


def evaluate_source(data: DataConfig, config: EvaluationConfig, weights: str) -> Report:
    """Returns how good a model's predictions, or those in files, are on a data set."""
    from glnet_tf.data.datasets.kitti import eigen_labels
    from glnet_tf.data.sources import open_source
    from glnet_tf.evaluation.protocols import evaluate
    from glnet_tf.inference.predictor import Predictor

    eigen = data.dataset == "kitti_raw" and data.split == "eigen"
    if data.holdout_frames:
        part = "validation"
    else:
        part = "frames" if config.task in ("depth", "flow") else "all"
    source = open_source(dataclasses.replace(data, split="") if eigen else data, part)
    labels = eigen_labels() if eigen else None
    every = range(0, len(source), flags.FLAGS.every)
    indices = [index for index in every if labels is None or source.label(index) in labels]
    refinement = config_from_flags(RefinementConfig)
    model = Predictor(weights, refinement, config_from_flags(LossConfig)) if weights else None
    report = evaluate(source, indices, config, data, model)
    if weights:
        report.protocol.update(weights=weights, refined=refinement.refine)
    return report


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
