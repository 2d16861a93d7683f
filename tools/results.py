"""Joins the tables of refinements: python tools/results.py --of=street=DIR --of=redkitchen=DIR --output=FILE.json"""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags
from flagging import run

from glnet_tf.data.formats import write_bytes
from glnet_tf.errors import ConfigError, DataError

NAMES = {
    "depth_abs_rel": "abs_rel",
    "flow_epe": "epe",
    "rotation_deg": "rotation_deg",
    "translation_deg": "translation_deg",
}
flags.DEFINE_multi_string("of", [], "NAME=DIR: a name, and the --output_dir of tools/refine.py; may be repeated")
flags.DEFINE_string("output", "", "JSON file for the joined tables")


def main() -> None:
    if not (flags.FLAGS.of and flags.FLAGS.output):
        raise ConfigError("--of=, --output=: expected --of=NAME=DIR, once or more, and --output=FILE.json")
    tables = {}
    for entry in flags.FLAGS.of:
        name, _, folder = entry.partition("=")
        tables[name] = read_table(Path(folder))
    print(as_markdown(tables))
    write_bytes(Path(flags.FLAGS.output), (json.dumps(tables, indent=2) + "\n").encode())


def read_table(folder: Path) -> dict[str, dict[str, float]]:
    """Returns the averages of a finished refinement, rounded, by stage and name."""
    try:
        found = json.loads((folder / "table.json").read_text())
    except (OSError, ValueError):
        raise DataError(f"{folder}/table.json: expected the table of a finished tools/refine.py; run it") from None
    return {
        stage: {NAMES[name]: round(value, 4) for name, value in values.items() if name in NAMES}
        for stage, values in found.items()
    }


def as_markdown(tables: dict[str, dict[str, dict[str, float]]]) -> str:
    """Returns the tables as one, a row for every name and stage."""
    lines = ["| data | refined | AbsRel | EPE, px | rotation | translation |", "| --- | --- | --- | --- | --- | --- |"]
    for data, stages in tables.items():
        for stage, values in stages.items():
            cells = [
                f"{values[name]:.3f}{unit}" if name in values else ""
                for name, unit in zip(NAMES.values(), ("", "", "°", "°"))
            ]
            lines.append(f"| {data} | {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
