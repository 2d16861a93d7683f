"""What a refinement works on, and with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from glnet_tf.config import DataConfig, LossConfig, RefinementConfig
from glnet_tf.data.source import Source
from glnet_tf.inference.predictions import assume_intrinsics, snippets_of
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.sizes import Size, depth_size, flow_size
from glnet_tf.refinement.refiner import Refiner
from glnet_tf.structures import Snippet
from glnet_tf.training.checkpoints import Architecture


@dataclasses.dataclass(frozen=True)
class Task:
    """Snippets, the network that is asked about them, and how its answers are refined.

    Attributes:
      run: name of the network's training run; a folder never mixes the results of two.
      model, architecture: of it, see training.weights.load_model.
      source, indices: the snippets.
      data: batches, and whatever else matters in reading the snippets; their size is image_size.
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

    @cached_property
    def size(self) -> Size:
        """(h, w) at which DepthNet sees the frames."""
        return depth_size(self.model.image_size, self.source.shapes)

    @cached_property
    def image_size(self) -> Size:
        """(H, W) of the snippets, at which flow is found."""
        return flow_size(self.size, self.config.flow_scale)

    def refiner(self) -> Refiner:
        """Returns the refiner of windows of config.window frames."""
        return Refiner(
            self.model, self.loss, self.config, self.config.window, size=self.size, image_size=self.image_size
        )

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
        height, width = self.image_size
        batch_size = batch_size or self.data.batch_size
        data = dataclasses.replace(self.data, batch_size=batch_size, image_height=height, image_width=width)
        for snippet, shapes in snippets_of(self.architecture, self.source, data, indices):
            yield assume_intrinsics(snippet, self.model, shapes)
