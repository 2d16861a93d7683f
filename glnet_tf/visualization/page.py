"""report.html: one file, without a network, in which results are looked at."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import jinja2
import numpy as np
from PIL import Image

from glnet_tf.files import write_bytes
from glnet_tf.progress import command_line
from glnet_tf.visualization.pictures import depth_picture, flow_picture
from glnet_tf.visualization.plots import add_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_FRAMES, WIDEST, JPEG_QUALITY = 48, 640, 80
LAYERS = {
    "frame": "frame",
    "depth": "inverse depth: bright is near, black is far, on one scale for all frames",
    "depth_before": "inverse depth before refinement, on the same scale",
    "confidence": "confidence of the depth: white is proved by the motion, black is the network's word alone",
    "flow": "flow to the next frame: the hue is the direction, as in the wheel; pale is slow, white stands still",
    "moving": "red: moves by itself, or depth is wrong there",
}
# What may stand on the two sides of the edge: those of the first pair that is there do at the start.
WIPES = (("frame", "depth"), ("depth_before", "depth"), ("depth", "confidence"))
KEY_HEIGHT, KEY_WIDTH = 24, 160
VERSIONED = ("glnet_tf", "tensorflow", "numpy", "opencv-python-headless")


class ReportFrame(NamedTuple):
    """A frame's name, its pictures, as data: URLs, by the layer's name (see LAYERS), and how well it shows them off."""

    name: str
    pictures: dict[str, str]
    score: float = 0.0


class Table(NamedTuple):
    """A table of metrics and the protocol by which they were measured."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    protocol: str


class FrameStrip:
    """Keeps pictures of at most MAX_FRAMES frames of a video, evenly spread, however long it is."""

    def __init__(self) -> None:
        self.frames: list[ReportFrame] = []
        self._every, self._seen = 1, 0

    def add(self, name: str, pictures: dict[str, np.ndarray], score: float = 0.0) -> None:
        """Keeps a frame's pictures, [H, W, 3] uint8 each, if it is its turn."""
        if self._seen % self._every == 0:
            if len(self.frames) == MAX_FRAMES:
                self.frames = self.frames[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                urls = {layer: as_jpeg(picture) for layer, picture in pictures.items()}
                self.frames.append(ReportFrame(name, urls, score))
        self._seen += 1


def write_report(
    file: Path,
    title: str,
    lines: Sequence[str] = (),
    frames: Sequence[ReportFrame] = (),
    charts: Sequence[tuple[str, str]] = (),
    tables: Sequence[Table] = (),
    cloud: str = "",
) -> None:
    """Writes the page, whole or not at all.

    Args:
      file: its path.
      title: of the page.
      lines: what is to be known first.
      frames: they play, and two of their layers are wiped across; the page opens with the one of the highest score.
      charts: caption and data: URL, see `chart` and `path_from_above`.
      tables: of metrics.
      cloud: a page of its own in which a point cloud is turned, see PointCloud.viewer; empty: none.
    """
    present = {layer for frame in frames for layer in frame.pictures}
    environment = jinja2.Environment(loader=jinja2.PackageLoader("glnet_tf.visualization", "."), autoescape=True)
    page = environment.get_template("page.html.j2").render(
        title=title,
        lines=lines,
        frames=[frame._asdict() for frame in frames],
        best=max(range(len(frames)), key=lambda i: frames[i].score, default=0),
        layers=[(name, caption, _key(name)) for name, caption in LAYERS.items() if name in present],
        wipes=[wipe for wipe in WIPES if present.issuperset(wipe)],
        cloud=cloud,
        charts=charts,
        tables=tables,
        command=command_line(),
        versions=", ".join(
            [f"Python {platform.python_version()}"]
            + [f"{name} {importlib.metadata.version(name)}" for name in VERSIONED]
        ),
    )
    write_bytes(file, page.encode(errors="replace"))  # names of files may be any bytes


def as_jpeg(picture: np.ndarray, widest: int = WIDEST) -> str:
    """Returns a picture, [H, W, 3] uint8, as a data: URL, shrunk to at most `widest` columns."""
    height, width = picture.shape[:2]
    if width > widest:
        picture = cv2.resize(picture, (widest, round(height * widest / width)), interpolation=cv2.INTER_AREA)
    return _data_url(Image.fromarray(picture), "JPEG", quality=JPEG_QUALITY)


def chart(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    level: tuple[str, float] | None = None,
) -> str:
    """Returns a drawing of curves as a data: URL.

    Args:
      curves: x and y values by the name in the legend.
      x, y: names of the axes, with units.
      level: name and value of a horizontal line.
    """
    figure, axes = new_figure(6, 4)
    for name, values in curves.items():
        axes.plot(*values, label=name, marker="." if len(values[0]) < 3 else None)
    if level is not None:
        axes.axhline(level[1], color="0.4", linestyle="--", label=level[0])
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    if len(curves) + (level is not None) > 1:
        add_legend(axes)
    return _drawn(figure)


def path_from_above(paths: dict[str, np.ndarray], unit: str) -> str:
    """Returns a drawing of camera paths, [N, 4, 4] camera to world, as a data: URL; x to the right, z upwards."""
    figure, axes = new_figure(6, 4)
    for name, poses in paths.items():
        axes.plot(poses[:, 0, 3], poses[:, 2, 3], label=name)
    start = next(iter(paths.values()))[0]
    axes.plot(start[0, 3], start[2, 3], "k.", label="start")
    axes.set(xlabel=f"x ({unit})", ylabel=f"z ({unit})")
    axes.axis("equal")
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    add_legend(axes)
    return _drawn(figure)


def _key(layer: str) -> str:
    """Returns what the colours of a layer mean as a data: URL; empty where they are the frame's own."""
    values = np.broadcast_to(np.linspace(0, 1, KEY_WIDTH), (KEY_HEIGHT, KEY_WIDTH))
    if layer in ("depth", "depth_before"):
        return as_jpeg(depth_picture(values, 0.0, 1.0))
    if layer == "confidence":
        return as_jpeg(np.repeat(np.round(255 * values).astype(np.uint8)[..., np.newaxis], 3, axis=-1))
    if layer == "flow":
        side = np.linspace(-1, 1, 3 * KEY_HEIGHT)
        directions = np.stack(np.meshgrid(side, side), axis=-1)
        wheel = flow_picture(directions, 1.0)
        wheel[np.linalg.norm(directions, axis=-1) > 1] = 255
        return as_jpeg(wheel)
    return ""


def _drawn(figure: Figure) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    content.seek(0)
    return _data_url(Image.open(content), "PNG")


def _data_url(image: Image.Image, kind: str, **options: int) -> str:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
