"""A network that goes on learning on one video, from which it may never have seen a frame."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from glnet_tf.config import DataConfig, LossConfig, RefinementConfig
from glnet_tf.data.base import Source
from glnet_tf.inference.predictions import assume_intrinsics, snippets_of
from glnet_tf.models.glnet import GLNet
from glnet_tf.refinement.parameters import ParameterRefinement, kept_weights
from glnet_tf.refinement.runner import loss_weights
from glnet_tf.structures import snippet_signature
from glnet_tf.training.checkpoints import Architecture, claim


def adapt(
    model: GLNet,
    architecture: Architecture,
    source: Source,
    indices: Sequence[int],
    folder: Path,
    data: DataConfig,
    loss: LossConfig,
    config: RefinementConfig,
) -> None:
    """Passes config.epochs times over a video with PFT, each batch from the parameters of the one before.

    After every pass the parameters are kept, as a run folder for the other tools; a pass that was interrupted is
    repeated. A batch whose objective is not finite changes nothing.

    Args:
      model: it is changed.
      architecture: of its run, see training.checkpoints.load_model.
      source, indices: the snippets, in the order in which they are passed.
      folder: of the new run.
      data: with the size that the model was made for.
      loss, config: the objective, and the iterations and rates of PFT.
    """
    claim(folder, architecture)
    checkpoint = tf.train.Checkpoint(model=model)
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "latest"), max_to_keep=1)
    passed = 0
    if manager.latest_checkpoint is not None:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        passed = int(manager.latest_checkpoint.rpartition("-")[2])
    pft = ParameterRefinement(model, loss_weights(loss, config), loss, config, snippet_signature(*model.image_size))
    interval = 0.5 if sys.stderr.isatty() else 30.0
    total, done = config.epochs * len(indices), passed * len(indices)
    with tqdm(total=total, initial=done, desc="adapting", unit="snippet", mininterval=interval) as bar:
        for number in range(passed, config.epochs):
            for snippet in snippets_of(architecture, source, data, indices):
                with kept_weights(model) as let_go:
                    history, finite = pft.run(assume_intrinsics(snippet, model))
                    if finite:
                        let_go()
                bar.update(len(snippet.index))
                bar.set_postfix_str(f"objective={float(tf.reduce_mean(history.total[-1])):.4f}", refresh=False)
            manager.save(checkpoint_number=number + 1)
