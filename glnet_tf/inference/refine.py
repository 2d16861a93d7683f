"""The one road of results: what is predicted for a video or a data set goes, frame by frame, into a result folder."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from glnet_tf.config import DataConfig
from glnet_tf.data.frames import Frames
from glnet_tf.data.source import Source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.inference.adaptation import CarriedParameters
from glnet_tf.inference.metric_scale import GroundPlane, Metres
from glnet_tf.inference.predictor import Predictor
from glnet_tf.inference.result_folder import ResultFolder
from glnet_tf.inference.source_prediction import predict_source
from glnet_tf.inference.summary import as_lines, write_summary
from glnet_tf.progress import command_line, progress_bar
from glnet_tf.structures import FRAMES, rescaled_motion


def predict_video(
    predictor: Predictor, frames: Frames, results: ResultFolder, metres: Metres, min_confidence: float
) -> bool:
    """Writes what is predicted for the frames of a video that are not there yet, and the summary, also after Ctrl-C.

    Args:
      predictor: of the video.
      frames: of the video, from its beginning.
      results: where it goes.
      metres: what brings lengths to metres.
      min_confidence: of the points in the cloud.

    Returns:
      False if it was interrupted.

    Raises:
      ConfigError, DataError: the frames that are there cannot be gone on from.
    """
    pose, done = _resumed(frames, results, metres), list(results.rows)
    names: list[str] = []

    def images() -> Iterator[np.ndarray]:
        for name, image in frames:
            if len(names) < len(done) and name != done[len(names)]:
                there = f"{results.folder}: holds frame {done[len(names)]}, not {name}"
                raise DataError(f"{there}: expected the same video; give another folder")
            names.append(name)
            yield image

    started, complete = time.monotonic(), True
    try:
        with progress_bar(frames.count, "predicting", "frame", len(done)) as bar:
            for frame in metres.applied(predictor.predict(images(), len(done), pose)):
                number = len(results.rows)
                ground = metres.planes[number] if metres.planes else None
                results.add(names[number], frame, metric=metres.known, scale=metres.scale, ground=ground)
                bar.update()
    except KeyboardInterrupt:
        complete = False
    remarks = list(frames.remarks)
    if not complete:
        remarks.append(f"interrupted after {len(results.rows)} frames; the same command goes on")
    notes = {"input": frames.place, "complete": complete, **_notes(predictor, started), **metres.notes()}
    summary = [f"{len(results.rows)} frames; refined: {predictor.refinement.refine}; lengths: {notes['unit']}"]
    write_summary(results, frames.name, notes, remarks, summary, frames.fps, min_confidence)
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr)
    print(f"{summary[0]}; {len(results.rows) - len(done)} of them in {notes['seconds']} s")
    return complete


def _resumed(frames: Frames, results: ResultFolder, metres: Metres) -> np.ndarray | None:
    """Camera to world, [4, 4], of the first frame that is not there yet, in the network's scale; None: of none is."""
    rows = list(results.rows.values())
    if not rows:
        return None
    if frames.count is None:
        raise ConfigError(
            f"{results.folder}: what a camera saw does not come again: expected a new folder; choose another"
        )
    metres.resume(rows[0].scale, [GroundPlane(*row.ground) for row in rows if row.ground])
    return rescaled_motion(rows[-1].predecessor().next_pose, 1 / rows[0].scale)


def predict_data_set(
    predictor: Predictor, source: Source, data: DataConfig, indices: Sequence[int], results: ResultFolder
) -> str:
    """Writes what is predicted for the snippets of a source that are not there yet, and the summary.

    Args:
      predictor: its `refinement.window` says whether every snippet is seen by itself, see predict_source.
      source, data: see predict_source.
      indices: numbers of the snippets.
      results: where it goes.

    Returns:
      a table of the errors by stage, where the truth is known, and how much could not be refined.

    Raises:
      ConfigError: windows of more than three frames, which follow each other, and a target_parallax.
    """
    window = predictor.refinement.window
    if data.target_parallax and window > FRAMES:
        raise ConfigError(
            f"--target_parallax={data.target_parallax}, --window={window}: frames of a window follow each other; give "
            "one of them"
        )
    started, done = time.monotonic(), {name: row.predecessor() for name, row in results.rows.items()}
    carried = CarriedParameters(predictor.model, predictor.refinement, results.folder)
    finished = sum(source.label(index) in done for index in indices)
    with progress_bar(len(indices), "predicting", "frame", finished) as bar:
        for batch in predict_source(predictor, source, data, indices, done, with_errors=True):
            for found in batch:
                results.add(found.label, found.frame, found.path, found.errors, found.histories)
            carried.keep()
            bar.update(sum(found.number is not None for found in batch))
    notes = {"input": source.name, "complete": True, **_notes(predictor, started), "unit": "up to scale"}
    refined = f"{len(results.rows)} frames; refined: {predictor.refinement.refine}"
    errors = write_summary(results, f"Predictions in {results.folder.name}", notes, source.skipped, [refined])
    return as_lines(errors, results)


def _notes(predictor: Predictor, started: float) -> dict[str, Any]:
    """How results were made."""
    return {
        "command": command_line(),
        "refinement": dataclasses.asdict(predictor.refinement),
        "seconds": round(time.monotonic() - started, 1),
    }
