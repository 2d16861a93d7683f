"""What is evaluated: the predictions of a trained model, or arrays that any system left in files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.config import REFINEMENT_LOSS, DataConfig, LossConfig, RefinementConfig
from glnet_tf.data.datasets.folder import DEPTH_SCALE
from glnet_tf.data.files.arrays import read_depth_png, read_flo, read_kitti_flow
from glnet_tf.data.pipeline import batches
from glnet_tf.data.source import Source
from glnet_tf.errors import DataError
from glnet_tf.files import read_array
from glnet_tf.geometry.camera import intrinsics_from_field_of_view, resize_intrinsics
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.sizes import depth_size, flow_size
from glnet_tf.progress import progress_bar
from glnet_tf.refinement.refiner import Refiner
from glnet_tf.structures import MIDDLE, Predictions, Snippet
from glnet_tf.training.checkpoints import Architecture
from glnet_tf.training.weights import load_model

DEPTH_SUFFIXES = (".npz", ".npy", ".png")
PREDICT = RefinementConfig(refine="none")
FLOW_SUFFIXES = (".flo", ".npz", ".npy", ".png")


class Prediction(NamedTuple):
    """What is said about a frame, in NumPy.

    Attributes:
      disparity: [h, w] inverse depth, up to scale.
      flow: [h, w, 2] to the next frame, pixels.
      motions: [2, 4, 4] T from the frame before and to the next, up to scale.
      intrinsics: [3, 3] K in pixels of these maps.
    """

    disparity: np.ndarray
    flow: np.ndarray
    motions: np.ndarray
    intrinsics: np.ndarray

    def for_evaluation(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns inverse depth, flow, and the motion to the next frame."""
        return self.disparity, self.flow, self.motions[1]


def prediction_of(predictions: Predictions, i: int, frame: int = MIDDLE) -> Prediction:
    """Returns what member i of a batch says about a frame that has a next one; before the first, the camera rests."""
    before = predictions.poses[i, frame - 1] if frame else tf.eye(4)
    return Prediction(
        disparity=predictions.disparities[0][i, frame, ..., 0].numpy(),
        flow=predictions.flows[0][i, frame].numpy(),
        motions=tf.stack([before, predictions.poses[i, frame]]).numpy(),
        intrinsics=predictions.intrinsics[i].numpy(),
    )


class ModelPredictions:
    """The predictions of a trained model.

    Args:
      weights: name of weights that ship, a weights file, or the folder of a training run.
      loss, config: the objective and form of a refinement; by default there is none.

    Attributes:
      size: (h, w) of the depth, that of the last source.
    """

    def __init__(self, weights: str | Path, loss: LossConfig = REFINEMENT_LOSS, config: RefinementConfig = PREDICT):
        self.model, self.architecture = load_model(weights)
        self.size = self.model.image_size
        self._loss, self._config = loss, config

    def of(
        self, source: Source, data: DataConfig, indices: Sequence[int]
    ) -> Iterator[tuple[int, Prediction, np.ndarray]]:
        """Yields number, prediction and given K, [3, 3] (0 if unknown), of a source's snippets, with a progress bar."""
        self.size = depth_size(self.model.image_size, source.shapes)
        height, width = flow_size(self.size, self._config.flow_scale)
        data = dataclasses.replace(data, image_height=height, image_width=width)
        refiner = Refiner(self.model, self._loss, self._config, size=self.size, image_size=(height, width))
        with progress_bar(len(indices), "predicting", "snippet") as bar:
            for snippet, shapes in snippets_of(self.architecture, source, data, indices):
                refined = refiner(assume_intrinsics(snippet, self.model, shapes))
                given = resize_intrinsics(snippet.intrinsics, (height, width), self.size).numpy()
                for i, index in enumerate(snippet.index.numpy()):
                    prediction = prediction_of(refined.final, i)._replace(flow=refined.flow[i, MIDDLE].numpy())
                    yield int(index), prediction, given[i]
                bar.update(len(snippet.index))


def snippets_of(
    architecture: Architecture, source: Source, data: DataConfig, indices: Sequence[int]
) -> Iterator[tuple[Snippet, tf.Tensor]]:
    """Yields batches of snippets of a source, with the cameras' numbers in the model's own list, -1 for others; and the
    shapes, [B], of their cameras' own images."""
    known = architecture.cameras
    cameras = [known.index(name) if name in known else -1 for name in source.cameras]
    for snippet in batches(source, data, indices):
        yield snippet._replace(camera=tf.gather(cameras, snippet.camera)), tf.gather(source.shapes, snippet.camera)


def assume_intrinsics(snippet: Snippet, model: GLNet, shapes: tf.Tensor | None = None) -> Snippet:
    """Returns a batch in which an unknown K is that of the model's field of view: a given K still has to be one.

    A model that has a K of its own only takes the shape of an unseen camera's pixels from it: it never sees the true K.

    Args:
      snippet: the batch.
      model: whose field of view.
      shapes: [B] width over height of the cameras' own images; None: as these images'.
    """
    height, width = tf.unstack(tf.shape(snippet.images)[2:4])
    assumed = intrinsics_from_field_of_view(model.field_of_view, height, width, shapes)
    known = tf.reduce_any(snippet.intrinsics != 0, axis=[1, 2], keepdims=True)
    known &= model.source_of_intrinsics == "given"
    return snippet._replace(intrinsics=tf.where(known, snippet.intrinsics, assumed))


def find_files(folder: Path, labels: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Returns the file of every label SCENE/FRAME: folder/SCENE/FRAME, or folder/FRAME where there is only one scene.

    Raises:
      DataError: a label has no file; the message counts them.
    """
    one_scene = len({label.rpartition("/")[0] for label in labels}) == 1
    found, missing = [], []
    for label in labels:
        names = [label, label.rpartition("/")[2]] if one_scene else [label]
        files = [folder / (name + suffix) for name in names for suffix in suffixes]
        existing = [file for file in files if file.exists()]
        found += existing[:1]
        missing += [] if existing else [label]
    if missing:
        raise DataError(
            f"{folder}: has {len(found)} of {len(labels)} predictions, not {missing[0]}: expected it as "
            f"{missing[0]}{' or '.join(suffixes)}; predict every frame that has a truth"
        )
    return found


def read_depth(file: Path) -> np.ndarray:
    """Returns a predicted depth map, [h, w], of an .npz, .npy or 16-bit PNG file."""
    depth = read_depth_png(file, DEPTH_SCALE) if file.suffix == ".png" else read_array(file, "depth")
    depth = depth[..., 0] if depth.ndim == 3 and depth.shape[-1] == 1 else depth
    if depth.ndim != 2:
        raise DataError(f"{file}: has shape {depth.shape}: expected (height, width); save one depth map per file")
    return depth


def read_flow(file: Path) -> np.ndarray:
    """Returns a predicted flow, [h, w, 2] pixels, NaN where the file says that it is unknown."""
    if file.suffix in (".flo", ".png"):
        flow, valid = read_flo(file) if file.suffix == ".flo" else read_kitti_flow(file)
        return np.where(valid[..., np.newaxis], flow, np.nan)
    flow = read_array(file, "flow")
    if flow.ndim != 3 or flow.shape[-1] != 2:
        raise DataError(f"{file}: has shape {flow.shape}: expected (height, width, 2); save (u, v) in pixels")
    return flow
