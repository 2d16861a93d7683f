"""Depth, flow, motion, intrinsics and a page to look at: tools/predict.py --input=VIDEO --run_dir=RUN --output_dir=D"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags
from flagging import config_from_flags, define, run

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.errors import ConfigError

define(LossConfig, RefinementConfig)
flags.FLAGS.set_default("refine", "none")
flags.FLAGS.set_default("window", 8)
flags.DEFINE_string("input", "", "an image, a folder of images, a video file, or the index of a camera")
flags.DEFINE_string("run_dir", "", "folder of the training run")
flags.DEFINE_string("output_dir", "", "folder for the results; it has to be empty")
flags.DEFINE_integer("max_frames", 0, "frames after which to stop; 0: all", lower_bound=0)
flags.DEFINE_string("intrinsics_file", "", "text file with the 3x3 K, pixels of the input; empty: learned or assumed")
flags.DEFINE_float("scale", 0.0, "factor on all lengths that makes them metres; 0: unknown", lower_bound=0.0)
flags.DEFINE_float(
    "camera_height",
    0.0,
    "metres from the road to the camera, which make all lengths metres; 0: unknown",
    lower_bound=0.0,
)


def main() -> None:
    for name in ("input", "run_dir", "output_dir"):
        if not flags.FLAGS[name].value:
            raise ConfigError(f"--{name}=: expected a path")
    if flags.FLAGS.scale and flags.FLAGS.camera_height:
        raise ConfigError("--scale and --camera_height: expected one of them; either says what a metre is")
    folder = Path(flags.FLAGS.output_dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--output_dir={folder}: expected a new or empty folder; choose another, or empty it")
    loss, config = config_from_flags(LossConfig), config_from_flags(RefinementConfig)
    if config.epochs or config.policy == "sequence":
        raise ConfigError(
            "--epochs, --policy=sequence: expected none of them here; tools/refine.py adapts the networks"
        )
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.data.calibration import read_intrinsics
    from glnet_tf.data.frames import Frames
    from glnet_tf.inference.ground import Metres
    from glnet_tf.inference.predictions import progress_bar
    from glnet_tf.inference.predictor import Predictor
    from glnet_tf.inference.written import Pictures, PredictionFolder

    frames = Frames(flags.FLAGS.input, flags.FLAGS.max_frames)
    file = flags.FLAGS.intrinsics_file
    predictor = Predictor(flags.FLAGS.run_dir, config, loss, read_intrinsics(Path(file)) if file else None)
    metres = Metres(flags.FLAGS.scale, flags.FLAGS.camera_height)
    written = PredictionFolder(folder, frames.fps)
    pictures, names, remarks = Pictures(), deque[str](), []

    def images() -> Iterator[np.ndarray]:
        for name, image in frames:
            names.append(name)
            yield image

    started = time.monotonic()
    try:
        with progress_bar(frames.count, "predicting", "frame") as bar:
            for said in metres.applied(predictor.predict(images())):
                written.add(names.popleft(), said, pictures.draw(said), metres.known)
                bar.update()
    except KeyboardInterrupt:
        remarks.append(f"interrupted after {len(written.poses)} frames")
    finally:
        seconds = time.monotonic() - started
        notes = {
            "input": flags.FLAGS.input,
            "command": shlex.join(["python", *sys.argv]),
            "refinement": dataclasses.asdict(config) if config.refine != "none" else None,
            "seconds": round(seconds, 1),
            "remarks": [*frames.remarks, *remarks],
            **metres.notes(),
        }
        written.close(notes)
    for remark in [*frames.remarks, *remarks]:
        print(f"warning: {remark}", file=sys.stderr)
    count = len(written.poses)
    print(f"{count} frames in {seconds:.1f} s ({count / seconds:.2f} a second); lengths: {metres.notes()['unit']}")
    print(f"results: {folder}; to look at: {folder / 'report.html'}")


if __name__ == "__main__":
    run(main)
