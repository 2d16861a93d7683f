"""The run folder: which architecture it holds, its latest and its best checkpoint, each written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from glnet_tf.config import ModelConfig
from glnet_tf.errors import CheckpointError
from glnet_tf.models.glnet import GLNet


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a run folder's weights fit: the networks, the size of their images, and the cameras that have a K each.

    `shapes` is the width over height of each camera's own images.
    """

    model: ModelConfig
    image_height: int
    image_width: int
    cameras: tuple[str, ...]
    shapes: tuple[float, ...] = ()

    def build(self, weights: bool = True) -> GLNet:
        """Returns the model with its variables made; without pretrained `weights`, for a checkpoint to fill in."""
        config = self.model if weights else dataclasses.replace(self.model, encoder_weights="none")
        return GLNet(config, len(self.cameras), self.image_height, self.image_width, self.shapes)


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name, then renames it: readers see the old content or the new."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def claim(run_dir: Path, wanted: Architecture) -> None:
    """Notes the architecture of a new run folder, or checks that an existing one is the wanted one.

    Raises:
      CheckpointError: the folder holds another architecture.
    """
    path = run_dir / "architecture.json"
    if path.exists():
        found = read_architecture(run_dir)
        for name, value in _flat(wanted).items():
            if _flat(found)[name] != value:
                raise CheckpointError(
                    f"{path}: this run has {name}={_flat(found)[name]}, not {value}; "
                    "give the same flags to resume it, or another --run_dir to start anew"
                )
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(dataclasses.asdict(wanted), indent=2))


def architecture_of(fields: dict[str, Any]) -> Architecture:
    """Returns the architecture of these fields; raises TypeError or KeyError where they are not those of one."""
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return Architecture(**{**fields, **lists, "model": ModelConfig(**fields["model"])})


def _flat(architecture: Architecture) -> dict[str, object]:
    fields = dataclasses.asdict(architecture)
    return {**fields.pop("model"), **fields}


def read_architecture(run_dir: Path) -> Architecture:
    """Returns the architecture of a run folder.

    Raises:
      CheckpointError: the folder is none, or its note is damaged.
    """
    path = run_dir / "architecture.json"
    try:
        return architecture_of(json.loads(path.read_text()))
    except FileNotFoundError:
        raise CheckpointError(
            f"{run_dir}: not a run folder (no architecture.json); give the --run_dir of a training run"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); restore the file or train in a new --run_dir") from None


class Checkpoints:
    """The latest and the best state of a run.

    Args:
      run_dir: the run folder.
      state: everything that a resumed run needs to go on bit for bit.
    """

    def __init__(self, run_dir: Path, state: tf.train.Checkpoint):
        self._state = state
        self._latest = tf.train.CheckpointManager(state, str(run_dir / "latest"), max_to_keep=2)
        self._best = tf.train.CheckpointManager(state, str(run_dir / "best"), max_to_keep=1)

    def restore(self) -> bool:
        """Restores the latest state; returns False in a new run."""
        if self._latest.latest_checkpoint is None:
            return False
        try:
            self._state.restore(self._latest.latest_checkpoint).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"{self._latest.latest_checkpoint}: cannot be restored ({reason}); "
                "give the flags it was made with, or another --run_dir"
            ) from None
        return True

    def save(self, step: int, best: bool) -> None:
        """Saves the state as the latest, and as the best if it is."""
        self._latest.save(checkpoint_number=step)
        if best:
            self._best.save(checkpoint_number=step)


def load_run(run_dir: Path, which: str) -> tuple[GLNet, Architecture]:
    """Returns the trained model of a run folder, see `weights.load_model`."""
    architecture = read_architecture(run_dir)
    found = tf.train.latest_checkpoint(str(run_dir / which)) or tf.train.latest_checkpoint(str(run_dir / "latest"))
    if found is None:
        raise CheckpointError(f"{run_dir}: no checkpoint yet; train further, or give another --run_dir")
    model = architecture.build(weights=False)
    model.build_variables()
    tf.train.Checkpoint(model=model).restore(found).assert_existing_objects_matched().expect_partial()
    return model, architecture
