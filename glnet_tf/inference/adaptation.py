"""A network that goes on learning on one video, from which it may never have seen a frame."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from glnet_tf.inference.task import Task
from glnet_tf.losses.objective import loss_weights
from glnet_tf.models.observation import make_observe
from glnet_tf.progress import progress_bar
from glnet_tf.refinement.pft import ParameterRefinement, restored_weights
from glnet_tf.refinement.refiner import target
from glnet_tf.structures import snippet_signature
from glnet_tf.training.checkpoints import open_run_folder


def adapt(task: Task, folder: Path) -> None:
    """Passes config.epochs times over a video with PFT, each batch from the parameters of the one before.

    After every pass the parameters are kept, as a run folder for the other tools; a pass that was interrupted is
    repeated. A batch whose objective is not finite changes nothing.

    Args:
      task: the model, which is changed, the snippets in the order in which they are passed, the iterations and rates.
      folder: of the new run.
    """
    model, config, count = task.model, task.config, len(task.indices)
    open_run_folder(folder, task.architecture)
    checkpoint = tf.train.Checkpoint(model=model)
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "latest"), max_to_keep=1)
    passed = 0
    if manager.latest_checkpoint is not None:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        passed = int(manager.latest_checkpoint.rpartition("-")[2])
    weights = loss_weights(task.loss, config.two_branch_weight)
    pft = ParameterRefinement(model, weights, task.loss, config, snippet_signature(*task.size))
    observe = tf.function(make_observe(model, task.size), autograph=False)
    with progress_bar(config.epochs * count, "adapting", "snippet", passed * count) as bar:
        for number in range(passed, config.epochs):
            for snippet in task.snippets(task.indices):
                seen = observe(snippet)
                with restored_weights(model) as keep:
                    history, finite = pft.run(seen.snippet, seen.predictions, target(seen.fused, seen.confidence))
                    if finite:
                        keep()
                bar.update(len(snippet.index))
                if history is not None:
                    bar.set_postfix_str(f"objective={float(tf.reduce_mean(history.total[-1])):.4f}", refresh=False)
            manager.save(checkpoint_number=number + 1)
