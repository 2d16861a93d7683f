"""What tools/predict.py leaves in a folder; every file is whole or not there.

depth/NAME.npz (depth and confidence, float32) and NAME.png (16 bit, see depth_png_scale in prediction.json),
depth_colour/NAME.png, confidence/NAME.png (16 bit, 65535: 1),
flow/NAME.flo and NAME.png (KITTI's), flow_colour/NAME.png, moving/NAME.png (white: moves by itself), trajectory.txt
(KITTI's rows), trajectory.tum (time: seconds), intrinsics.json, cloud.ply, video.mp4, report.html, prediction.json.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from glnet_tf.data.datasets.folder import DEPTH_SCALE
from glnet_tf.data.files.arrays import write_depth_png, write_flo, write_kitti_flow
from glnet_tf.data.files.trajectories import write_kitti_trajectory, write_tum_trajectory
from glnet_tf.files import make_folder, write_json, write_npz
from glnet_tf.structures import FramePrediction
from glnet_tf.visualization.movie import Movie
from glnet_tf.visualization.page import FrameStrip, chart, path_from_above, write_report
from glnet_tf.visualization.pictures import depth_picture, flow_picture, flow_scale, mask_picture, tile, write_png
from glnet_tf.visualization.point_cloud import PointCloud

FOLDERS = ("depth", "depth_colour", "confidence", "flow", "flow_colour", "moving")
# Share of the newest frame in the scale of the colours, so that they do not flicker.
NEW_SHARE = 0.1
MAX_DEPTH_PNG, MAX_KITTI_FLOW = 65535, 511.9
# The farthest depth that the 16-bit PNG of a video up to scale holds, in medians of its first frame.
MAX_PNG_DEPTH = 16.0


class Pictures:
    """Draws frames of one video, with colours that mean the same from frame to frame."""

    def __init__(self) -> None:
        self._near = self._fast = 0.0

    def draw(self, frame: FramePrediction) -> dict[str, np.ndarray]:
        """Returns pictures, [H, W, 3] uint8: frame, depth, depth_before if refined; flow, moving if not last."""
        near = float(np.percentile(frame.disparity, 99))
        self._near = near if not self._near else (1 - NEW_SHARE) * self._near + NEW_SHARE * near
        drawn = {
            "frame": frame.image,
            "depth": depth_picture(frame.disparity, 0.0, self._near),
            "confidence": np.repeat(np.round(255 * frame.confidence).astype(np.uint8)[..., np.newaxis], 3, axis=-1),
        }
        if frame.initial_disparity is not None:
            drawn["depth_before"] = depth_picture(frame.initial_disparity, 0.0, self._near)
        if frame.flow is not None and frame.moving is not None:
            fast = flow_scale(frame.flow)
            self._fast = fast if not self._fast else (1 - NEW_SHARE) * self._fast + NEW_SHARE * fast
            drawn["flow"] = flow_picture(frame.flow, self._fast)
            drawn["moving"] = mask_picture(~frame.moving, frame.image)
        return drawn


class PredictionFolder:
    """Writes frames as they come; `close` writes what needs all of them, also after an interruption.

    Args:
      folder: made if need be.
      fps: of the video.
      min_confidence: of the points of the cloud.

    Raises:
      DataError: something cannot be written.
    """

    def __init__(self, folder: Path, fps: float, min_confidence: float = 0.0):
        self.folder = make_folder(folder, "output_dir")
        for name in FOLDERS:
            make_folder(folder / name, "output_dir")
        self.cloud = PointCloud(min_confidence)
        self.strip = FrameStrip()
        self.poses: list[np.ndarray] = []
        self._fps = fps
        self._movie = Movie(folder / "video.mp4", fps)
        self._intrinsics: list[np.ndarray] = []
        self._size = (0, 0)
        self._png_scale = float(DEPTH_SCALE)
        self.reasons: dict[str, str] = {}

    def add(self, name: str, frame: FramePrediction, drawn: dict[str, np.ndarray], metric: bool) -> None:
        """Writes what is predicted for a frame; `drawn` is from Pictures, `metric` tells whether lengths are metres."""
        folder, depth = self.folder, frame.depth
        if not self.poses:
            self._size = (frame.image.shape[0], frame.image.shape[1])
            if not metric:
                self._png_scale = 2.0 ** math.floor(math.log2(MAX_DEPTH_PNG / (MAX_PNG_DEPTH * np.median(depth))))
        confidence = frame.confidence.astype(np.float32)
        write_npz(folder / "depth" / f"{name}.npz", depth=depth.astype(np.float32), confidence=confidence)
        write_depth_png(folder / "confidence" / f"{name}.png", confidence, MAX_DEPTH_PNG)
        clipped = np.minimum(depth, MAX_DEPTH_PNG / self._png_scale)
        write_depth_png(folder / "depth" / f"{name}.png", clipped, self._png_scale)
        write_png(folder / "depth_colour" / f"{name}.png", drawn["depth"])
        if frame.flow is not None and frame.moving is not None:
            write_flo(folder / "flow" / f"{name}.flo", frame.flow)
            valid = np.all(np.abs(frame.flow) < MAX_KITTI_FLOW, axis=-1)
            write_kitti_flow(folder / "flow" / f"{name}.png", frame.flow, valid)
            write_png(folder / "flow_colour" / f"{name}.png", drawn["flow"])
            white = np.where(frame.moving[..., np.newaxis], [255, 255, 255], 0).astype(np.uint8)
            write_png(folder / "moving" / f"{name}.png", white)
            self._movie.add(tile([[drawn["frame"], drawn["depth"]], [drawn["flow"], drawn["moving"]]], None))
        self.cloud.add(frame)
        self.strip.add(name, drawn)
        self.poses.append(frame.pose)
        self._intrinsics.append(frame.intrinsics)
        if frame.reason:
            self.reasons[name] = frame.reason

    def close(self, notes: dict[str, Any]) -> None:
        """Writes trajectory, intrinsics, point cloud, movie, and `notes` as prediction.json, of the frames so far."""
        if not self.poses:
            self._movie.abandon()
            return
        self._movie.close()
        self._write_report(notes)
        poses = np.stack(self.poses)
        write_kitti_trajectory(self.folder / "trajectory.txt", poses)
        write_tum_trajectory(self.folder / "trajectory.tum", poses, np.arange(len(poses)) / self._fps)
        self.cloud.write(self.folder / "cloud.ply")
        write_json(self.folder / "intrinsics.json", self.intrinsics())
        write_json(
            self.folder / "prediction.json",
            {
                **notes,
                "frames": len(poses),
                "depth_png_scale": self._png_scale,
                "not_refined": self.reasons,
            },
        )

    def intrinsics(self) -> dict[str, Any]:
        """Returns the mean K over the frames, and its spread: fx, fy, cx, cy with their standard deviations."""
        found = np.stack(self._intrinsics)
        values = {"fx": found[:, 0, 0], "fy": found[:, 1, 1], "cx": found[:, 0, 2], "cy": found[:, 1, 2]}
        return {
            "K": found.mean(axis=0).round(3).tolist(),
            "height": self._size[0],
            "width": self._size[1],
            **{name: {"mean": float(x.mean()), "std": float(x.std())} for name, x in values.items()},
        }

    def _write_report(self, notes: dict[str, Any]) -> None:
        focal = np.stack(self._intrinsics)[:, 0, 0]
        pairs = (list(range(len(focal))), focal.tolist())
        charts = [
            ("The camera's path from above", path_from_above({"camera": np.stack(self.poses)}, notes["unit"])),
            (
                "Focal length of every frame, and the estimate that they share",
                chart({"fx": pairs}, "frame", "fx, pixels", ("shared", float(focal.mean()))),
            ),
        ]
        height, width = self._size
        lines = [
            f"{len(self.poses)} frames of {width} x {height} pixels in {notes['seconds']:.0f} s; "
            f"refined: {notes['refinement']['refine'] if notes['refinement'] else 'no'}; lengths: {notes['unit']}",
            *notes["remarks"],
        ]
        if self.reasons:
            lines.append(f"{len(self.reasons)} frames could not be refined: {'; '.join(set(self.reasons.values()))}")
        write_report(self.folder / "report.html", notes["input"], lines, self.strip.frames, charts)
