"""Predictions that any system left in files, or that a result folder holds (inference.result_folder)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glnet_tf.data.datasets.folder import DEPTH_SCALE
from glnet_tf.data.files.arrays import read_depth_png, read_flo, read_kitti_flow
from glnet_tf.errors import DataError
from glnet_tf.files import read_array

# By task: the folder of a result folder, and the suffixes that are looked for.
SUFFIXES = {
    "depth": (".npz", ".npy", ".png"),
    "flow": (".flo", ".npz", ".npy", ".png"),
    "trajectory": (".txt", ".tum"),
}


def find_files(folder: Path, kind: str, labels: Sequence[str]) -> list[Path]:
    """Returns the file of every label SCENE/FRAME (of a trajectory: SCENE), with one of the suffixes of its kind.

    Looked for are FOLDER/SCENE/FRAME and, as in a result folder, FOLDER/KIND/SCENE/FRAME; where there is only one
    scene, the same without it: FOLDER/FRAME, FOLDER/KIND/FRAME, FOLDER/trajectory.txt.

    Raises:
      DataError: a label has no file; the message counts them.
    """
    scenes = set(labels) if kind == "trajectory" else {label.rpartition("/")[0] for label in labels}
    found, missing = [], []
    for label in labels:
        names = [label]
        if len(scenes) == 1:
            names.append(kind if kind == "trajectory" else label.rpartition("/")[2])
        places = [
            place / (name + suffix) for place in (folder, folder / kind) for name in names for suffix in SUFFIXES[kind]
        ]
        existing = [file for file in places if file.exists()]
        found += existing[:1]
        missing += [] if existing else [label]
    if missing:
        raise DataError(
            f"{folder}: has {len(found)} of {len(labels)} predictions, not {missing[0]}: expected it as "
            f"{missing[0]}{' or '.join(SUFFIXES[kind])}; predict every frame that has a truth"
        )
    return found


def read_depth(file: Path) -> np.ndarray:
    """Returns a predicted depth map, [h, w], of an .npz, .npy or 16-bit PNG file."""
    depth = read_depth_png(file, DEPTH_SCALE) if file.suffix == ".png" else read_array(file, "depth")
    depth = depth[..., 0] if depth.ndim == 3 and depth.shape[-1] == 1 else depth
    if depth.ndim != 2:
        raise DataError(f"{file}: has shape {depth.shape}: expected (height, width); save one depth map per file")
    return depth


def read_flow(file: Path) -> np.ndarray:
    """Returns a predicted flow, [h, w, 2] pixels, NaN where the file says that it is unknown."""
    if file.suffix in (".flo", ".png"):
        flow, valid = read_flo(file) if file.suffix == ".flo" else read_kitti_flow(file)
        return np.where(valid[..., np.newaxis], flow, np.nan)
    flow = read_array(file, "flow")
    if flow.ndim != 3 or flow.shape[-1] != 2:
        raise DataError(f"{file}: has shape {flow.shape}: expected (height, width, 2); save (u, v) in pixels")
    return flow
