"""Depth, flow, motion and intrinsics of a stream of images, of which no more than two windows are ever kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.config import REFINEMENT_LOSS, LossConfig, RefinementConfig
from glnet_tf.data.files.images import as_rgb
from glnet_tf.data.pipeline import resize
from glnet_tf.data.preparation.parallax import WIDTH, parallax
from glnet_tf.errors import DataError
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.geometry.resize import resize_flow
from glnet_tf.inference.frame_prediction import WindowPrediction, share_of_motion, window_predictions
from glnet_tf.inference.snippets import assume_intrinsics
from glnet_tf.inference.windows import Window, windows
from glnet_tf.models.glnet import both_ways
from glnet_tf.models.sizes import Size, depth_size, flow_size
from glnet_tf.refinement.refiner import Refiner, large_flow
from glnet_tf.structures import FramePrediction, Predictions, Snippet
from glnet_tf.training.weights import load_model

# Frames that are predicted, and refined, together.
WINDOW = 8
MIN_SIDE = 32
# Parallax wanted between neighbouring frames, and below which the camera stands, thousandths of the width.
TARGET_PARALLAX, STANDING = 4.0, 0.2
MAX_STRIDE = 8
PREDICT = RefinementConfig(refine="fusion", window=WINDOW)


class _Frame(NamedTuple):
    """An image, [H, W, 3] uint8, and as the networks see it, [h, w, 3]."""

    image: np.ndarray
    fitted: tf.Tensor


class Predictor:
    """A trained model for images of any size, of which it sees windows of a few frames at a time.

    Args:
      weights: name of weights that ship, a weights file, or the folder of a training run, see `glnet_tf.load`.
      refinement: whether and how each window is refined; its `window` is the number of frames in one.
      loss: the objective of the refinement.
      intrinsics: [3, 3] K in pixels of the images, for models that were trained with a given K, as those that ship
        were; None: a K of the model's field of view is assumed.
      target_parallax: between the frames of a window, thousandths of the width; where the camera moves less from frame
        to frame, frames up to MAX_STRIDE apart are seen together. 0: always those that follow each other.

    Raises:
      CheckpointError: there is no such model.

    Example:
      from glnet_tf.data.frames import Frames
      from glnet_tf.inference.predictor import Predictor

      images = (frame.image for frame in Frames("drive.mp4"))
      for frame in Predictor("kitti-lite").predict(images):
          print(frame.depth.mean(), frame.confidence.mean(), frame.pose[:3, 3])
    """

    def __init__(
        self,
        weights: str | Path,
        refinement: RefinementConfig = PREDICT,
        loss: LossConfig = REFINEMENT_LOSS,
        intrinsics: np.ndarray | None = None,
        target_parallax: float = TARGET_PARALLAX,
    ):
        self.model, self.architecture = load_model(weights)
        self.intrinsics = intrinsics
        self.target_parallax = target_parallax
        self.refinement = refinement
        self.loss = loss
        self._size: Size | None = None
        self._refiners: dict[tuple[int, Size, int | None, bool], Refiner] = {}
        self._next_flow = tf.function(self._flow_between, autograph=False)

    def predict(
        self, images: Iterable[np.ndarray], done: int = 0, pose: np.ndarray | None = None
    ) -> Iterator[FramePrediction]:
        """Yields what is predicted for every image, in order; it runs ahead of the caller by one block of windows.

        Args:
          images: [H, W, 3] uint8 RGB, or what else data.files.images.as_rgb takes, of one size, at least 32 pixels a
            side; of a video in the order of time. Of a single image, only the depth means anything.
          done: how many of the first frames were predicted before: they are seen again where others need them, and left
            out.
          pose: [4, 4] camera to world of the frame after those; None: the identity.

        Raises:
          DataError: an image has no such shape, type or range, is too small, or has another size than the first.
        """
        pose = np.eye(4) if pose is None else pose
        first = 0
        for window in windows(self._fitted_all(images), self.refinement.window, stride_of=self._stride):
            wanted = range(window.first + max(0, done - first), window.last)
            first += window.last - window.first
            if not wanted:
                continue
            phases = [self._window(window.frames[phase :: window.stride]) for phase in range(window.stride)]
            for number in wanted:
                frame = self._frame(window, phases[number % window.stride], number, pose)
                pose = frame.next_pose
                yield frame

    def depth_size(self, shapes: Sequence[float]) -> Size:
        """Returns (h, w) at which DepthNet sees images of cameras of these shapes, see models.sizes."""
        return depth_size(self.model.image_size, shapes)

    def refiner(self, frames: int, size: Size, count: int | None = None, own_intrinsics: bool = False) -> Refiner:
        """Returns the refiner of windows, made once.

        Args:
          frames: of a window.
          size: (h, w) at which DepthNet sees them.
          count: of windows in a batch; None: any.
          own_intrinsics: whether OFT may change K: no for windows of one video, which share it.
        """
        key = frames, size, count, own_intrinsics
        if key not in self._refiners:
            config = (
                self.refinement if own_intrinsics else dataclasses.replace(self.refinement, oft_intrinsics_rate=0.0)
            )
            large = flow_size(size, config.flow_scale)
            self._refiners[key] = Refiner(
                self.model, self.loss, config, frames, size=size, image_size=large, count=count
            )
        return self._refiners[key]

    def _fitted_all(self, images: Iterable[np.ndarray]) -> Iterator[_Frame]:
        size: tuple[int, ...] | None = None
        for image in images:
            frame = self._fitted(image, size)
            size = frame.image.shape
            yield frame

    def _stride(self, frames: Sequence[_Frame]) -> int:
        """Frames between those that have the parallax wanted, by what neighbouring ones have."""
        greys = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY) for frame in frames]
        height = max(round(WIDTH * greys[0].shape[0] / greys[0].shape[1]), MIN_SIDE)
        small = [cv2.resize(grey, (WIDTH, height), interpolation=cv2.INTER_AREA) for grey in greys]
        found = np.mean([parallax(first, second) for first, second in zip(small, small[1:])]) if small[1:] else 0.0
        return 1 if found < STANDING else int(np.clip(np.ceil(self.target_parallax / found), 1, MAX_STRIDE))

    def _fitted(self, image: np.ndarray, size: tuple[int, ...] | None) -> _Frame:
        image = as_rgb(image)
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise DataError(
                f"an image has {width}x{height} pixels: expected at least {MIN_SIDE} either way; give larger ones"
            )
        if size is not None and image.shape != size:
            raise DataError(
                f"an image has {width}x{height} pixels, the one before {size[1]}x{size[0]}: expected images of one size"
            )
        if self._size is None or size is None:
            self._size = self.depth_size([width / height])
            # Of other sizes none is needed soon, and each takes much memory.
            self._refiners = {key: refiner for key, refiner in self._refiners.items() if key[1] == self._size}
        return _Frame(image, resize(image[np.newaxis], flow_size(self._size, self.refinement.flow_scale))[0])

    def _window(self, frames: Sequence[_Frame]) -> list[WindowPrediction]:
        """What every stage says about frames that are seen together."""
        # One image alone is its own neighbour.
        fitted = [frame.fitted for frame in frames] * (2 if len(frames) == 1 else 1)
        assert self._size is not None
        refiner = self.refiner(len(fitted), self._size, count=1)
        snippet = self._snippet(tf.stack(fitted)[tf.newaxis], frames[0].image.shape)
        return window_predictions(refiner(snippet), 0)

    def _snippet(self, images: tf.Tensor, size: tuple[int, ...]) -> Snippet:
        intrinsics = np.zeros((3, 3), np.float32) if self.intrinsics is None else np.float32(self.intrinsics)
        if self.intrinsics is not None:
            intrinsics = resize_intrinsics(intrinsics, (size[0], size[1]), images.shape[2:4])
        snippet = Snippet(
            images=images,
            intrinsics=tf.convert_to_tensor(intrinsics)[tf.newaxis],
            camera=tf.constant([-1]),
            index=tf.zeros([1], tf.int64),
            mirrored=tf.constant([False]),
        )
        return assume_intrinsics(snippet, self.model, tf.constant([size[1] / size[0]]))

    def _flow_between(
        self, images: tf.Tensor, disparities: tf.Tensor, motion: tf.Tensor, intrinsics: tf.Tensor, refined: bool
    ) -> tf.Tensor:
        """Flow between two neighbours of a block, [2, H, W, 3], rigid as after refinement: [H, W, 2].

        Depth, [1, 2, h, w, 1], is the first one's twice: of the second only the flow back is asked for.
        """
        flow = self.model.flow_net(images[tf.newaxis])[0]
        if refined:
            poses = both_ways(motion[tf.newaxis, tf.newaxis])
            flow = large_flow(flow, Predictions((disparities,), (), poses, intrinsics))
        return flow[0, 0]

    def _frame(
        self, window: Window[_Frame], stages: Sequence[WindowPrediction], number: int, pose: np.ndarray
    ) -> FramePrediction:
        """What is predicted for a frame of a window, whose camera to world is given."""
        assert self._size is not None
        image, at = window.frames[number].image, number // window.stride
        frame = stages[-1].at(at, image, pose)
        if number == len(window.frames) - 1:
            frame = frame._replace(flow=None, moving=None, motion=None)
        elif window.stride > 1:
            final = stages[-1]
            motion = share_of_motion(final.motions[min(at, len(final.motions) - 1)], window.stride)
            depth = np.repeat(final.disparities[np.newaxis, [at], ..., np.newaxis], 2, axis=1)
            images = tf.stack([x.fitted for x in window.frames[number : number + 2]])
            refined = self.refinement.refine != "none" and not final.reason
            flow = self._next_flow(images, depth, np.float32(motion), final.intrinsics[np.newaxis], refined).numpy()
            frame = frame._replace(flow=resize_flow(flow, image.shape[:2]), motion=motion)
        if len(stages) > 1:
            frame = frame._replace(initial=stages[0].at(at, image, pose))
        return frame
