"""The run folder: which architecture it holds, its latest and its best checkpoint, each written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from glnet_tf.config import ModelConfig, settings_of
from glnet_tf.errors import CheckpointError, DataError, GLNetError, reason_of
from glnet_tf.files import check_settings, make_folder, read_json, write_json
from glnet_tf.folders import locked
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.sizes import STRIDE
from glnet_tf.parsing import misfit

# Of the images' sides, pixels: far beyond what any memory holds the training of.
MAX_SIDE = 2**13
FIELDS = {"model": dict, "image_height": int, "image_width": int, "cameras": [str], "shapes": [float]}

NOTE = "architecture.json"
TRAINING = "training.json"


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


def open_run_folder(run_dir: Path, wanted: Architecture) -> None:
    """Notes the architecture of a new run folder, or checks that an existing one is the wanted one.

    Raises:
      ConfigError: the folder holds another architecture.
      DataError: another process trains there, or the folder cannot be written.
    """
    with locked(make_folder(run_dir, "run_dir")):
        if (run_dir / NOTE).exists():
            check_settings(run_dir / NOTE, _flat(read_architecture(run_dir)), _flat(wanted), "run_dir")
        else:
            write_json(run_dir / NOTE, dataclasses.asdict(wanted))


def note_training(run_dir: Path, configs: Sequence[Any], **others: Any) -> None:
    """Notes how a run is trained, and says what of it is another way than before.

    Args:
      run_dir: the run folder.
      configs: data, loss and training.
      others: what else may differ.
    """
    path = run_dir / TRAINING
    now = json.loads(json.dumps({**dict(pair for config in configs for pair in settings_of(config).items()), **others}))
    before = read_json(path, "how a run is trained", dict) if path.exists() else now
    changes = [f"{name}={now[name]} (was {before[name]})" for name in now if before.get(name, now[name]) != now[name]]
    if changes:
        print(f"{run_dir}: goes on with other settings: {', '.join(changes)}", file=sys.stderr)
    write_json(path, now)


def architecture_of(fields: dict[str, Any]) -> Architecture:
    """Returns the architecture of fields that a file holds.

    Raises:
      CheckpointError: they are not those of one; without the file's name.
    """
    wrong = misfit(fields, FIELDS)
    try:
        found = None if wrong else Architecture(**{**fields, "model": ModelConfig(**fields["model"])})
    except (GLNetError, TypeError) as error:
        raise CheckpointError(f"{error}") from None
    if found is None or not found.cameras:
        raise CheckpointError(wrong or "it has no camera")
    if not all(side in range(STRIDE, MAX_SIDE + 1, STRIDE) for side in (found.image_height, found.image_width)):
        raise CheckpointError(f"its images are {found.image_height}x{found.image_width}")
    if len(found.shapes) not in (0, len(found.cameras)) or not all(0 < x < math.inf for x in found.shapes):
        raise CheckpointError(f"its shapes are {found.shapes[:5]}, of {len(found.cameras)} cameras")
    return dataclasses.replace(found, cameras=tuple(found.cameras), shapes=tuple(found.shapes))


def _flat(architecture: Architecture) -> dict[str, object]:
    fields = dataclasses.asdict(architecture)
    return {**fields.pop("model"), **fields}


def read_architecture(run_dir: Path) -> Architecture:
    """Returns the architecture of a run folder.

    Raises:
      CheckpointError: the folder is none, or its note is damaged.
    """
    path = run_dir / NOTE
    if not path.exists():
        raise CheckpointError(f"{run_dir}: not a run folder (no {NOTE}); give the --run_dir of a training run")
    try:
        return architecture_of(read_json(path))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: damaged ({error}); restore the file or train in a new --run_dir") from None


class Checkpoints:
    """The latest and the best state of a run.

    Args:
      run_dir: the run folder.
      state: everything that a resumed run needs to go on bit for bit.
    """

    def __init__(self, run_dir: Path, state: tf.train.Checkpoint):
        self._run_dir, self._state = run_dir, state
        self._latest = tf.train.CheckpointManager(state, str(run_dir / "latest"), max_to_keep=2)
        self._best = tf.train.CheckpointManager(state, str(run_dir / "best"), max_to_keep=1)

    def restore(self) -> bool:
        """Restores the newest state, latest or best; returns False in a new run.

        Raises:
          CheckpointError: none of those that are there is whole, or it does not fit.
        """
        there = checkpoints_in(self._run_dir / "latest") + checkpoints_in(self._run_dir / "best")
        found = first_whole(sorted(there, key=step_of, reverse=True))
        if found is not None:
            restore(self._state, found)
        return found is not None

    def save(self, step: int, best: bool) -> None:
        """Saves the state as the latest, and before that as the best if it is.

        Raises:
          DataError: it cannot be written, or the run folder is gone.
        """
        for manager in [self._best] * best + [self._latest]:
            place = Path(manager.directory)
            if not (self._run_dir / NOTE).exists():
                raise DataError(
                    f"{self._run_dir}: is gone, or no run folder any more (no {NOTE}): expected to save step {step} "
                    "there; where it was moved, go on from there"
                )
            try:
                manager.save(checkpoint_number=step)
            except (OSError, tf.errors.OpError) as error:
                shutil.rmtree(place / f"ckpt-{step}_temp", ignore_errors=True)
                raise DataError(
                    f"{place}: step {step} cannot be written ({reason_of(error)}); make room, or choose a folder with "
                    "space and write access; the checkpoint of an earlier step is kept"
                ) from None
            # Also those that a killed process did not come to remove.
            for old in checkpoints_in(place)[2 if manager is self._latest else 1 :]:
                for file in place.glob(f"{Path(old).name}.*"):
                    file.unlink(missing_ok=True)


def checkpoints_in(folder: Path) -> list[str]:
    """Returns the checkpoints that lie in a folder, the newest first, whatever TensorFlow's note there says."""
    found = (file.stem for file in folder.glob("ckpt-*.index") if file.stem[5:].isdecimal())
    return sorted((str(folder / name) for name in found), key=step_of, reverse=True)


