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
from glnet_tf.visualization.plots import add_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_FRAMES, WIDEST, JPEG_QUALITY = 48, 640, 80
LAYERS = {
    "frame": "frame",
    "depth": "inverse depth: near is bright",
    "confidence": "confidence of the depth: white is proved by the motion, black is the network's word alone",
    "flow": "flow to the next frame: the hue is the direction",
    "moving": "moving by itself (red)",
}
VERSIONED = ("glnet_tf", "tensorflow", "numpy", "opencv-python-headless")


class ReportFrame(NamedTuple):
    """A frame's name and its pictures, as data: URLs, by the layer's name (those of LAYERS, and depth_before)."""

    name: str
    pictures: dict[str, str]


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

    def add(self, name: str, pictures: dict[str, np.ndarray]) -> None:
        """Keeps a frame's pictures, [H, W, 3] uint8 each, if it is its turn."""
        if self._seen % self._every == 0:
            if len(self.frames) == MAX_FRAMES:
                self.frames = self.frames[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self.frames.append(ReportFrame(name, {layer: as_jpeg(x) for layer, x in pictures.items()}))
        self._seen += 1


def write_report(
    file: Path,
    title: str,
    lines: Sequence[str] = (),
    frames: Sequence[ReportFrame] = (),
    charts: Sequence[tuple[str, str]] = (),
    tables: Sequence[Table] = (),
) -> None:
    """Writes the page, whole or not at all.

    Args:
      file: its path.
      title: of the page.
      lines: what is to be known first.
      frames: under a slider; with the layer depth_before, before and after are wiped across.
      charts: caption and data: URL, see `chart` and `path_from_above`.
      tables: of metrics.
    """
    present = {layer for frame in frames for layer in frame.pictures}
    environment = jinja2.Environment(loader=jinja2.PackageLoader("glnet_tf.visualization", "."), autoescape=True)
    page = environment.get_template("page.html.j2").render(
        title=title,
        lines=lines,
        frames=[frame._asdict() for frame in frames],
        layers=[pair for pair in LAYERS.items() if pair[0] in present],
        compared="depth_before" in present,
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


def _drawn(figure: Figure) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    content.seek(0)
    return _data_url(Image.open(content), "PNG")


def _data_url(image: Image.Image, kind: str, **options: int) -> str:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
