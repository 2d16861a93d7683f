"""Depth, flow, motion, intrinsics and a page to look at: tools/predict.py --input=VIDEO --output_dir=DIR"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from glnet_tf.cli.flagging import chosen_model, config_from_flags, define, define_model
from glnet_tf.config import REFINEMENT_LOSS, LossConfig, RefinementConfig
from glnet_tf.errors import ConfigError
from glnet_tf.progress import shard_of

if TYPE_CHECKING:
    from glnet_tf.inference.predictor import Predictor

define(REFINEMENT_LOSS, RefinementConfig)
define_model("kitti-lite")
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
flags.DEFINE_string("shard", "0/1", "i/n: of a list's inputs every n-th from number i on, for n machines; i from 0")
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
flags.DEFINE_string("intrinsics_file", "", "text file with the 3x3 K, pixels of the input; empty: learned or assumed")
flags.DEFINE_float("scale", 0.0, "factor on all lengths that makes them metres; 0: unknown", lower_bound=0.0)
flags.DEFINE_float(
    "camera_height",
    0.0,
    "metres from the road to the camera, which make all lengths metres; 0: unknown",
    lower_bound=0.0,
)

# What --help shows, in this order.
FIRST = (
    "input",
    "output_dir",
    "weights",
    "run_dir",
    "refine",
    "camera_height",
    "scale",
    "intrinsics_file",
    "target_parallax",
    "window",
    "cloud_confidence",
    "max_frames",
    "shard",
)


def main() -> None:
    for name in ("input", "output_dir"):
        if not flags.FLAGS[name].value:
            raise ConfigError(f"--{name}=: expected a path")
    weights = chosen_model()
    if flags.FLAGS.scale and flags.FLAGS.camera_height:
        raise ConfigError("--scale and --camera_height: expected one of them; either says what a metre is")
    loss, config = config_from_flags(LossConfig), config_from_flags(RefinementConfig)
    if config.epochs or config.policy == "sequence":
        raise ConfigError(
            "--epochs, --policy=sequence: expected none of them here; tools/refine.py adapts the networks"
        )
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.data.files.calibration import read_intrinsics
    from glnet_tf.data.frames import Frames
    from glnet_tf.inference.predictor import Predictor

    listed, file = flags.FLAGS.input.endswith(".txt"), flags.FLAGS.intrinsics_file
    inputs = read_list(Path(flags.FLAGS.input)) if listed else [("", flags.FLAGS.input)]
    if not listed:
        Frames(flags.FLAGS.input)  # What is wrong with it is said before the model is loaded.
    intrinsics = read_intrinsics(Path(file)) if file else None
    predictor = Predictor(weights, config, loss, intrinsics, flags.FLAGS.target_parallax)
    for name, place in shard_of(inputs, flags.FLAGS.shard):
        if not predict(predictor, weights, place, Path(flags.FLAGS.output_dir) / name):
            break


def read_list(file: Path) -> list[tuple[str, str]]:
    """Returns the inputs that a file names, one a line, each with a name of its own for its results."""
    try:
        places = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--input={file}: cannot be read ({error}); expected a text file, one input a line") from None
    return [(f"{number:04}-{Path(place).stem}", place) for number, place in enumerate(places)]


def predict(predictor: Predictor, weights: str, place: str, folder: Path) -> bool:
    """Writes what is predicted for an input, from where it was interrupted; returns False if it was again."""
    from glnet_tf.data.frames import Frames
    from glnet_tf.files import read_json
    from glnet_tf.inference.metric_scale import Metres
    from glnet_tf.inference.refine import predict_video
    from glnet_tf.inference.result_folder import ResultFolder

    frames = Frames(place, flags.FLAGS.max_frames)
    named = ("max_frames", "target_parallax", "scale", "camera_height")
    settings = {
        "input": str(Path(place).resolve()) if Path(place).exists() else place,
        "weights": weights,
        "K": None if predictor.intrinsics is None else predictor.intrinsics.tolist(),
        **{name: flags.FLAGS[name].value for name in named},
        **dataclasses.asdict(predictor.loss),
        **dataclasses.asdict(predictor.refinement),
    }
    with ResultFolder(folder, settings) as results:
        note = folder / "prediction.json"
        if note.exists() and read_json(note)["complete"]:
            print(f"{folder}: there already")
            return True
        metres = Metres(flags.FLAGS.scale, flags.FLAGS.camera_height)
        complete = predict_video(predictor, frames, results, metres, flags.FLAGS.cloud_confidence)
    print(f"results: {folder}; to look at: {folder / 'report.html'}")
    return complete
