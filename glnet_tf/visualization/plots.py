"""Drawings of what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glnet_tf.files import replacement


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
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    for name, poses in trajectories.items():
        axes.plot(poses[:, 0, 3], poses[:, 2, 3], label=name)
    axes.plot(*next(iter(trajectories.values()))[0, [0, 2], 3], "k.", label="start")
    axes.set(xlabel="x (m)", ylabel="z (m)", aspect="equal")
    axes.margins(0.1)
    add_legend(axes)
    with replacement(file) as part:
        figure.savefig(part, format="png", dpi=100)
