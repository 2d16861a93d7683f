"""What a refinement works on, and with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from glnet_tf.config import DataConfig, LossConfig, RefinementConfig
from glnet_tf.data.base import Source
from glnet_tf.inference.predictions import assume_intrinsics, snippets_of
from glnet_tf.models.glnet import GLNet
from glnet_tf.structures import Snippet
from glnet_tf.training.checkpoints import Architecture


@dataclasses.dataclass(frozen=True)
class Task:
    """Snippets, the network that is asked about them, and how its answers are refined.

    Attributes:
      run: name of the network's training run; a folder never mixes the results of two.
      model, architecture: of it, see training.weights.load_model.
      source, indices: the snippets.
      data: with the size that the model was made for.
      loss, config: the objective, and its minimisation.
    """

    run: str
    model: GLNet
    architecture: Architecture
    source: Source
    indices: Sequence[int]
    data: DataConfig
    loss: LossConfig
    config: RefinementConfig

    def settings(self) -> dict[str, Any]:
        """Returns what the results depend on."""
        return {
            "run": self.run,
            "data": self.source.name,
            **dataclasses.asdict(self.loss),
            **dataclasses.asdict(self.config),
        }

    def snippets(self, indices: Sequence[int], batch_size: int | None = None) -> Iterator[Snippet]:
        """Yields batches of some of the snippets, every one with a K."""
        data = dataclasses.replace(self.data, batch_size=batch_size or self.data.batch_size)
        for snippet, shapes in snippets_of(self.architecture, self.source, data, indices):
            yield assume_intrinsics(snippet, self.model, shapes)
