"""Snippets and windows of a data source as a network sees them: in its size, with a camera that it knows and a K."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property

import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.pipeline import batches
from glnet_tf.data.source import Source
from glnet_tf.geometry.camera import intrinsics_from_field_of_view
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.sizes import Size, depth_size, flow_size
from glnet_tf.structures import Snippet, height_and_width
from glnet_tf.training.checkpoints import Architecture


@dataclasses.dataclass(frozen=True)
class SnippetReader:
    """Reads a source for a network.

    Attributes:
      model, architecture: from training.weights.load_model.
      source: of the snippets.
      data: batches, and whatever else matters in reading the snippets; their size is image_size.
      scale: of the images, at which flow is found, relative to the size at which depth is.
    """

    model: GLNet
    architecture: Architecture
    source: Source
    data: DataConfig
    scale: float

    @cached_property
    def size(self) -> Size:
        """(h, w) at which DepthNet sees the frames."""
        return depth_size(self.model.image_size, self.source.shapes)

    @cached_property
    def image_size(self) -> Size:
        """(H, W) of the snippets, at which flow is found."""
        return flow_size(self.size, self.scale)

    def batches(self, indices: Sequence[int] | Sequence[Sequence[int]]) -> Iterator[Snippet]:
        """Yields batches of snippets or windows, see data.pipeline.batches; a camera that is not the model's is -1."""
        height, width = self.image_size
        data = dataclasses.replace(self.data, image_height=height, image_width=width)
        known = self.architecture.cameras
        cameras = [known.index(name) if name in known else -1 for name in self.source.cameras]
        for snippet in batches(self.source, data, indices):
            shapes = tf.gather(self.source.shapes, snippet.camera)
            snippet = snippet._replace(camera=tf.gather(cameras, snippet.camera))
            yield assume_intrinsics(snippet, self.model, shapes)


def assume_intrinsics(snippet: Snippet, model: GLNet, shapes: tf.Tensor | None = None) -> Snippet:
    """Returns a batch in which an unknown K is that of the model's field of view: a given K still has to be one.

    A model that has a K of its own only takes the shape of an unseen camera's pixels from it: it never sees the true K.

    Args:
      snippet: the batch.
      model: whose field of view.
      shapes: [B] width over height of the cameras' own images; None: as these images'.
    """
    height, width = height_and_width(snippet.images)
    assumed = intrinsics_from_field_of_view(model.field_of_view, height, width, shapes)
    known = tf.reduce_any(snippet.intrinsics != 0, axis=[1, 2], keepdims=True)
    known &= model.source_of_intrinsics == "given"
    return snippet._replace(intrinsics=tf.where(known, snippet.intrinsics, assumed))
