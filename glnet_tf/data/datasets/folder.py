"""Folders of numbered frames, the layout for one's own videos."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.scenes import Scene, SceneSource
from glnet_tf.data.files.arrays import read_depth_png
from glnet_tf.data.files.calibration import Camera, read_camera, read_numbers, read_poses
from glnet_tf.data.files.image_names import image_files, natural_key
from glnet_tf.errors import DataError

DEPTH_SCALE = 256.0
SHAPE_FILE = "shape.txt"


class FolderSource(SceneSource):
    """Scenes `root/NAME/*.{jpg,jpeg,png}`, or `root` itself as one scene; each has a camera of its own.

    A scene may hold `cam.txt` (3x3 K in pixels of its images), `poses.txt` (camera to world, a 3x4 row per image) and
    `depth/*.png` (16 bits, metres times 256, 0 where unknown), named as the images whose depth they are. Frames that
    were resized without regard to their shape have its width over height in `shape.txt`.
    """

    depth_truth = "depth/*.png"

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        if not root.is_dir():
            raise DataError(f"{root}: is not a folder: expected a folder of scenes or of images; correct --data_dir")
        if image_files(root):
            return {root.resolve().name: root}
        folders = sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda at: natural_key(at.name))
        scenes = {folder.name: folder for folder in folders if image_files(folder)}
        if not scenes:
            raise DataError(
                f"{root}: holds no images: expected .jpg or .png frames in it or in its subfolders; "
                "extract the video's frames there, or correct --data_dir"
            )
        return scenes

    def read_scene(self, name: str, place: Path) -> Scene:
        files, cam, poses, shape = image_files(place), *(place / name for name in ("cam.txt", "poses.txt", SHAPE_FILE))
        camera = read_camera(cam) if cam.exists() else Camera()
        return Scene(
            name=name,
            files=files,
            camera=name,
            intrinsics=camera.intrinsics,
            distortion=camera.distortion,
            poses=read_poses(poses, len(files)) if poses.exists() else None,
            shape=_shape(shape) if shape.exists() else None,
            depth=partial(_depth, place / "depth", files) if (place / "depth").is_dir() else None,
        )


def _shape(file: Path) -> float:
    numbers = read_numbers(file)
    if [len(row) for row in numbers] != [1] or not 0 < numbers[0][0] < np.inf:
        raise DataError(f"{file}: expected one positive number, the frames' width over height; correct or remove it")
    return numbers[0][0]


def _depth(folder: Path, files: tuple[str, ...], frame: int) -> np.ndarray | None:
    file = folder / f"{Path(files[frame]).stem}.png"
    return read_depth_png(file, DEPTH_SCALE) if file.exists() else None
