"""Trains weights in stages: python tools/make_weights.py --flagfile=configs/street_lite.flags --output_dir=DIR"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from absl import flags

from glnet_tf.cli.calling import call_command, call_once
from glnet_tf.cli.flagging import run
from glnet_tf.errors import ConfigError
from glnet_tf.files import make_folder

flags.DEFINE_multi_string(
    "stage",
    [],
    "NAME: FLAGS of tools/train.py, where {before} is the run of the stage before; may be repeated",
)
flags.DEFINE_string("data", "", "folder of the data; FLAGS call it {data}")
flags.DEFINE_string("output_dir", "", "folder for the runs and the weights; the same command goes on where it was")
flags.DEFINE_string("licence", "", "notice that is printed when the weights are loaded")


def main() -> None:
    given = flags.FLAGS
    if not (given.stage and given.output_dir):
        raise ConfigError("--stage and --output_dir: expected both; see configs/street_lite.flags")
    folder = make_folder(Path(given.output_dir), "output_dir")
    before = ""
    for number, stage in enumerate(given.stage):
        name, _, command = stage.partition(": ")
        run_dir = folder / name.replace(" ", "_")
        print(f"{name} ({number + 1} of {len(given.stage)})", file=sys.stderr)
        placed = command.replace("{data}", shlex.quote(given.data)).replace("{before}", shlex.quote(before))
        places = f"--cache_dir={folder / 'cache'}", f"--run_dir={run_dir}"
        call_once(run_dir / "finished", "train", *shlex.split(placed), *places)
        before = str(run_dir)
    call_command(
        *("export", "--format=weights", f"--run_dir={before}"),
        *(f"--output_dir={folder}", f"--licence={given.licence}"),
    )


if __name__ == "__main__":
    run(main)
