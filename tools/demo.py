"""Trains GLNet on rendered streets and shows, on streets it never saw, what it learned: pictures and a table."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags
from flagging import config_from_flags, define, run
from PIL import Image

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, TrainingConfig
from glnet_tf.data.base import Source
from glnet_tf.data.pipeline import batches
from glnet_tf.data.sources import open_source
from glnet_tf.geometry.camera import intrinsics_from_field_of_view
from glnet_tf.inference.report import ReportFrame, Table, as_jpeg, chart, write_report
from glnet_tf.pictures import write_png
from glnet_tf.training.checkpoints import write_text
from glnet_tf.training.summaries import board, explain
from glnet_tf.training.trainer import Trainer
from glnet_tf.training.validation import validate

ROOT = Path(__file__).resolve().parent.parent
# No street with these seeds is ever trained on, or used to choose a setting.
TEST_SEED, TEST_STREETS, EVERY, PICTURES = 1000, 4, 2, 4

define(DataConfig, ModelConfig, LossConfig, TrainingConfig)
flags.DEFINE_string("run_dir", str(ROOT / "runs" / "demo"), "folder of the run")


def main() -> None:
    started = time.monotonic()
    configs = [config_from_flags(config) for config in (DataConfig, ModelConfig, LossConfig, TrainingConfig)]
    data, model, loss, training = configs
    run_dir = Path(flags.FLAGS.run_dir)
    trainer = Trainer(run_dir, open_source(data, "train"), None, data, model, loss, training)
    if trainer.run() < training.steps:
        return
    unseen = dataclasses.replace(data, street_seed=TEST_SEED, streets=TEST_STREETS)
    test = open_source(unseen, "train")
    metrics = validate(trainer.predict, test, data, range(0, len(test), EVERY))
    metrics.update(focal_errors(trainer, test, model))
    metrics["seconds"] = round(time.monotonic() - started)
    write_text(run_dir / "metrics.json", json.dumps(metrics, indent=2))
    write_pictures(trainer, test, data, loss.alpha, run_dir)
    write_page(run_dir, metrics)
    print(table(metrics))
    print(f"\n{metrics['seconds']} s on this machine; to look at: {run_dir / 'report.html'}")


def focal_errors(trainer: Trainer, source: Source, model: ModelConfig) -> dict[str, float]:
    """Returns the larger relative error of the learned fx and fy, and that of the field of view it started from."""
    learned = [float(focal[0]) for focal in trainer.focal_lengths()]
    truth = float(source.load(tf.constant(0, tf.int64))[1][0, 0])
    start = float(
        intrinsics_from_field_of_view(model.field_of_view, trainer.data.image_height, trainer.data.image_width)[0, 0]
    )
    return {
        "focal_relative_error": max(abs(focal / truth - 1) for focal in learned),
        "focal_relative_error_start": abs(start / truth - 1),
    }


def write_pictures(trainer: Trainer, source: Source, data: DataConfig, alpha: float, run_dir: Path) -> None:
    """Draws what GLNet makes of a few snippets, one board each."""
    indices = [(2 * i + 1) * len(source) // (2 * PICTURES) for i in range(PICTURES)]
    for number, snippet in enumerate(batches(source, dataclasses.replace(data, batch_size=1), indices)):
        write_png(run_dir / f"street{number}.png", board(explain(snippet, trainer.predict(snippet), alpha)))


def write_page(run_dir: Path, metrics: dict[str, float]) -> None:
    """Writes report.html: the boards under a slider, the objective's terms, the table."""
    boards = [run_dir / f"street{number}.png" for number in range(PICTURES)]
    frames = [ReportFrame(board.stem, {"frame": as_jpeg(np.asarray(Image.open(board)), 2000)}) for board in boards]
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "total" in line]
    curves = {
        name: ([line["step"] for line in steps], [line[name] for line in steps]) for name in steps[0] if name != "step"
    }
    head, *rows = [[shown(cell) for cell in row] for row in cells(metrics)]
    protocol = (
        "Middle frames of snippets of streets that were not trained on; depth scaled by the median of each image."
    )
    write_report(
        run_dir / "report.html",
        "GLNet on rendered streets",
        [f"Trained in {metrics['seconds']:.0f} s; what it makes of streets that it never saw"],
        frames,
        [("The objective and its unweighted terms in training", chart(curves, "step", "mean over the batch"))],
        [Table("Errors", head, rows, protocol)],
    )


def shown(cell: str | float) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else cell


def table(metrics: dict[str, float]) -> str:
    """Returns the metrics beside their baselines, as text."""
    return "\n".join(f"{a:30}{b:>8}{c:>10}  {d}" for a, b, c, d in ([shown(x) for x in row] for row in cells(metrics)))


def cells(metrics: dict[str, float]) -> list[tuple[str, str | float, str | float, str]]:
    """Returns a head and the metrics beside their baselines."""
    return [
        ("", "GLNet", "baseline", "what the baseline is"),
        ("depth AbsRel", metrics["depth_abs_rel"], metrics["depth_abs_rel_constant"], "best constant depth per image"),
        ("flow EPE (px)", metrics["flow_epe"], metrics["flow_epe_zero"], "no motion"),
        (
            "translation direction (deg)",
            metrics["translation_deg"],
            metrics["translation_deg_straight"],
            "straight ahead",
        ),
        ("rotation (deg)", metrics["rotation_deg"], metrics["rotation_deg_straight"], "no rotation"),
        (
            "focal length, relative error",
            metrics["focal_relative_error"],
            metrics["focal_relative_error_start"],
            "its start",
        ),
    ]


if __name__ == "__main__":
    sys.argv.insert(1, f"--flagfile={ROOT / 'configs' / 'demo.flags'}")
    run(main)
