"""A network that goes on learning on one video, from which it may never have seen a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.inference.snippets import SnippetReader
from glnet_tf.losses.objective import loss_weights
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.observation import make_observe
from glnet_tf.progress import progress_bar
from glnet_tf.refinement.pft import ParameterRefinement, restored_weights
from glnet_tf.refinement.refiner import target
from glnet_tf.structures import snippet_signature
from glnet_tf.training.checkpoints import checkpoints_in, first_whole, open_run_folder, restore, step_of


def adapt(
    reader: SnippetReader, indices: Sequence[int], loss: LossConfig, config: RefinementConfig, folder: Path
) -> None:
    """Passes config.epochs times over a video with PFT, each batch from the parameters of the one before.

    After every pass the parameters are kept, as a run folder for the other tools; a pass that was interrupted is
    repeated. A batch whose objective is not finite changes nothing.

    Args:
      reader: of the video's snippets, by the network that is changed.
      indices: of the snippets, in the order in which they are passed.
      loss, config: the objective, the passes, their iterations and rates.
      folder: of the new run.
    """
    model, count = reader.model, len(indices)
    open_run_folder(folder, reader.architecture)
    checkpoint = tf.train.Checkpoint(model=model)
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "latest"), max_to_keep=1)
    passed = 0
    kept = first_whole(checkpoints_in(folder / "latest"))
    if kept is not None:
        restore(checkpoint, kept)
        passed = step_of(kept)
    weights = loss_weights(loss, config.two_branch_weight)
    pft = ParameterRefinement(model, weights, loss, config, snippet_signature(*reader.size))
    observe = tf.function(make_observe(model, reader.size), autograph=False)
    with progress_bar(config.epochs * count, "adapting", "snippet", passed * count, compiles=True) as bar:
        for number in range(passed, config.epochs):
            for snippet in reader.batches(indices):
                seen = observe(snippet)
                with restored_weights(model) as keep:
                    history, finite = pft.run(seen.snippet, seen.predictions, target(seen.fused, seen.confidence))
                    if finite:
                        keep()
                bar.update(len(snippet.index))
                if history is not None:
                    bar.set_postfix_str(f"objective={float(tf.reduce_mean(history.total[-1])):.4f}", refresh=False)
            manager.save(checkpoint_number=number + 1)


class CarriedParameters:
    """Keeps the parameters that policy "sequence" carries on, so that an interrupted refinement goes on with them.

    Args:
      model: gets the parameters that were kept, if there are any.
      config: of the refinement.
      folder: of the results.
    """

    def __init__(self, model: GLNet, config: RefinementConfig, folder: Path):
        self._manager = None
        if config.policy == "sequence" and config.refine in ("pft", "both"):
            checkpoint = tf.train.Checkpoint(model=model)
            self._manager = tf.train.CheckpointManager(checkpoint, str(folder / "carried"), max_to_keep=1)
            kept = first_whole(checkpoints_in(folder / "carried"))
            if kept is not None:
                restore(checkpoint, kept)

    def keep(self) -> None:
        """Keeps the parameters as they are; nothing with policy "snippet"."""
        if self._manager is not None:
            self._manager.save()
