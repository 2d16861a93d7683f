"""Trains weights in stages: python tools/make_weights.py --flagfile=configs/street_lite.flags --output_dir=DIR"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from statistics import mean

from absl import flags

from glnet_tf.cli.calling import call_command, call_once
from glnet_tf.cli.flagging import run
from glnet_tf.errors import ConfigError
from glnet_tf.files import make_folder, read_json_lines, write_json

EVERY = 50

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
    runs: list[Path] = []
    for number, stage in enumerate(given.stage):
        name, _, command = stage.partition(": ")
        run_dir = folder / name.replace(" ", "_")
        print(f"{name} ({number + 1} of {len(given.stage)})", file=sys.stderr)
        placed = command.replace("{data}", shlex.quote(given.data)).replace(
            "{before}", shlex.quote(str(runs[-1]) if runs else "")
        )
        places = f"--cache_dir={folder / 'cache'}", f"--run_dir={run_dir}"
        call_once(run_dir / "finished", "train", *shlex.split(placed), *places)
        runs.append(run_dir)
    write_json(folder / "curves.json", {run.name: curves(run) for run in runs})
    call_command(
        *("export", "--format=weights", f"--run_dir={runs[-1]}"),
        *(f"--output_dir={folder}", f"--licence={given.licence}"),
    )


def curves(run_dir: Path) -> dict[str, dict[str, list[float]]]:
    """Returns what a run minimised, means of EVERY steps each, and its validations, by name, against the step."""
    lines = read_json_lines(run_dir / "metrics.jsonl", {"step": int})
    steps = [line for line in lines if "validation" not in line]
    groups = [steps[i : i + EVERY] for i in range(0, len(steps), EVERY)]
    # FlowNet's first steps are of another kind.
    means = [
        {name: mean(x[name] for x in group if name in x) for name in group[-1]} | {"step": group[-1]["step"]}
        for group in groups
    ]
    of_kind = {tuple(found): [x for x in means if x.keys() == found.keys()] for found in means}
    found = {f"training {number}": rows for number, rows in enumerate(of_kind.values(), 1)}
    found["validation"] = [{"step": x["step"], **x["validation"]} for x in lines if "validation" in x]
    return {
        part: {name: [float(f"{row[name]:.5g}") for row in rows] for name in rows[0]}
        for part, rows in found.items()
        if rows
    }


if __name__ == "__main__":
    run(main)
