"""Depth, flow, motion, intrinsics and a page to look at: tools/predict.py --input=VIDEO --output_dir=DIR"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from absl import flags

from glnet_tf.cli.flagging import chosen_model, config_from_flags, define, define_model, define_outputs
from glnet_tf.cli.signals import exit_code
from glnet_tf.config import REFINEMENT_LOSS, LossConfig, RefinementConfig
from glnet_tf.errors import ConfigError, DataError, GLNetError
from glnet_tf.files import SETTINGS, check_own_folder
from glnet_tf.inference.outputs import outputs_of
from glnet_tf.progress import shard_of

if TYPE_CHECKING:
    from glnet_tf.data.frames import Frames
    from glnet_tf.inference.predictor import Predictor

define(REFINEMENT_LOSS, RefinementConfig)
define_model("kitti-lite")
define_outputs()
flags.FLAGS.set_default("refine", "fusion")
flags.FLAGS.set_default("window", 8)
flags.DEFINE_string(
    "input", "", "an image, a folder of images, a video file, the index of a camera, or a .txt file that lists such"
)
flags.DEFINE_string(
    "output_dir",
    "",
    "folder for the results, of a list with a folder for each input; the same command goes on where it was interrupted",
)
flags.DEFINE_integer(
    "output_size",
    0,
    "longer side of all results, pixels, to which larger frames are shrunk; 0: their own",
    lower_bound=0,
)
flags.DEFINE_string("shard", "0/1", "i/n: of a list's inputs every n-th from number i on, for n machines; i from 0")
flags.DEFINE_float("start", 0.0, "seconds into the video at which to begin", lower_bound=0.0)
flags.DEFINE_float("end", 0.0, "seconds into the video at which to end; 0: with it", lower_bound=0.0)
flags.DEFINE_float("fps", 0.0, "frames a second that are used at most; 0: all", lower_bound=0.0)
flags.DEFINE_integer("stride", 1, "of those, every n-th is used", lower_bound=1)
flags.DEFINE_integer("max_frames", 0, "frames after which to stop; 0: all", lower_bound=0)
flags.DEFINE_float(
    "cloud_confidence", 0.5, "confidence from which a point is part of the point cloud; 0: all are", lower_bound=0.0
)
flags.DEFINE_float(
    "target_parallax",
    4.0,
    "parallax between the frames that are seen together, thousandths of the width: where the camera moves less, every "
    "n-th frame up to the 8th; 0: those that follow each other",
    lower_bound=0.0,
)
flags.DEFINE_string(
    "intrinsics_file",
    "",
    "text file with the 3x3 K, pixels of the input, and k1 k2 p1 p2 k3 if it distorts; empty: cam.txt (of a video "
    "STEM.cam.txt) beside the frames, EXIF's focal length, what the motion says, or 72 degrees",
)
flags.DEFINE_float(
    "field_of_view", 0.0, "along the images' longer side, degrees, instead of K; 0: unknown", lower_bound=0.0
)
flags.DEFINE_float("scale", 0.0, "factor on all lengths that makes them metres; 0: unknown", lower_bound=0.0)
flags.DEFINE_float(
    "camera_height",
    0.0,
    "metres from the road to the camera, which make all lengths metres; 0: unknown",
    lower_bound=0.0,
)
flags.DEFINE_string(
    "speed",
    "",
    "metres a second in the first frames, which make all lengths metres: a number, or a text file with a row `t v` for "
    "every time, seconds into the video; empty: unknown",
)

# Which frames of an input, see data.frames.Selection.
SELECTION = ("start", "end", "fps", "stride", "max_frames")
# What --help shows, in this order.
FIRST = (
    "input",
    "output_dir",
    "weights",
    "run_dir",
    "refine",
    "camera_height",
    "speed",
    "scale",
    "intrinsics_file",
    "field_of_view",
    *SELECTION,
    "target_parallax",
    "window",
    "cloud_confidence",
    "outputs",
    "output_size",
    "shard",
)


def main() -> int:
    for name in ("input", "output_dir"):
        if not flags.FLAGS[name].value:
            raise ConfigError(f"--{name}=: expected a path")
    outputs_of(flags.FLAGS.outputs)
    read_speed(flags.FLAGS.speed)
    weights = chosen_model()
    if sum(bool(flags.FLAGS[name].value) for name in ("scale", "camera_height", "speed")) > 1:
        raise ConfigError("--scale, --camera_height, --speed: expected one of them; each says what a metre is")
    loss, config = config_from_flags(LossConfig), config_from_flags(RefinementConfig)
    if config.epochs or config.policy == "sequence":
        raise ConfigError(
            "--epochs, --policy=sequence: expected none of them here; tools/refine.py adapts the networks"
        )
    if flags.FLAGS.intrinsics_file and flags.FLAGS.field_of_view:
        raise ConfigError("--intrinsics_file and --field_of_view: expected one of them; either says what K is")
    from glnet_tf.data.frames import Frames, Selection

    folder, place = Path(flags.FLAGS.output_dir), flags.FLAGS.input
    selection = Selection(*(getattr(flags.FLAGS, name) for name in SELECTION))
    inputs = [Input(place, folder)]
    if place.endswith(".txt"):
        inputs = shard_of(read_list(Path(place), folder), flags.FLAGS.shard)
    else:
        # TensorFlow takes seconds to import: only once the flags and the input are known to be right.
        check_own_folder(folder, SETTINGS)
        Frames(place, selection)
    from glnet_tf.inference.predictor import Predictor

    predictor = Predictor(weights, config, loss, target_parallax=flags.FLAGS.target_parallax)
    failures = []
    for number, given in enumerate(inputs, start=1):
        if len(inputs) > 1:
            print(f"{number} of {len(inputs)}: {given.place}", file=sys.stderr)
        try:
            if not predict(predictor, weights, Frames(given.place, selection), given.folder):
                return exit_code()
        except GLNetError as error:
            if len(inputs) == 1:
                raise
            failures.append(str(error) if given.place in str(error) else f"{given.place}: {error}")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(inputs)} inputs failed; the same command tries them again", file=sys.stderr)
    return int(bool(failures))


class Input(NamedTuple):
    """An input, and the folder for its results."""

    place: str
    folder: Path


def read_list(file: Path, folder: Path) -> list[Input]:
    """Returns the inputs that a file names, one a line, from where the file is; # begins a comment."""
    from glnet_tf.data.files.calibration import read_lines

    lines = (line.partition("#")[0].strip() for line in read_lines(file))
    places = [line if line.isdigit() or "://" in line else str(file.parent / line) for line in lines if line]
    if not places:
        raise ConfigError(f"--input={file}: names no input: expected a text file, one input a line")
    return [Input(place, folder / f"{number:04}-{Path(place).stem}") for number, place in enumerate(places)]


