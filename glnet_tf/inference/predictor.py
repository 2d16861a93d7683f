"""Depth, flow, motion and intrinsics of a stream of images, of which no more than one window is ever kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.config import REFINEMENT_LOSS, LossConfig, RefinementConfig
from glnet_tf.data.frames import as_rgb
from glnet_tf.data.pipeline import resize
from glnet_tf.data.preparation.parallax import WIDTH, parallax
from glnet_tf.errors import DataError
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.geometry.resize import resize_disparity, resize_flow, resize_mask
from glnet_tf.inference.predictions import assume_intrinsics
from glnet_tf.inference.video import scale_between, scaled
from glnet_tf.models.glnet import both_ways
from glnet_tf.models.sizes import Size, depth_size, flow_size
from glnet_tf.refinement.refiner import Refiner, large_flow
from glnet_tf.structures import FRAMES, FramePrediction, Predictions, Snippet
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


class _Block(NamedTuple):
    """Consecutive frames, of which every `stride`-th ones are seen together: as many windows as that.

    Attributes:
      frames: with their images.
      stride: frames between the frames of a window.
      yielded: how many of the first frames were predicted in an earlier block.
      ends: whether no frame follows.
    """

    frames: list[_Frame]
    stride: int
    yielded: int
    ends: bool


class _Window(NamedTuple):
    """What is predicted for the frames of a window, in the scale of the video."""

    initial: Predictions
    final: Predictions
    flow: np.ndarray
    confidence: np.ndarray
    moving: np.ndarray
    reason: str


class Predictor:
    """A trained model for images of any size: `for prediction in Predictor(weights).predict(images): prediction.depth`.

    Args:
      weights: name of weights that ship, a weights file, or the folder of a training run.
      refinement: whether and how each window is refined; its `window` is the number of frames in one.
      loss: the objective of the refinement.
      intrinsics: [3, 3] K in pixels of the images, for models that were trained with a given K; None: a K of the
        model's field of view is assumed.
      target_parallax: between the frames of a window, thousandths of the width; where the camera moves less from frame
        to frame, frames up to MAX_STRIDE apart are seen together. 0: always those that follow each other.

    Raises:
      CheckpointError: there is no such model.
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
        # One K for all windows: it is not a window's own to refine.
        self._config = dataclasses.replace(refinement, oft_intrinsics_rate=0.0)
        self._loss = loss
        self._size: Size | None = None
        self._refiners: dict[tuple[int, Size], Refiner] = {}
        self._next_flow = tf.function(self._flow_between, autograph=False)

    def predict(self, images: Iterable[np.ndarray]) -> Iterator[FramePrediction]:
        """Yields what is predicted for every image, in order; it runs ahead of the caller by one block of windows.

        Args:
          images: of one size, see data.frames.as_rgb; of a video in the order of time. Of a single image, only the
            depth means anything.

        Raises:
          DataError: an image cannot be used.
        """
        pose = np.eye(4)
        for block in self._blocks(images):
            windows = [self._window(block.frames[phase :: block.stride]) for phase in range(block.stride)]
            count = len(block.frames)
            for frame in range(block.yielded, count if block.ends else count - block.stride):
                prediction, pose = self._frame_prediction(block, windows[frame % block.stride], frame, pose)
                yield prediction

    def _blocks(self, images: Iterable[np.ndarray]) -> Iterator[_Block]:
        """Yields blocks of as many frames as all their windows have; neighbours share the last frame of each window."""
        window = self._config.window
        frames: list[_Frame] = []
        yielded = stride = 0
        for image in images:
            frames.append(self._fitted(image, frames[0].image.shape if frames else None))
            if not stride and len(frames) - yielded >= window:
                stride = self._stride(frames[yielded : yielded + window])
            if stride and len(frames) - yielded == window * stride:
                frames = frames[yielded:]
                yield _Block(frames, stride, 0, False)
                # Those without a neighbour ahead are the next block's first.
                yielded, stride = (window - 1) * stride, 0
        if len(frames) > yielded:
            # At the end, frames that were predicted before make the windows whole.
            most = len(frames) // (window if yielded else FRAMES)
            stride = max(1, min(stride or self._stride(frames[-window:]), most))
            last = frames[-window * stride :] if yielded else frames
            yield _Block(last, stride, len(last) - (len(frames) - yielded), True)

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
            self._size = depth_size(self.model.image_size, [width / height])
        return _Frame(image, resize(image[np.newaxis], flow_size(self._size, self._config.flow_scale))[0])

    def _window(self, frames: Sequence[_Frame]) -> _Window:
        """Predicts and refines a window; refined, it is brought back to the network's scale, see refine_video."""
        # One image alone is its own neighbour.
        fitted = [frame.fitted for frame in frames] * (2 if len(frames) == 1 else 1)
        count = len(fitted)
        assert self._size is not None
        if (count, self._size) not in self._refiners:
            large = flow_size(self._size, self._config.flow_scale)
            self._refiners[count, self._size] = Refiner(
                self.model, self._loss, self._config, count, size=self._size, image_size=large
            )
        refined = self._refiners[count, self._size](self._snippet(tf.stack(fitted)[tf.newaxis], frames[0].image.shape))
        scale = scale_between(refined.initial.disparities[0].numpy(), refined.final.disparities[0].numpy())
        return _Window(
            initial=refined.initial,
            final=scaled(refined.final, scale),
            flow=refined.flow[0].numpy(),
            confidence=refined.confidence[0, ..., 0].numpy(),
            moving=refined.moving[0, ..., 0].numpy() > 0,
            reason="" if self._config.refine == "none" else refined.reasons[0],
        )

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

    def _frame_prediction(
        self, block: _Block, window: _Window, number: int, pose: np.ndarray
    ) -> tuple[FramePrediction, np.ndarray]:
        """What a window says about a frame of a block, whose camera to world is given; and the next frame's."""
        assert self._size is not None
        image, frame = block.frames[number].image, number // block.stride
        size = image.shape[:2]
        disparity = resize_disparity(window.final.disparities[0][0, frame, ..., 0].numpy(), size)
        initial = None
        if self._config.refine != "none":
            initial = resize_disparity(window.initial.disparities[0][0, frame, ..., 0].numpy(), size)
            initial *= np.median(disparity) / np.median(initial)
        flow = moving = None
        following, motions = pose, len(window.final.poses[0]) // 2
        if number < len(block.frames) - 1:
            found = window.flow[frame]
            motion = window.final.poses[0, min(frame, motions - 1)].numpy().astype(np.float64)
            motion = share_of_motion(motion, block.stride)
            following = pose @ np.linalg.inv(motion)
            if block.stride > 1:
                images = tf.stack([x.fitted for x in block.frames[number : number + 2]])
                depth = tf.repeat(window.final.disparities[0][:, frame : frame + 1], 2, axis=1)
                seen = depth, tf.constant(motion, tf.float32), window.final.intrinsics
                found = self._next_flow(images, *seen, self._config.refine != "none" and not window.reason).numpy()
            flow = resize_flow(found, size)
        if number < len(block.frames) - block.stride:
            moving = resize_mask(window.moving[frame], size)
        prediction = FramePrediction(
            image=image,
            disparity=disparity,
            initial_disparity=initial,
            confidence=cv2.resize(window.confidence[frame], size[::-1]),
            flow=flow,
            moving=moving,
            pose=pose,
            intrinsics=resize_intrinsics(window.final.intrinsics[0], self._size, size).numpy(),
            reason=window.reason,
        )
        return prediction, following


def share_of_motion(motion: np.ndarray, steps: int) -> np.ndarray:
    """Returns the motion, [4, 4], that makes the given one when it is repeated so many times."""
    step = np.eye(4)
    step[:3, :3] = cv2.Rodrigues(cv2.Rodrigues(motion[:3, :3])[0] / steps)[0]
    summed = sum(np.linalg.matrix_power(step[:3, :3], k) for k in range(steps))
    step[:3, 3] = np.linalg.solve(summed, motion[:3, 3])
    return step
