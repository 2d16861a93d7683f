"""The one road of results: what is predicted for a video or a data set goes, frame by frame, into a result folder."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from glnet_tf.config import DataConfig
from glnet_tf.data.frames import Frame, Frames
from glnet_tf.data.source import Source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.files import check_space
from glnet_tf.inference.adaptation import CarriedParameters
from glnet_tf.inference.calibration import Calibration
from glnet_tf.inference.metric_scale import GroundPlane, Metres
from glnet_tf.inference.predictor import Predictor
from glnet_tf.inference.result_folder import ResultFolder
from glnet_tf.inference.source_prediction import predict_source
from glnet_tf.inference.summary import as_lines, write_summary
from glnet_tf.progress import command_line, progress_bar
from glnet_tf.structures import FRAMES, rescaled_motion


def predict_video(
    predictor: Predictor,
    frames: Frames,
    results: ResultFolder,
    metres: Metres,
    calibration: Calibration,
    min_confidence: float,
) -> bool:
    """Writes what is predicted for the frames of a video that are not there yet, and the summary, also after Ctrl-C.

    What is missing or damaged ends a path: behind it the world is another one.

    Args:
      predictor: of the video.
      frames: of the video, from its beginning.
      results: where it goes.
      metres: what brings lengths to metres.
      calibration: of the camera.
      min_confidence: of the points in the cloud.

    Returns:
      False if it was interrupted.

    Raises:
      ConfigError, DataError: the frames that are there cannot be gone on from, or the disk has no room for all.
    """
    rows = list(results.rows.values())
    if rows and frames.live:
        raise ConfigError(
            f"{results.folder}: what a camera saw does not come again: expected a new folder; choose another"
        )
    if rows:
        metres.resume(rows[0].scale, [GroundPlane(*row.ground) for row in rows if row.ground])
    started, complete = time.monotonic(), True
    try:
        with progress_bar(frames.count, f"predicting {frames.name}", "frame", len(rows), compiles=True) as bar:
            for _, scene in itertools.groupby(frames, key=lambda frame: frame.scene):
                for _ in _predict_scene(predictor, scene, results, metres, calibration):
                    bar.update()
                    if len(results.rows) == 1 and frames.count:
                        check_space(results.folder, results.bytes_of(next(iter(results.rows))) * (frames.count - 1))
    except KeyboardInterrupt:
        complete = False
    remarks = [*frames.remarks, *([f"lengths are up to scale: {metres.reason}"] if metres.reason else [])]
    if not complete:
        remarks.append(f"interrupted after {len(results.rows)} frames; the same command goes on")
    notes = {
        "input": frames.place,
        "complete": complete,
        "intrinsics": calibration.source,
        **_notes(predictor, started),
        **metres.notes(),
    }
    summary = f"{len(results.rows)} frames; refined: {predictor.refinement.refine}; lengths: {notes['unit']}"
    lines = [summary, f"K: {calibration.source}"]
    write_summary(results, frames.name, notes, remarks, lines, frames.fps, min_confidence)
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr)
    print(f"{summary}; K: {calibration.source}; {len(results.rows) - len(rows)} of them in {notes['seconds']} s")
    return complete


def _predict_scene(
    predictor: Predictor, frames: Iterator[Frame], results: ResultFolder, metres: Metres, calibration: Calibration
) -> Iterator[None]:
    """Writes the frames of a scene that are not there yet, one at a time."""
    first = next(frames)
    # Of an own size, where that changes.
    predictor.intrinsics = calibration.intrinsics((first.image.shape[0], first.image.shape[1]))
    path = first.name if first.scene else ""
    done = [row for row in results.rows.values() if row.path == path]
    pose = rescaled_motion(done[-1].predecessor().next_pose, 1 / done[-1].scale) if done else None
    # Names and times of those that were read, from the first one that is not there yet.
    waiting: deque[tuple[str, float]] = deque()

    def images() -> Iterator[np.ndarray]:
        for number, frame in enumerate(itertools.chain([first], frames)):
            if number >= len(done):
                waiting.append((frame.name, frame.time))
            elif frame.name != done[number].name:
                there = f"{results.folder}: holds frame {done[number].name}, not {frame.name}"
                raise DataError(f"{there}: expected the same video; give another folder")
            yield calibration.used(frame.image)

    for prediction in metres.applied(predictor.predict(images(), len(done), pose)):
        name, taken = waiting.popleft()
        ground = metres.planes[len(results.rows)] if metres.planes else None
        results.add(name, prediction, path, taken, metric=metres.known, scale=metres.scale, ground=ground)
        yield


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
    with progress_bar(len(indices), "predicting", "frame", finished, compiles=True) as bar:
        for batch in predict_source(predictor, source, data, indices, done, with_errors=True):
            for found in batch:
                results.add(found.label, found.frame, found.path, errors=found.errors, histories=found.histories)
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