def read_speed(given: str) -> Callable[[float], float] | None:
    """Returns metres a second at a time, seconds, from a number or a file of rows `t v`; None if nothing is given.

    Raises:
      ConfigError: it is neither.
      DataError: the file holds something else.
    """
    if not given:
        return None
    with contextlib.suppress(ValueError):
        number = float(given)
        if not 0 < number < math.inf:
            raise ConfigError(f"--speed={given}: expected metres a second, more than 0; correct it")
        return lambda time: number
    from glnet_tf.data.files.calibration import read_numbers

    if not Path(given).exists():
        raise ConfigError(f"--speed={given}: expected metres a second, or a file of rows `t v`; correct it")
    rows = read_numbers(Path(given))
    rising = all(a[0] < b[0] for a, b in zip(rows, rows[1:]))
    if not rows or any(len(row) != 2 or not 0 <= row[1] < math.inf for row in rows) or not rising:
        raise DataError(
            f"{given}: expected a row `t v` for every time, seconds that rise and metres a second from 0; correct it"
        )
    times, speeds = zip(*rows)
    return lambda time: float(np.interp(time, times, speeds))


def predict(predictor: Predictor, weights: str, frames: Frames, folder: Path) -> bool:
    """Writes what is predicted for an input, from where it was interrupted; returns False if it was again."""
    from glnet_tf.data.frames import Frames
    from glnet_tf.files import read_json
    from glnet_tf.inference.calibration import find_calibration
    from glnet_tf.inference.metric_scale import FIRST_FRAMES, Metres
    from glnet_tf.inference.refine import predict_video
    from glnet_tf.inference.result_folder import ResultFolder
    from glnet_tf.training.weights import weights_digest

    given = flags.FLAGS.intrinsics_file, flags.FLAGS.field_of_view
    again = () if frames.live else Frames(frames.place, frames.selection)
    calibration = find_calibration(frames.place, frames.size, predictor.model, *given, again, frames.count)
    calibration = calibration._replace(max_side=flags.FLAGS.output_size, size=frames.size)
    camera = (None if value is None else value.tolist() for value in calibration.camera)
    named = (
        *SELECTION,
        "target_parallax",
        "scale",
        "camera_height",
        "speed",
        "output_size",
        "cloud_confidence",
    )
    settings = {
        "input": str(Path(frames.place).resolve()) if Path(frames.place).exists() else frames.place,
        "weights": weights,
        "weights_digest": weights_digest(predictor.model),
        **dict(zip(("K", "distortion"), camera)),
        **{name: flags.FLAGS[name].value for name in named},
        **dataclasses.asdict(predictor.loss),
        **dataclasses.asdict(predictor.refinement),
    }
    with ResultFolder(folder, settings, outputs=flags.FLAGS.outputs) as results:
        note = folder / "prediction.json"
        if note.exists() and read_json(note, "the notes of a prediction", {"complete": bool})["complete"]:
            print(f"{folder}: there already")
            return True
        begin, speed = flags.FLAGS.start, read_speed(flags.FLAGS.speed)
        steps = [speed(begin + number / frames.fps) / frames.fps for number in range(FIRST_FRAMES)] if speed else ()
        metres = Metres(flags.FLAGS.scale, flags.FLAGS.camera_height, steps)
        complete = predict_video(predictor, frames, results, metres, calibration, flags.FLAGS.cloud_confidence)
    print(f"results: {folder}; to look at: {folder / 'report.html'}")
    return complete
