"""A run folder whose networks learned nothing, and tools as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tensorflow as tf

from glnet_tf.config import ModelConfig
from glnet_tf.training.checkpoints import Architecture, open_run_folder

TOOLS = Path(__file__).resolve().parents[2] / "tools"
HEIGHT, WIDTH = 32, 96


def write_run(folder: Path, intrinsics: str) -> None:
    """Writes a run folder; `intrinsics` as in ModelConfig."""
    config = ModelConfig(
        encoder="efficientnet_lite0", encoder_weights="none", flow_net="matching", camera_net="solved",
        intrinsics=intrinsics,
    )  # fmt: skip
    architecture = Architecture(config, HEIGHT, WIDTH, ("street",), (WIDTH / HEIGHT,))
    open_run_folder(folder, architecture)
    model = architecture.build()
    model.build_variables()
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(folder / "latest"), 1).save()


def run_tool(name: str, *arguments: object) -> subprocess.CompletedProcess:
    """Runs tools/NAME with arguments, and returns its exit code and what it printed."""
    return subprocess.run(
        [sys.executable, str(TOOLS / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
