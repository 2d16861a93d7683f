"""Prepares data for training: python tools/prepare.py --dataset=video --data_dir=VIDEOS --output_dir=OUT."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from absl import flags

from glnet_tf.cli.flagging import check_data, config_from_flags, define
from glnet_tf.config import DataConfig
from glnet_tf.errors import ConfigError

define(DataConfig)
flags.DEFINE_string("output_dir", "", "folder of the prepared data; an interrupted preparation goes on")
flags.DEFINE_enum("format", "folder", ("folder", "records"), "images, or TFRecords as well (images in OUT/frames)")
flags.DEFINE_integer("jobs", 0, "threads; 0: one per processor", lower_bound=0)

# What --help shows, in this order.
FIRST = (
    "dataset",
    "data_dir",
    "output_dir",
    "format",
    "image_height",
    "image_width",
    "target_parallax",
    "min_parallax",
    "jobs",
)


def main() -> None:
    data = config_from_flags(DataConfig)
    if not flags.FLAGS.output_dir:
        raise ConfigError("--output_dir is missing: expected the folder that the preparation is to fill")
    check_data(data)
    from glnet_tf.files import make_folder
    from glnet_tf.folders import locked

    output = make_folder(Path(flags.FLAGS.output_dir), "output_dir")
    with locked(output):
        fill(data, output)


def fill(data: DataConfig, output: Path) -> None:
    """Writes what is missing in the folder, and says what was left out."""
    from glnet_tf.data.preparation.prepare import prepare

    options = flags.FLAGS
    frames = output / "frames" if options.format == "records" else output
    done = prepare(data, frames, options.jobs)
    for line in done.notes:
        print(f"left out: {line}", file=sys.stderr)
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(done.left_out.items())) or "none"
    state = f"{done.written} written now" if done.written else "nothing to do"
    print(f"{frames}: {done.frames} frames of {done.scenes} scenes, {state}")
    print(f"left out: {counts}; each is listed with its reason in {frames / 'manifest.json'}")
    if options.format == "records":
        write(dataclasses.replace(data, target_parallax=0.0), frames, output)
    print(f"train on it with --dataset={options.format} --data_dir={output}")


def write(data: DataConfig, frames: Path, output: Path) -> None:
    """Writes the records of prepared frames, those that are missing."""
    from glnet_tf.data.datasets.folder import FolderSource
    from glnet_tf.data.files.records import write_records

    written = write_records(FolderSource(frames, part="all", config=data), output)
    print(f"{output}: " + (f"{written} shards written now" if written else "shards complete, nothing to do"))
