"""Measures what the documents say: tools/results.py --flagfile=configs/X_errors.flags --data=DIR --output_dir=DIR"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from absl import flags

from glnet_tf.cli.calling import call_once
from glnet_tf.cli.flagging import run
from glnet_tf.errors import ConfigError
from glnet_tf.files import make_folder, read_json, write_json

STAGES = {"none": "as predicted", "fusion": "fusion", "pft": "PFT", "oft": "OFT", "pft_oft": "PFT, then OFT"}
# The errors that are printed, whichever of them a test has.
SHOWN = (
    *("depth_abs_rel", "flow_epe", "translation_deg", "rotation_deg"),
    *(
        "abs_rel",
        "abs_rel_constant",
        "abs_rel_rows",
        "rmse",
        "delta1",
        "epe",
        "f1",
        "ate",
        "rpe_rotation_deg",
        "flat_share",
        "flat_frames",
    ),
)

flags.DEFINE_multi_string(
    "test",
    [],
    "NAME: TOOL FLAGS, TOOL refine (its stages) or evaluate (as predicted and fused); may be repeated",
)
flags.DEFINE_string("data", "", "folder of the data; FLAGS call it {data}")
flags.DEFINE_string("output_dir", "", "folder for the results of every test; the same command goes on with the rest")
flags.DEFINE_string("output", "", "JSON file for all errors, by test, stage and name")


def main() -> None:
    for name in ("test", "data", "output_dir", "output"):
        if not getattr(flags.FLAGS, name):
            raise ConfigError(f"--{name}=: is missing; see configs/kitti_lite_errors.flags")
    folder = make_folder(Path(flags.FLAGS.output_dir), "output_dir")
    found = {}
    for number, test in enumerate(flags.FLAGS.test):
        name, _, command = test.partition(": ")
        print(f"{name} ({number + 1} of {len(flags.FLAGS.test)})", file=sys.stderr)
        tool, *given = shlex.split(command.replace("{data}", shlex.quote(flags.FLAGS.data)))
        found[name] = {"refine": refined, "evaluate": evaluated}[tool](given, folder / name.replace(" ", "_"))
        print(as_markdown(name, found[name]), end="\n\n", flush=True)
    write_json(Path(flags.FLAGS.output), found)


def refined(given: list[str], place: Path) -> dict[str, dict[str, float]]:
    """Returns the errors of every stage of a refinement."""
    call_once(place.with_name(f"{place.name}.done"), "refine", *given, f"--output_dir={place}")
    return of_stages(read_json(place / "table.json", "errors by stage", {str: {str: float}}))


def evaluated(given: list[str], place: Path) -> dict[str, dict[str, float]]:
    """Returns the errors as predicted, and after fusion."""
    found = {}
    for stage in ("none", "fusion"):
        file = place.with_name(f"{place.name}_{stage}.json")
        call_once(file.with_suffix(".done"), "evaluate", *given, f"--refine={stage}", f"--output={file}")
        found[stage] = read_json(file, "an evaluation", {"metrics": {str: float}})["metrics"]
    return of_stages(found)


def of_stages(errors: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns errors rounded, by what the stages are called."""
    return {
        STAGES[stage]: {name: float(f"{value:.4g}") for name, value in values.items()}
        for stage, values in errors.items()
    }


def as_markdown(test: str, stages: dict[str, dict[str, float]]) -> str:
    """Returns a table of a test: a row for every stage, a column for every error that is shown."""
    names = [name for name in SHOWN if name in stages["as predicted"]]
    head = [f"| {test} | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    rows = [f"| {stage} | {' | '.join(f'{errors[name]:.4g}' for name in names)} |" for stage, errors in stages.items()]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    run(main)
