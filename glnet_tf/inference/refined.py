"""What a refinement leaves in a folder, snippet by snippet, so that an interrupted one goes on where it stopped.

depth/SCENE/FRAME.npz and .png (16 bit, depth times 256), flow/SCENE/FRAME.flo, pictures/SCENE/FRAME.png, and one line
in snippets.jsonl with the motions, K, the objective of every iteration, and the errors where the truth is known;
layers/SCENE/FRAME.json, the pictures of report.html; trajectory/SCENE.txt and .tum of snippets that follow each other;
windows/SCENE/FRAME.npz of a video's windows; table.json; tensorboard/; refinement.json with the settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glnet_tf.data.datasets.folder import DEPTH_SCALE
from glnet_tf.data.files.arrays import write_depth_png, write_flo
from glnet_tf.data.files.trajectories import write_kitti_trajectory, write_tum_trajectory
from glnet_tf.files import append_json_line, check_settings, read_json, read_json_lines, write_json, write_npz
from glnet_tf.geometry.resize import resize_disparity, resize_flow
from glnet_tf.inference.predictions import Prediction
from glnet_tf.metrics.trajectory import chained
from glnet_tf.visualization.page import MAX_FRAMES, ReportFrame, as_jpeg
from glnet_tf.visualization.pictures import (
    depth_picture,
    flow_picture,
    flow_scale,
    image_picture,
    mask_picture,
    tile,
    write_png,
)

ROWS = "snippets.jsonl"
CAPTIONS = {
    "frame": "frame",
    "moving": "moving by itself (red)",
    "depth_before": "inverse depth, as predicted",
    "depth": "inverse depth, refined",
    "flow_before": "flow, as predicted",
    "flow": "flow, refined (same scale)",
}


class RefinedFolder:
    """The results of one refinement.

    Args:
      folder: where they go; it exists.
      settings: of the refinement, its run among them; a folder holds the results of one.

    Attributes:
      rows: by label, what is known of every finished snippet.

    Raises:
      ConfigError: the folder holds the results of other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder = folder
        self.rows: dict[str, dict[str, Any]] = {}
        note = folder / "refinement.json"
        settings = json.loads(json.dumps(settings))
        if note.exists():
            check_settings(note, read_json(note), settings)
        write_json(note, settings)
        for line in read_json_lines(self.folder / ROWS):
            self.rows[line["label"]] = line

    def add(
        self, label: str, row: dict[str, Any], size: tuple[int, int], final: Prediction, pictures: dict[str, np.ndarray]
    ) -> None:
        """Keeps a snippet's results; its line in snippets.jsonl comes last and says that all is there.

        Args:
          label: SCENE/FRAME.
          row: what else the line says.
          size: (H, W) that depth and flow are written at.
          final: the refined prediction.
          pictures: from before_and_after.
        """
        self.write_depth(label, size, final.disparity)
        write_flo(self._file("flow", label, ".flo"), resize_flow(final.flow, size))
        names = list(CAPTIONS)
        rows = [names[i : i + 2] for i in range(0, len(names), 2)]
        sheet = tile([[pictures[x] for x in row] for row in rows], [[CAPTIONS[x] for x in row] for row in rows])
        write_png(self._file("pictures", label, ".png"), sheet)
        write_json(self._file("layers", label, ".json"), {x: as_jpeg(pictures[x]) for x in names})
        row = {"label": label, "motions": final.motions.tolist(), "K": final.intrinsics.tolist(), **row}
        append_json_line(self.folder / ROWS, row)
        self.rows[label] = row

    def write_depth(self, label: str, size: tuple[int, int], disparity: np.ndarray) -> None:
        """Writes the depth of one frame at the size (H, W)."""
        depth = 1 / resize_disparity(disparity, size)
        write_npz(self._file("depth", label, ".npz"), depth=depth.astype(np.float32))
        write_depth_png(self._file("depth", label, ".png"), depth, DEPTH_SCALE)

    def _file(self, kind: str, label: str, suffix: str) -> Path:
        file = self.folder / kind / (label + suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def report_frames(self, labels: Sequence[str]) -> list[ReportFrame]:
        """Returns pictures of finished snippets, at most MAX_FRAMES of them, evenly spread."""
        chosen = labels[:: -(-len(labels) // MAX_FRAMES)] if labels else []
        return [ReportFrame(x, read_json(self._file("layers", x, ".json"))) for x in chosen]

    def write_trajectory(self, name: str, motions: Sequence[np.ndarray]) -> None:
        """Chains the motions of consecutive frames to trajectory/NAME.txt, KITTI's rows, and .tum (time: frame)."""
        poses = chained(motions)
        write_kitti_trajectory(self._file("trajectory", name, ".txt"), poses)
        write_tum_trajectory(self._file("trajectory", name, ".tum"), poses, np.arange(len(poses), dtype=np.float64))


def before_and_after(
    image: np.ndarray, initial: Prediction, final: Prediction, moving: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns pictures of a frame, what moves in it, and depth and flow before and after, in one scale each.

    Args:
      image: [h, w, 3] in [0, 1].
      initial, final: of this frame.
      moving: [h, w] 1 where an object moves by itself.
    """
    frame = image_picture(image)
    scale = flow_scale(initial.flow, final.flow)
    before = initial.disparity * np.median(final.disparity) / np.median(initial.disparity)
    near = float(np.percentile(final.disparity, 99))
    return {
        "frame": frame,
        "moving": mask_picture(1 - moving, frame),
        "depth_before": depth_picture(before, 0.0, near),
        "depth": depth_picture(final.disparity, 0.0, near),
        "flow_before": flow_picture(initial.flow, scale),
        "flow": flow_picture(final.flow, scale),
    }