def step_of(checkpoint: str) -> int:
    """Returns the step that a checkpoint is named after."""
    return int(checkpoint.rpartition("-")[2])


def first_whole(checkpoints: Sequence[str]) -> str | None:
    """Returns the first whole one of checkpoints, and says which were passed over; None if there are none.

    Raises:
      CheckpointError: there are some, and all are damaged.
    """
    damaged = ""
    for checkpoint in checkpoints:
        try:
            reader = tf.train.load_checkpoint(checkpoint)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
        # Damaged bytes surface as almost any exception.
        except Exception as error:
            damaged = damaged or f"{checkpoint}: damaged ({reason_of(error)})"
            continue
        if damaged:
            print(f"warning: {damaged}; {checkpoint} is taken", file=sys.stderr)
        return checkpoint
    if damaged:
        raise CheckpointError(f"{damaged}, and no other is whole; restore it, or give another folder")
    return None


def restore(state: tf.train.Checkpoint, checkpoint: str) -> Any:
    """Returns the status of a checkpoint that was restored; raises CheckpointError where it does not fit."""
    try:
        return state.restore(checkpoint).assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise CheckpointError(
            f"{checkpoint}: cannot be restored ({reason_of(error)}); give the flags it was made with, or another "
            "--run_dir"
        ) from None


def load_run(run_dir: Path, which: str) -> tuple[GLNet, Architecture]:
    """Returns the trained model of a run folder, see `weights.load_model`."""
    architecture = read_architecture(run_dir)
    found = first_whole(checkpoints_in(run_dir / which) + checkpoints_in(run_dir / "latest"))
    if found is None:
        raise CheckpointError(f"{run_dir}: no checkpoint yet; train further, or give another --run_dir")
    model = architecture.build(weights=False)
    model.build_variables()
    restore(tf.train.Checkpoint(model=model), found).expect_partial()
    return model, architecture
