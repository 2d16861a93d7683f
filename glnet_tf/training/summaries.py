"""What training shows: scalars and pictures for TensorBoard, and a board that explains one snippet at a glance."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.plugins.mesh.summary_v2 import mesh

from glnet_tf.geometry.camera import pixel_grid, unproject
from glnet_tf.losses.objective import Comparison, compare, flow_agrees
from glnet_tf.losses.photometric import rigid_wins
from glnet_tf.structures import NEXT, Predictions, Snippet
from glnet_tf.visualization.pictures import (
    branch_picture,
    depth_picture,
    flow_picture,
    flow_scale,
    image_picture,
    mask_picture,
    tile,
)

# The board's rows: names of `explain`'s pictures and their captions.
BOARD = (
    (("frame", "frame t"), ("depth", "inverse depth (bright: near)")),
    (("rigid_flow", "rigid flow to t+1"), ("flow", "flow to t+1 (same scale)")),
    (("rigid_warp", "frame t+1 warped by rigid flow"), ("flow_warp", "frame t+1 warped by flow")),
    (("rigid_visible", "visible to rigid flow (red: not)"), ("flow_visible", "visible to flow (red: not)")),
    (("branch", "minimum: rigid orange, flow blue"), ("agreement", "flow and rigid flow agree (red: not)")),
)


class Summaries:
    """TensorBoard's event files of a run: `tensorboard/train` and `tensorboard/validation` in its folder."""

    def __init__(self, run_dir: str | os.PathLike) -> None:
        self._writers = {
            name: tf.summary.create_file_writer(str(Path(run_dir, "tensorboard", name)))
            for name in ("train", "validation")
        }

    def scalars(self, step: int, values: Mapping[str, float], writer: str = "train") -> None:
        """Writes named values of a step; `writer` is "train" or "validation"."""
        with self._writers[writer].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step)

    def pictures(self, step: int, board: Mapping[str, np.ndarray]) -> None:
        """Writes named pictures, [H, W, 3] uint8, of a step."""
        with self._writers["train"].as_default():
            for name, picture in board.items():
                tf.summary.image(name, picture[np.newaxis], step)

    def points(self, step: int, points: np.ndarray, colours: np.ndarray) -> None:
        """Writes a point cloud of a step for the mesh plugin: [N, 3] each, colours uint8."""
        with self._writers["train"].as_default():
            mesh("points", points[np.newaxis], colors=colours[np.newaxis], step=step)

    def focal(self, step: int, cameras: Sequence[str], fx: Sequence[float], fy: Sequence[float]) -> None:
        """Writes the focal lengths, in pixels of the network's image, of every camera."""
        for camera, x, y in zip(cameras, fx, fy):
            self.scalars(step, {f"focal/{camera}/fx": x, f"focal/{camera}/fy": y})

    def close(self) -> None:
        """Completes the event files; nothing can be written afterwards."""
        for writer in self._writers.values():
            writer.close()


def explain(snippet: Snippet, predictions: Predictions) -> dict[str, np.ndarray]:
    """Returns pictures of what GLNet makes of a batch's first snippet, of frame t against t+1 at level 0.

    Args:
      snippet: at least one.
      predictions: GLNet's for it.

    Returns:
      [H, W, 3] uint8 by name: the image (frame), its inverse depth (depth), rigid flow and flow in one scale
      (rigid_flow, flow), frame t+1 warped by each, black where outside (rigid_warp, flow_warp), where each is visible
      (rigid_visible, flow_visible), which of them has the photometric minimum (branch), and where they agree
      (agreement).
    """
    images = snippet.images[:1]
    first = Predictions(
        disparities=(predictions.disparities[0][:1],),
        flows=(predictions.flows[0][:1],),
        poses=predictions.poses[:1],
        intrinsics=predictions.intrinsics[:1],
    )
    pairs = compare(images, first, level=0)
    agreement = flow_agrees(pairs, level=0)
    rigid_won = rigid_wins(pairs.rigid_distance, pairs.rigid.valid, pairs.by_flow.distance, pairs.by_flow.valid)
    pair = tf.nest.map_structure(lambda tensor: tensor[NEXT].numpy(), pairs)

    frame = image_picture(images[0, 1].numpy())
    flow, rigid_flow = pair.by_flow.flow, _rigid_flow(pair)
    scale = flow_scale(flow, rigid_flow)
    return {
        "frame": frame,
        "depth": depth_picture(first.disparities[0][0, 1, ..., 0].numpy()),
        "rigid_flow": flow_picture(rigid_flow, scale),
        "flow": flow_picture(flow, scale),
        "rigid_warp": image_picture(pair.rigid_image * pair.rigid.valid),
        "flow_warp": image_picture(pair.by_flow.image * pair.by_flow.valid),
        "rigid_visible": mask_picture(pair.rigid_visible[..., 0], frame),
        "flow_visible": mask_picture(pair.by_flow.visible[..., 0], frame),
        "branch": branch_picture(rigid_won[NEXT, ..., 0].numpy(), pair.by_flow.valid[..., 0]),
        "agreement": mask_picture(agreement[NEXT, ..., 0].numpy(), frame),
    }


def point_cloud(snippet: Snippet, predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Returns frame t of a batch's first snippet as points, [N, 3] x right, y up, z back, and their colours, uint8."""
    disparity = predictions.disparities[0][:1, 1]
    pixels = pixel_grid(*disparity.shape[1:3])[tf.newaxis]
    points = tf.reshape(unproject(pixels, 1 / disparity, predictions.intrinsics[:1]), [-1, 3]).numpy()
    return points * [1, -1, -1], image_picture(snippet.images[0, 1].numpy()).reshape(-1, 3)


def _rigid_flow(pair: Comparison) -> np.ndarray:
    """Returns p_rig - p, [h, w, 2], of one pair; NaN for points behind camera b, which have no projection."""
    grid = pixel_grid(*pair.by_flow.flow.shape[:2]).numpy()
    return np.where(pair.rigid.in_front > 0, pair.rigid.pixels - grid, np.nan)


def board(explained: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the pictures of `explain` as one sheet with captions, [H', W', 3] uint8."""
    return tile(
        [[explained[name] for name, _ in row] for row in BOARD], [[caption for _, caption in row] for row in BOARD]
    )
