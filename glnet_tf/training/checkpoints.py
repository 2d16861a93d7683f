"""The run folder: which architecture it holds, its latest and its best checkpoint, each written whole or not at all."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import tensorflow as tf

from glnet_tf.config import ModelConfig
from glnet_tf.errors import CheckpointError, GLNetError
from glnet_tf.files import check_settings, make_folder, read_json, write_json
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.sizes import STRIDE
from glnet_tf.parsing import misfit

# Of the images' sides, pixels: far beyond what any memory holds the training of.
MAX_SIDE = 2**13
FIELDS = {"model": dict, "image_height": int, "image_width": int, "cameras": [str], "shapes": [float]}


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
    """
    path = run_dir / "architecture.json"
    if path.exists():
        check_settings(path, _flat(read_architecture(run_dir)), _flat(wanted), "run_dir")
        return
    write_json(make_folder(run_dir, "run_dir") / path.name, dataclasses.asdict(wanted))


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
    path = run_dir / "architecture.json"
    if not path.exists():
        raise CheckpointError(
            f"{run_dir}: not a run folder (no architecture.json); give the --run_dir of a training run"
        )
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
