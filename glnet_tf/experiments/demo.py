"""What the weights that ship know of streets they never saw, what training adds, and what refinement makes of it."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, RefinementConfig, StreetConfig, TrainingConfig
from glnet_tf.data.pipeline import batches
from glnet_tf.data.source import Source
from glnet_tf.data.sources import open_source
from glnet_tf.files import read_json, read_json_lines, write_json
from glnet_tf.refinement.refiner import Refiner
from glnet_tf.structures import Predictions, Snippet
from glnet_tf.training.summaries import board, explain
from glnet_tf.training.trainer import Trainer
from glnet_tf.training.validation import validate
from glnet_tf.visualization.page import ReportFrame, Table, as_jpeg, chart, write_report
from glnet_tf.visualization.pictures import write_png

# No street with these seeds is ever trained on, or used to choose a setting.
TEST_SEED, TEST_STREETS, EVERY, PICTURES = 1000, 4, 2, 4
STAGES = ("shipped", "trained", "refined")
# An error, its name and its baseline's suffix in what validate returns, and what the baseline is.
ROWS = (
    ("depth AbsRel", "depth_abs_rel", "_constant", "best constant depth per image"),
    ("flow EPE, px", "flow_epe", "_zero", "no motion"),
    ("translation direction, deg", "translation_deg", "_straight", "straight ahead"),
    ("rotation, deg", "rotation_deg", "_straight", "no rotation"),
)


def demonstrate(
    run_dir: Path, data: DataConfig, model: ModelConfig, loss: LossConfig, training: TrainingConfig
) -> None:
    """Judges weights that ship on streets that were never seen, trains them, refines, and writes a page about it."""
    started = time.monotonic()
    trainer = Trainer(run_dir, open_source(data, "train"), None, data, model, loss, training)
    test = open_source(
        dataclasses.replace(
            data,
            street=StreetConfig(street_seed=TEST_SEED, streets=TEST_STREETS, street_frames=data.street.street_frames),
        ),
        "train",
    )
    shown = next(iter(batches(test, batch_of(data), snippets_to_show(test))))
    before = run_dir / "before.json"
    if not before.exists():
        print(f"{training.weights}, as it ships, on {TEST_STREETS} streets that it never saw", file=sys.stderr)
        write_boards(trainer, shown, trainer.predict(shown), "shipped")
        write_json(before, {"shipped": errors_of(trainer, test)})
    if trainer.run() < training.steps:
        return
    print(f"refining {PICTURES} snippets", file=sys.stderr)
    metrics = {
        **read_json(before, "errors", {"shipped": {str: float}}),
        "trained": errors_of(trainer, test),
        **refined(trainer, test, shown),
    }
    metrics["seconds"] = round(time.monotonic() - started)
    write_json(run_dir / "metrics.json", metrics)
    write_page(run_dir, metrics)
    for table in (errors(metrics), refinement(metrics)):
        print("\n".join(f"{name:30}" + "".join(f"{cell:>12}" for cell in cells) for name, *cells in table), end="\n\n")
    print(f"{metrics['seconds']} s on this machine; to look at: {run_dir / 'report.html'}")


def snippets_to_show(source: Source) -> list[int]:
    return [(2 * i + 1) * len(source) // (2 * PICTURES) for i in range(PICTURES)]


def errors_of(trainer: Trainer, source: Source) -> dict[str, float]:
    """Returns the errors of the networks as they are, see validate; and `focal`, the larger relative of fx and fy."""
    errors = validate(trainer.predict, source, trainer.data, range(0, len(source), EVERY))
    truth = float(source.load(tf.constant(0, tf.int64))[1][0, 0])
    errors["focal"] = max(abs(float(focal[0]) / truth - 1) for focal in trainer.focal_lengths() if focal is not None)
    return errors


def refined(trainer: Trainer, source: Source, shown: Snippet) -> dict[str, dict[str, float]]:
    """Returns the errors of the snippets that are shown, as the networks predict them after training, and by OFT."""
    result = Refiner(trainer.model, config=RefinementConfig(refine="oft"))(shown)
    write_boards(trainer, shown, result.initial, "trained")
    write_boards(trainer, shown, result.final, "refined")

    def errors(predictions: Predictions) -> dict[str, float]:
        return validate(lambda _: predictions, source, batch_of(trainer.data), snippets_to_show(source))

    return {"unrefined": errors(result.initial), "refined": errors(result.final)}


def batch_of(data: DataConfig) -> DataConfig:
    """The configuration that reads the snippets to show in one batch."""
    return dataclasses.replace(data, batch_size=PICTURES)


def write_boards(trainer: Trainer, shown: Snippet, predictions: Predictions, stage: str) -> None:
    """Draws what is predictions about the snippets to show, one board each."""
    for i in range(PICTURES):
        snippet, made = (tf.nest.map_structure(lambda x, i=i: x[i : i + 1], batch) for batch in (shown, predictions))
        write_png(trainer.run_dir / f"street{i}_{stage}.png", board(explain(snippet, made)))


def write_page(run_dir: Path, metrics: dict[str, Any]) -> None:
    """Writes report.html: the boards under a slider, the objective's terms, the tables."""
    boards = [run_dir / f"street{number}_{stage}.png" for number in range(PICTURES) for stage in STAGES]
    frames = [ReportFrame(board.stem, {"frame": as_jpeg(np.asarray(Image.open(board)), 2000)}) for board in boards]
    lines = read_json_lines(run_dir / "metrics.jsonl", {"step": int})
    steps = [line for line in lines if "total" in line]
    curves = {
        name: ([line["step"] for line in steps], [line[name] for line in steps]) for name in steps[0] if name != "step"
    }
    protocol = (
        "Middle frames of snippets of streets that were not trained on; depth scaled by the median of each image."
    )
    tables = (("Errors", errors(metrics)), ("Refinement of the snippets above", refinement(metrics)))
    write_report(
        run_dir / "report.html",
        "GLNet on rendered streets",
        [f"Made in {metrics['seconds']:.0f} s: streets as the weights that ship see them, after training, and refined"],
        frames,
        [("The objective and its unweighted terms in training", chart(curves, "step", "mean over the batch"))],
        [Table(title, head, rows, protocol) for title, (head, *rows) in tables],
    )


def errors(metrics: dict[str, Any]) -> list[list[str]]:
    """Returns a table of the errors before and after training, beside what costs nothing."""
    before, after = metrics["shipped"], metrics["trained"]
    table = [["", "as shipped", "trained", "baseline"]]
    for name, metric, suffix, meaning in ROWS:
        values = before[metric], after[metric], after[metric + suffix]
        table.append([name, *(f"{value:.3f}" for value in values), f"  {meaning}"])
    return [*table, ["focal length, relative error", *(f"{x['focal']:.3f}" for x in (before, after))]]


def refinement(metrics: dict[str, Any]) -> list[list[str]]:
    """Returns a table of the errors of the snippets that are shown, before and after refinement."""
    before, after = metrics["unrefined"], metrics["refined"]
    table = [[f"{PICTURES} of these frames", "trained", "refined"]]
    return table + [[name, f"{before[metric]:.3f}", f"{after[metric]:.3f}"] for name, metric, *_ in ROWS]
