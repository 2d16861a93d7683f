"""What needs all frames of a result folder, made from what lies in it: pictures, paths, K, clouds, films, the page.

Of every path trajectory/PATH.txt (KITTI's rows) and PATH.tum (time: seconds) and intrinsics/PATH.json, without PATH of
a video; table.json, tensorboard/, and prediction.json, the notes. As chosen, depth_colour/NAME.png and
flow_colour/NAME.png, cloud/PATH.ply, colmap/PATH/, video/PATH.mp4 and depth_video/PATH.mkv (16-bit grey, see
depth_png_scale); page: report.html.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from glnet_tf.data.files.colmap import write_colmap
from glnet_tf.data.files.trajectories import write_kitti_trajectory, write_tum_trajectory
from glnet_tf.files import write_json
from glnet_tf.inference.frame_errors import PROTOCOL, Errors, as_table, as_text, average_errors
from glnet_tf.inference.outputs import OF_ALL
from glnet_tf.inference.result_folder import MAX_PNG, FrameRow, ResultFolder
from glnet_tf.progress import progress_bar
from glnet_tf.structures import FramePrediction
from glnet_tf.visualization.movie import Movie
from glnet_tf.visualization.page import FrameStrip, Table, chart, path_from_above, write_report
from glnet_tf.visualization.pictures import depth_picture, flow_picture, flow_scale, mask_picture, tile, write_png
from glnet_tf.visualization.point_cloud import PointCloud

# Share of the latest frame in the scale of the colours, so that they do not flicker.
NEW_SHARE = 0.1
# Paths that the page shows, at most.
MAX_PATHS = 8
# Longer side of each of the four pictures in the film.
MAX_FILM_SIDE = 960
# A motion whose misfit is this share of straight ahead's, or more, is no better.
STRAIGHT_SHARE = 0.9


class Pictures:
    """Draws frames of one video, with colours that mean the same from frame to frame."""

    def __init__(self) -> None:
        self._near = self._fast = 0.0

    def draw(self, frame: FramePrediction) -> dict[str, np.ndarray]:
        """Returns pictures, [H, W, 3] uint8: frame, depth, confidence; depth_before, flow, moving where there are."""
        near = float(np.percentile(frame.disparity, 99))
        self._near = near if not self._near else (1 - NEW_SHARE) * self._near + NEW_SHARE * near
        drawn = {
            "frame": frame.image,
            "depth": depth_picture(frame.disparity, 0.0, self._near),
            "confidence": np.repeat(np.round(255 * frame.confidence).astype(np.uint8)[..., np.newaxis], 3, axis=-1),
        }
        if frame.initial is not None:
            drawn["depth_before"] = depth_picture(frame.initial.disparity, 0.0, self._near)
        if frame.flow is not None:
            fast = flow_scale(frame.flow)
            self._fast = fast if not self._fast else (1 - NEW_SHARE) * self._fast + NEW_SHARE * fast
            drawn["flow"] = flow_picture(frame.flow, self._fast)
        if frame.moving is not None:
            drawn["moving"] = mask_picture(~frame.moving, frame.image)
        return drawn


def write_summary(
    results: ResultFolder,
    title: str,
    notes: dict[str, Any],
    remarks: Sequence[str] = (),
    lines: Sequence[str] = (),
    fps: float = 1.0,
    min_confidence: float = 0.5,
) -> Errors:
    """Writes what needs all frames that are there, over what an earlier call wrote.

    Args:
      results: the folder.
      title: of the page.
      notes: what prediction.json says beside the number of frames; `unit` of the lengths among them.
      remarks: what went wrong and did not end it.
      lines: what is to be known first.
      fps: frames per second; of a data set 1: time is the frame's number.
      min_confidence: of the points in a cloud.

    Returns:
      the errors by stage, averaged; empty where no truth is known.
    """
    rows = list(results.rows.values())
    paths: dict[str, list[FrameRow]] = {}
    for row in rows:
        paths.setdefault(row.path, []).append(row)
    strip, view = FrameStrip(), ""
    with progress_bar(len(rows), "drawing", "frame") as bar:
        for path, of_path in paths.items():
            _write_path(results, path, of_path, fps, notes.get("intrinsics", "given by the data, or by the model"))
            if results.outputs.isdisjoint(OF_ALL):
                continue
            cloud = PointCloud(min_confidence)
            for name, drawn in _drawn(results, path, of_path, fps, cloud):
                strip.add(name, drawn, float(np.mean(drawn["confidence"])))
                bar.update()
            if "page" in results.outputs and "cloud" in results.outputs and not view:
                view = cloud.viewer(np.array([row.pose for row in of_path]))
    errors = average_errors([row.errors for row in rows if row.errors])
    if errors:
        write_json(results.folder / "table.json", errors)
    reasons = results.reasons()
    lines = [
        *lines,
        *doubts(rows),
        *remarks,
        *(f"{count} of {len(rows)} frames not refined: {reason}" for reason, count in reasons.items()),
    ]
    tables = [Table("Errors against the truth", *_head_and_rows(errors), PROTOCOL)] if errors else []
    charts = _charts(paths, _curves(results, rows), notes["unit"])
    if "page" in results.outputs:
        write_report(results.folder / "report.html", title, lines, strip.frames, charts, tables, view)
    kept = {"frames": len(rows), "depth_png_scale": rows[0].depth_png_scale if rows else None, "remarks": list(remarks)}
    write_json(results.folder / "prediction.json", {**notes, **kept, "not_refined": dict(reasons)})
    return errors


def as_lines(errors: Errors, results: ResultFolder) -> str:
    """Returns a table of the errors, if there are any, how many frames were refined, and why others were not."""
    reasons, count = results.reasons(), len(results.rows)
    lines = [as_text(errors)] if errors else []
    lines.append(f"{count - sum(reasons.values())} of {count} frames refined")
    return "\n".join(lines + [f"{number} not: {reason}" for reason, number in reasons.items()])


def _write_path(results: ResultFolder, path: str, rows: Sequence[FrameRow], fps: float, source: str) -> None:
    """The trajectory of a path, and the mean K over its frames with its spread."""
    poses = np.array([row.pose for row in rows])
    times = np.array([number / fps if row.time is None else row.time for number, row in enumerate(rows)])
    write_kitti_trajectory(results.new_file("trajectory", path, ".txt"), poses)
    write_tum_trajectory(results.new_file("trajectory", path, ".tum"), poses, times)
    found = np.array([row.intrinsics for row in rows])
    values = {"fx": found[:, 0, 0], "fy": found[:, 1, 1], "cx": found[:, 0, 2], "cy": found[:, 1, 2]}
    spread = {name: {"mean": float(x.mean()), "std": float(x.std())} for name, x in values.items()}
    mean = found.mean(axis=0).round(3).tolist()
    write_json(
        results.new_file("intrinsics", path, ".json"),
        {"K": mean, "source": source, "height": rows[0].height, "width": rows[0].width, **spread},
    )


def _drawn(
    results: ResultFolder, path: str, rows: Sequence[FrameRow], fps: float, cloud: PointCloud
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Writes pictures, point clouds and films of a path, as chosen, and yields every frame's pictures."""
    pictures, outputs = Pictures(), results.outputs
    with contextlib.ExitStack() as films:
        if "video" in outputs:
            film = films.enter_context(Movie(results.new_file("video", path, ".mp4"), fps))
        if "depth_video" in outputs:
            depths = films.enter_context(Movie(results.new_file("depth_video", path, ".mkv"), fps, grey=True))
        for row in rows:
            frame = results.read(row.name)
            drawn = pictures.draw(frame)
            for output in ("depth", "flow"):
                if f"{output}_colour" in outputs and output in drawn:
                    write_png(results.new_file(f"{output}_colour", row.name, ".png"), drawn[output])
            if "video" in outputs and "flow" in drawn:
                shown = {"moving": drawn["frame"], **drawn}
                film.add(tile([[_shrunk(shown[x]) for x in line] for line in (("frame", "depth"), ("flow", "moving"))]))
            if "depth_video" in outputs:
                depths.add(np.round(np.minimum(frame.depth * row.depth_png_scale, MAX_PNG)).astype(np.uint16))
            if not outputs.isdisjoint(("cloud", "colmap")):
                cloud.add(frame)
            yield row.name, drawn
    if "cloud" in outputs:
        cloud.write(results.new_file("cloud", path, ".ply"))
    if "colmap" in outputs:
        poses, found = (np.array(x) for x in zip(*((row.pose, row.intrinsics) for row in rows)))
        names, size = [f"{row.name}.jpg" for row in rows], (rows[0].height, rows[0].width)
        write_colmap(results.folder / "colmap" / path, names, poses, found.mean(axis=0), size, *cloud.arrays())


