"""The commands: `glnet predict …` is the same call as `python tools/predict.py …`."""

from __future__ import annotations

import importlib
import sys

from glnet_tf.cli.signals import hear_signals

COMMANDS = {
    "predict": "depth, flow, motion and K of an image, a folder or a video",
    "train": "train the networks",
    "refine": "refine the predictions of a video or data set at test time",
    "evaluate": "errors by the published protocols, of a model or of anyone's arrays",
    "export": "a trained model for serving: SavedModel, TFLite, ONNX, or its weights",
    "prepare": "prepare videos and data sets for training",
}


def run_command(name: str) -> None:
    """Runs a command with the flags of the command line, and ends the process."""
    hear_signals()
    from glnet_tf.cli.flagging import run

    command = importlib.import_module(f"glnet_tf.cli.{name}")
    run(command.main, command.__doc__ or "", command.FIRST)


def main() -> None:
    """Runs `glnet COMMAND FLAGS`."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        lines = [f"  {command:10}{text}" for command, text in COMMANDS.items()]
        print("\n".join(["glnet COMMAND --FLAG=VALUE ...; glnet COMMAND --help", *lines]))
        sys.exit(0 if name in ("", "help", "--help", "-h") else 2)
    sys.argv[:2] = [f"glnet {name}"]
    run_command(name)
