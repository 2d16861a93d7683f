"""What is predicted for a video or a data set, as a folder: frame by frame, so that an interrupted run goes on.

NAME is a frame's: FRAME of a video, SCENE/FRAME of a data set. Of every frame, as chosen:

image/NAME.jpg, depth/NAME.npz (depth and confidence, float32), depth_before/NAME.png (as predicted, where it was
refined), flow/NAME.flo, moving/NAME.png (white: moves by itself); depth_png: depth/NAME.png (16 bit, see
depth_png_scale in frames.jsonl), confidence: confidence/NAME.png (16 bit, 65535: 1), flow_png: flow/NAME.png (KITTI's).

A line in frames.jsonl, see FrameRow, comes last and says that all is there; settings.json is on what the results
depend. inference.summary adds what needs all frames.
"""

from __future__ import annotations

import contextlib
import glob
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from glnet_tf.data.datasets.folder import DEPTH_SCALE
from glnet_tf.data.files.arrays import read_depth_png, read_flo, write_depth_png, write_flo, write_kitti_flow
from glnet_tf.data.files.images import read_grey, read_image
from glnet_tf.errors import DataError
from glnet_tf.files import (
    SETTINGS,
    append_json_line,
    check_own_folder,
    check_settings,
    make_folder,
    read_array,
    read_json,
    read_json_lines,
    write_json,
    write_npz,
)
from glnet_tf.folders import locked
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.epipolar import essential_matrix, fundamental_matrix, sampson_residual
from glnet_tf.inference.outputs import DEFAULT_OUTPUTS, OF_FRAMES, outputs_of
from glnet_tf.inference.source_prediction import Errors, Histories, Predecessor
from glnet_tf.metrics.odometry import STRAIGHT_AHEAD
from glnet_tf.parsing import is_inside
from glnet_tf.structures import FramePrediction, pose_after
from glnet_tf.visualization.pictures import write_jpeg, write_png

ROWS = "frames.jsonl"
MAX_PNG, MAX_KITTI_FLOW = 65535, 511.9
# The farthest depth that the 16-bit PNG of a video up to scale holds, in medians of its first frame.
MAX_PNG_DEPTH = 16.0
# Rows of flow, at least, by which the motion is compared with straight ahead.
GRID = 32
ROW = {
    "name": str,
    "path": str,
    "pose": [[float]],
    "motion": ([[float]], None),
    "intrinsics": [[float]],
    "height": int,
    "width": int,
    "depth_png_scale": float,
    "time": (float, None),
    "reason": str,
    "scale": float,
    "ground": ([float], None),
    "misfits": ([float], None),
    "errors": {str: {str: float}},
    "pft": {str: [float]},
    "oft": {str: [float]},
}


class FrameRow(NamedTuple):
    """A line of frames.jsonl: what is known of a finished frame beside its maps.

    Attributes:
      name: FRAME, or SCENE/FRAME.
      path: of the trajectory that the frame is in; empty for a video.
      pose: [4, 4] camera to world.
      motion: [4, 4] T to the next frame; None for the last one.
      intrinsics: [3, 3] K in pixels.
      height, width: of the frame, pixels.
      depth_png_scale: value over depth in the 16-bit PNGs.
      time: seconds from the first frame of the video; None: not known.
      reason: why the frame was not refined; empty if it was, or was not to be.
      scale: factor that was applied to all lengths, to make them metres.
      ground: see metric_scale.GroundPlane; None: not asked for.
      misfits: pixels by which the motion, and one straight ahead, miss the flow, see motion_misfits.
      errors: by stage and name, where the truth is known.
      pft, oft: the objective and its terms against the iterations, once for every window.
    """

    name: str
    path: str
    pose: list[list[float]]
    motion: list[list[float]] | None
    intrinsics: list[list[float]]
    height: int
    width: int
    depth_png_scale: float
    time: float | None = None
    reason: str = ""
    scale: float = 1.0
    ground: list[float] | None = None
    misfits: list[float] | None = None
    errors: Errors = {}
    pft: dict[str, list[float]] = {}
    oft: dict[str, list[float]] = {}

    def predecessor(self) -> Predecessor:
        """Returns what the prediction of the next frame needs of this one."""
        motion = None if self.motion is None else np.array(self.motion)
        return Predecessor(self.path, pose_after(np.array(self.pose), motion))