def _shrunk(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    share = min(MAX_FILM_SIDE / max(height, width), 1.0)
    size = round(share * width), round(share * height)
    return picture if share == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _curves(results: ResultFolder, rows: Sequence[FrameRow]) -> dict[str, tuple[list[int], list[float]]]:
    """The objective against the iterations, averaged over the windows, by part; with its terms for TensorBoard."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    if not any(row.pft or row.oft for row in rows):
        return curves
    writer = tf.summary.create_file_writer(str(results.folder / "tensorboard"))
    with contextlib.closing(writer), writer.as_default():
        for part in ("pft", "oft"):
            histories = [history for row in rows if (history := getattr(row, part))]
            for name in histories[0] if histories else ():
                steps = range(max(len(history[name]) for history in histories))
                # What has stopped counts with its last value.
                values = [
                    float(np.mean([history[name][min(step, len(history[name]) - 1)] for history in histories]))
                    for step in steps
                ]
                for step, value in zip(steps, values):
                    tf.summary.scalar(f"{part}/{name}", value, step)
                if name == "total":
                    curves[part] = list(steps), values
    return curves


def _charts(
    paths: dict[str, list[FrameRow]], curves: dict[str, tuple[list[int], list[float]]], unit: str
) -> list[tuple[str, str]]:
    charts = [("The objective, averaged over the windows", chart(curves, "iteration", "objective"))] if curves else []
    shown = {path or "camera": np.array([row.pose for row in rows]) for path, rows in list(paths.items())[:MAX_PATHS]}
    if max(map(len, shown.values()), default=0) > 1:
        charts.append(("The camera's path from above", path_from_above(shown, unit)))
    if len(paths) == 1 and len(next(iter(paths.values()))) > 1:
        focal = [row.intrinsics[0][0] for rows in paths.values() for row in rows]
        values = {"fx": (list(range(len(focal))), focal)}
        level = ("shared", float(np.mean(focal)))
        charts.append(
            (
                "Focal length of every frame, and the estimate that they share",
                chart(values, "frame", "fx, pixels", level),
            )
        )
    return charts


def doubts(rows: Sequence[FrameRow]) -> list[str]:
    """Returns what speaks against the motion that was found, in a line; nothing if it is good."""
    misfits = [row.misfits for row in rows if row.misfits]
    if not misfits:
        return []
    found, straight = np.median(misfits, axis=0)
    if found < STRAIGHT_SHARE * straight:
        return []
    return [
        f"the motion explains the flow no better than straight ahead would ({found:.2f} and {straight:.2f} pixels "
        "off): the path is not to be trusted beyond that"
    ]


def _head_and_rows(errors: Errors) -> tuple[list[str], list[list[str]]]:
    head, *rows = as_table(errors)
    return head, rows
