"""Measures the speed and the memory of the library's parts: python tools/benchmark.py --output=FILE.json"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from glnet_tf.cli.flagging import config_from_flags, define, run
from glnet_tf.config import DataConfig, LossConfig, ModelConfig, settings_of
from glnet_tf.files import read_json, write_json

define(DataConfig, LossConfig, ModelConfig)
PARTS = ("step", "first", "losses", "scaling", "inference", "refinement", "pipeline")
PAPER = ["--encoder=resnet18", "--flow_net=stacked", "--camera_net=regressed"]
flags.DEFINE_enum(
    "what",
    "all",
    ("all", *PARTS),
    "step: training steps, networks, losses; first: seconds until first results; losses: each by itself; scaling: "
    "steps of several sizes; inference: networks per image; refinement: iterations of PFT and OFT; pipeline: snippets "
    "per second; all: each in a process of its own",
)
flags.DEFINE_string("output", "", "JSON file for the figures; empty: only print")
flags.DEFINE_integer("repeats", 5, "measurements, of which the median counts", lower_bound=1)
flags.DEFINE_integer("batches", 40, "pipeline: batches per measurement", lower_bound=1)


def main() -> None:
    what = flags.FLAGS.what
    if what == "all":
        figures = all_parts()
    else:
        from glnet_tf.training.devices import peak_gigabytes

        figures = {**measured(what), "peak_gigabytes": peak_gigabytes()}
        keep(figures)
    print(json.dumps(figures, indent=2))


def keep(figures: dict[str, Any]) -> None:
    if flags.FLAGS.output:
        write_json(Path(flags.FLAGS.output), figures)


def measured(what: str) -> dict[str, Any]:
    """Returns the figures of one part, with the ratios that they are for."""
    from glnet_tf.experiments import benchmark

    data, loss, model = (config_from_flags(config) for config in (DataConfig, LossConfig, ModelConfig))
    repeats = flags.FLAGS.repeats
    if what == "step":
        seconds = benchmark.training_times(model, data, loss, repeats)
        networks = seconds["networks"]
        ratios = {
            "step_over_networks": seconds["step"] / networks,
            "losses_over_networks": seconds["losses"] / networks,
            "depth_step_over_network": seconds["depth_step"] / seconds["depth_network"],
        }
        return {"seconds": seconds, "ratios": ratios}
    if what == "first":
        return benchmark.first_times(model, data, loss)
    if what == "losses":
        return {"seconds": benchmark.loss_times(model, data, loss, repeats)}
    if what == "scaling":
        return benchmark.scaling(model, data, loss, repeats)
    if what == "inference":
        return {"seconds": benchmark.inference_times(model, data, repeats)}
    if what == "refinement":
        seconds = benchmark.refinement_times(data, loss, repeats)
        oft = seconds["oft_iteration"]
        ratios = {
            "pft_over_oft": seconds["pft_iteration"] / oft,
            "oft_over_kernels": oft / seconds["oft_kernels"],
            "oft_over_kernels_of_both": oft / seconds["kernels_of_both"],
            "oft_over_bytes": oft / seconds["oft_bytes"],
        }
        return {"seconds": seconds, "ratios": ratios}
    rates = benchmark.pipeline_rates(data, repeats, flags.FLAGS.batches)
    return {"snippets_per_second": rates, "ratio_to_raw": {name: rate / rates["raw"] for name, rate in rates.items()}}


def all_parts() -> dict[str, Any]:
    """Returns the figures of every part, each measured in a process of its own; *_paper: of the paper's networks.

    They are kept as they come; parts that the output holds already, of the same settings, are not measured again.
    """
    figures: dict[str, Any] = {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "settings": {"repeats": flags.FLAGS.repeats, "batches": flags.FLAGS.batches},
        "ratios": {},
    }
    for config in (DataConfig, ModelConfig, LossConfig):
        figures["settings"].update(settings_of(config_from_flags(config)))
    output = Path(flags.FLAGS.output)
    if flags.FLAGS.output and output.exists():
        found = read_json(output, "figures of this tool", {"ratios": dict})
        if found.get("settings") == figures["settings"]:
            figures = found
    jobs: list[tuple[str, str, list[str]]] = [(what, what, []) for what in ("step", "first", "inference", "losses")]
    jobs += [(f"{what}_paper", what, PAPER) for what in ("step", "inference")]
    jobs += [("scaling", "scaling", []), ("refinement", "refinement", ["--batch_size=1"])]
    if flags.FLAGS.data_dir:
        jobs += [("pipeline", "pipeline", [])]
    for name, what, arguments in jobs:
        if name in figures:
            continue
        print(f"measuring {name}", file=sys.stderr)
        figures[name] = in_a_process(what, arguments)
        for ratio, value in figures[name].get("ratios", {}).items():
            figures["ratios"][f"{ratio}_paper" if name.endswith("_paper") else ratio] = value
        keep(figures)
    return figures


def in_a_process(what: str, arguments: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, *sys.argv, f"--what={what}", *arguments, f"--output={file}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return read_json(file)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    run(main)