def read_rows(folder: Path, repair: bool = False) -> list[FrameRow]:
    """Returns what a result folder knows of its frames, in their order; `repair`: see read_json_lines.

    Raises:
      DataError: a line is damaged.
    """
    lines = read_json_lines(folder / ROWS, ROW, repair)
    rows = [FrameRow(**{name: line[name] for name in ROW}) for line in lines]
    for row in rows:
        motion, ground = row.pose if row.motion is None else row.motion, [0.0] * 3 if row.ground is None else row.ground
        lengths = [[*map(len, matrix)] for matrix in (row.pose, motion, row.intrinsics, [ground])]
        whole = lengths == [[4] * 4, [4] * 4, [3] * 3, [3]] and (row.misfits is None or len(row.misfits) == 2)
        whole = whole and min(row.depth_png_scale, row.scale, row.height, row.width) > 0
        if not (whole and is_inside(row.name) and is_inside(row.path or row.name)):
            raise DataError(
                f"{folder / ROWS}: {row.name[:80]!r}: expected a frame's name, size, pose, K and scale; remove its line"
            )
    return rows


class ResultFolder(contextlib.AbstractContextManager):
    """Writes frames as they come, knows those that are there, and is closed at the end of a `with` block.

    Args:
      folder: made if need be; no other process may write to it.
      settings: what the results depend on, as JSON holds it; a folder never mixes the results of two.
      flag: by which the user gave the folder.
      outputs: what is written, see outputs_of.

    Attributes:
      rows: of the finished frames, by name, in their order.

    Raises:
      ConfigError: the folder holds something else, or results of other settings.
      DataError: the folder cannot be written, or another process writes there.

    Example:
      from pathlib import Path

      from glnet_tf.data.frames import Frames
      from glnet_tf.inference.predictor import Predictor
      from glnet_tf.inference.result_folder import ResultFolder
      from glnet_tf.inference.summary import write_summary

      images = (frame.image for frame in Frames("drive.mp4"))
      with ResultFolder(Path("predicted"), {"input": "drive.mp4"}) as results:
          for number, frame in enumerate(Predictor("kitti-lite").predict(images)):
              results.add(f"{number:06}", frame)
          write_summary(results, "drive", {"unit": "up to scale"}, fps=30)
          results.read("000000").depth  # [H, W]: from predicted/depth/000000.npz
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        flag: str = "output_dir",
        outputs: Sequence[str] = DEFAULT_OUTPUTS,
    ):
        check_own_folder(folder, SETTINGS, flag)
        self.folder = make_folder(folder, flag)
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(locked(folder))
        with contextlib.ExitStack() as failed:
            failed.callback(self._lock.close)
            self.outputs, note = outputs_of(outputs), folder / SETTINGS
            settings = json.loads(json.dumps({**settings, "outputs": sorted(self.outputs)}))
            # A start that failed before its first result leaves no more than these two.
            begun = any(file.name not in (".lock", SETTINGS) for file in folder.iterdir())
            if begun and note.exists():
                check_settings(note, read_json(note, "the settings of these results", dict), settings, flag)
            write_json(note, settings)
            self.rows = {row.name: row for row in read_rows(folder, repair=True)}
            failed.pop_all()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.close()

    def add(
        self,
        name: str,
        frame: FramePrediction,
        path: str = "",
        time: float | None = None,
        errors: Errors | None = None,
        histories: Histories | None = None,
        metric: bool = False,
        scale: float = 1.0,
        ground: tuple[float, float, float] | None = None,
    ) -> None:
        """Writes what is predicted for a frame, and then its line in frames.jsonl.

        Args:
          name: FRAME, or SCENE/FRAME: of the files.
          frame: the prediction.
          path, time, errors, scale, ground: see FrameRow.
          histories: `pft` and `oft` of FrameRow, by name.
          metric: whether lengths are metres.

        Raises:
          DataError: a file cannot be written.
        """
        row = FrameRow(
            name=name,
            path=path,
            pose=frame.pose.tolist(),
            motion=None if frame.motion is None else frame.motion.tolist(),
            intrinsics=frame.intrinsics.tolist(),
            height=frame.depth.shape[0],
            width=frame.depth.shape[1],
            depth_png_scale=float(DEPTH_SCALE) if metric else self._png_scale(frame.depth),
            time=time,
            reason=frame.reason,
            scale=scale,
            ground=None if ground is None else list(ground),
            misfits=motion_misfits(frame),
            errors=errors or {},
            **(histories or {}),
        )
        for output in sorted(self.outputs.intersection(OF_FRAMES)):
            self._write(output, name, frame, row.depth_png_scale)
        append_json_line(self.folder / ROWS, row._asdict())
        self.rows[name] = row

    def _write(self, output: str, name: str, frame: FramePrediction, scale: float) -> None:
        """One output of a frame, if there is such a thing of it; `scale` is depth_png_scale."""
        confidence = frame.confidence.astype(np.float32)
        if output == "image":
            write_jpeg(self.new_file("image", name, ".jpg"), frame.image)
        elif output == "depth":
            write_npz(self.new_file("depth", name, ".npz"), depth=frame.depth.astype(np.float32), confidence=confidence)
        elif output == "confidence":
            write_depth_png(self.new_file("confidence", name, ".png"), confidence, MAX_PNG)
        elif output == "depth_png":
            write_depth_png(self.new_file("depth", name, ".png"), np.minimum(frame.depth, MAX_PNG / scale), scale)
        elif output == "depth_before" and frame.initial is not None:
            clipped = np.minimum(frame.initial.depth, MAX_PNG / scale)
            write_depth_png(self.new_file("depth_before", name, ".png"), clipped, scale)
        elif output == "flow" and frame.flow is not None:
            write_flo(self.new_file("flow", name, ".flo"), frame.flow)
        elif output == "flow_png" and frame.flow is not None:
            valid = np.all(np.abs(frame.flow) < MAX_KITTI_FLOW, axis=-1)
            write_kitti_flow(self.new_file("flow", name, ".png"), frame.flow, valid)
        elif output == "moving" and frame.moving is not None:
            white = np.where(frame.moving[..., np.newaxis], np.full(3, 255, np.uint8), np.uint8(0))
            write_png(self.new_file("moving", name, ".png"), white)

    def read(self, name: str) -> FramePrediction:
        """Returns what was written of a frame, image and depth at least; of the prediction before, the depth only.

        Raises:
          DataError: a file is missing or damaged.
        """
        row, depth = self.rows[name], self.file("depth", name, ".npz")
        before, flow, moving = (
            self.file(*place)
            for place in (("depth_before", name, ".png"), ("flow", name, ".flo"), ("moving", name, ".png"))
        )
        frame = FramePrediction(
            image=read_image(self.file("image", name, ".jpg")),
            disparity=1 / read_array(depth, "depth"),
            confidence=read_array(depth, "confidence"),
            flow=read_flo(flow)[0] if flow.exists() else None,
            moving=read_grey(moving) > 0 if moving.exists() else None,
            motion=None if row.motion is None else np.array(row.motion),
            pose=np.array(row.pose),
            intrinsics=np.array(row.intrinsics),
            reason=row.reason,
        )
        if not before.exists():
            return frame
        disparity = 1 / np.maximum(read_depth_png(before, row.depth_png_scale), 0.5 / row.depth_png_scale)
        return frame._replace(initial=frame._replace(disparity=disparity))

    def reasons(self) -> Counter[str]:
        """Returns how many frames were not refined, by the kind of reason."""
        return Counter(row.reason.partition(":")[0] for row in self.rows.values() if row.reason)

    def bytes_of(self, name: str) -> int:
        """Returns how much of the disk a frame takes."""
        return sum(file.stat().st_size for file in self.folder.glob(f"*/{glob.escape(name)}.*"))

    def file(self, kind: str, name: str, suffix: str) -> Path:
        """Returns the file of a kind of result: KIND/NAME.SUFFIX, KIND.SUFFIX without a name."""
        return self.folder / kind / (name + suffix) if name else self.folder / (kind + suffix)

    def new_file(self, kind: str, name: str, suffix: str) -> Path:
        """Returns the same, and makes its folder."""
        file = self.file(kind, name, suffix)
        make_folder(file.parent, "output_dir")
        return file

    def _png_scale(self, depth: np.ndarray) -> float:
        """A power of two: that of the first frame for all."""
        if self.rows:
            return next(iter(self.rows.values())).depth_png_scale
        return 2.0 ** math.floor(math.log2(MAX_PNG / (MAX_PNG_DEPTH * float(np.median(depth)))))


def open_results(folder: Path) -> ResultFolder:
    """Returns a result folder that is there, with its own settings.

    Raises:
      DataError: there is none.
    """
    settings = read_json(folder / SETTINGS, "the settings of results", {"outputs": [str]})
    return ResultFolder(folder, settings, outputs=settings["outputs"])


def motion_misfits(frame: FramePrediction) -> list[float] | None:
    """Returns the median Sampson distance, pixels, of flow from motion, both as predicted, and from straight ahead."""
    seen = frame.initial or frame
    flow, motion = seen.flow, seen.motion
    if flow is None or motion is None:
        return None
    step = max(min(flow.shape[:2]) // GRID, 1)
    start = np.asarray(pixel_grid(*flow.shape[:2]))[::step, ::step]
    poses = np.stack([motion, STRAIGHT_AHEAD]).astype(np.float32)
    fundamental = fundamental_matrix(essential_matrix(poses), np.stack([frame.intrinsics] * 2).astype(np.float32))
    ends = np.repeat((start + flow[::step, ::step])[np.newaxis], 2, axis=0)
    return np.median(sampson_residual(fundamental, start, ends), axis=(1, 2, 3)).astype(float).round(4).tolist()
