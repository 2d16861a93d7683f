"""What one lane makes and another one reads, as a script for either's Python: lane.py make|serve|read FOLDER.

make: a run folder after two steps and its weights in a file; serve: a SavedModel, too, which takes a minute; and what
they say of an image, answers.npz. read: what they say here, after which the run goes on by a step: answers_read.npz.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, RefinementConfig, StreetConfig, TrainingConfig
from glnet_tf.data.sources import open_source
from glnet_tf.inference.export import export_saved_model
from glnet_tf.training.trainer import Trainer
from glnet_tf.training.weights import load_model, write_weights

SIZE = HEIGHT, WIDTH = 64, 96
IMAGES = np.random.default_rng(0).uniform(size=(1, HEIGHT, WIDTH, 3)).astype(np.float32)


def train(run_dir: Path, steps: int) -> Trainer:
    """A run on a rendered street, up to a step."""
    street = StreetConfig(streets=1, street_frames=6)
    data = DataConfig(
        dataset="street", image_height=HEIGHT, image_width=WIDTH, batch_size=1, cache_dir="", street=street
    )
    model = dataclasses.replace(ModelConfig(), encoder_weights="none", intrinsics="given")
    training = TrainingConfig(weights="", steps=steps, ramp_steps=1, warmup_steps=0, checkpoint_steps=100)
    source = open_source(data, "train")
    trainer = Trainer(run_dir, source, None, data, model, LossConfig(), training)
    trainer.run()
    return trainer


def answers(folder: Path) -> dict[str, np.ndarray]:
    """Inverse depth of an image by everything in the folder, and by weights that ship."""
    images = tf.constant(IMAGES)
    found = {
        name: load_model(place)[0].depth_net(images)[0].numpy()
        for name, place in {
            "run": folder / "run", "weights": folder / "weights.npz", "shipped": "street-lite",
        }.items()
    }  # fmt: skip
    if (folder / "served").exists():
        served = tf.saved_model.load(str(folder / "served")).signatures["depth"]
        found["served"] = served(images=images)["disparity"].numpy()
    return found


def main(what: str, folder: Path) -> None:
    if what != "read":
        trainer = train(folder / "run", 2)
        write_weights(trainer.model, trainer.architecture, folder / "weights.npz")
        if what == "serve":
            export_saved_model(trainer.model, LossConfig(), RefinementConfig(), folder / "served")
        np.savez(folder / "answers.npz", **answers(folder))
    else:
        found = answers(folder)
        step = int(train(folder / "run", 3).step)
        np.savez(folder / "answers_read.npz", step=step, **found)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
