"""Drawings of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glnet_tf.files import replacement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Returns an empty figure of a size in inches, and its axes."""
    from matplotlib.figure import Figure  # a fifth of a second, which the first frame need not wait for

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def add_legend(axes: Axes) -> None:
    """Adds a legend with the names as they are: what looks like TeX may be the name of a folder."""
    for text in axes.legend().get_texts():
        text.set_parse_math(False)
        text.set_text(text.get_text().encode(errors="replace").decode())  # names of files may be any bytes


def write_trajectory_plot(file: Path, trajectories: dict[str, np.ndarray]) -> None:
    """Draws camera paths from above, x to the right and z upwards in metres, as PNG.

    Args:
      file: path of the drawing.
      trajectories: [N, 4, 4] camera to world, by the name in the legend.
    """
    figure, axes = new_figure(6, 6)
    for name, poses in trajectories.items():
        axes.plot(poses[:, 0, 3], poses[:, 2, 3], label=name)
    axes.plot(*next(iter(trajectories.values()))[0, [0, 2], 3], "k.", label="start")
    axes.set(xlabel="x (m)", ylabel="z (m)", aspect="equal")
    axes.margins(0.1)
    add_legend(axes)
    with replacement(file) as part:
        figure.savefig(part, format="png", dpi=100)
