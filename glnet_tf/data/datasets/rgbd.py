"""RGB-D recordings in the layout of Microsoft's 7-Scenes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.scenes import Scene, SceneSource
from glnet_tf.data.files.arrays import read_depth_png
from glnet_tf.data.files.calibration import Camera, check_rotations, read_camera, read_numbers
from glnet_tf.data.files.images import IMAGE_SUFFIXES
from glnet_tf.errors import DataError

DEPTH_SCALE = 1000.0
NO_DEPTH = 65535
INTRINSICS = "camera-intrinsics.txt"


class RgbdSource(SceneSource):
    """Scenes of `frame-NNNNNN.color.{png,jpg}`, `.depth.png` (16 bits, millimetres) and `.pose.txt` (4x4 to the world).

    A scene is `root` itself, or a folder one or two levels below it (seq-01, chess/seq-01). K is
    `camera-intrinsics.txt` (3x3 in pixels of the colour images) in its folder or above, up to `root`, or unknown. All
    scenes share their camera.
    """

    depth_truth = "RGB-D sensor"

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        if _frames(root):
            return {root.resolve().name: root}
        folders = sorted({file.parent for level in ("*", "*/*") for file in root.glob(f"{level}/*.color.*")})
        if not folders:
            raise DataError(
                f"{root}: has no frame-*.color.png or .jpg in it or two levels below: expected the layout of 7-Scenes; "
                "correct --data_dir"
            )
        return {folder.relative_to(root).as_posix(): folder for folder in folders}

    def read_scene(self, name: str, place: Path) -> Scene:
        files = _frames(place)
        folders = [place, *(folder for folder in place.parents if folder.is_relative_to(self.root))]
        known = [folder / INTRINSICS for folder in folders if (folder / INTRINSICS).exists()]
        has_poses = _beside(files[0], "pose.txt").exists()
        camera = read_camera(known[0]) if known else Camera()
        return Scene(
            name=name,
            files=files,
            camera=self.root.resolve().name,
            intrinsics=camera.intrinsics,
            distortion=camera.distortion,
            poses=np.stack([_pose(_beside(file, "pose.txt")) for file in files]) if has_poses else None,
            depth=partial(_depth, files),
        )


def _frames(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(str(file) for file in folder.glob("*.color.*") if file.suffix.lower() in IMAGE_SUFFIXES))


def _beside(file: str, ending: str) -> Path:
    return Path(file).with_name(f"{Path(file).name.split('.')[0]}.{ending}")


def _pose(file: Path) -> np.ndarray:
    rows = read_numbers(file)
    pose = np.array(rows) if [*map(len, rows)] == [4] * 4 else np.zeros(0)
    if not pose.size or not np.isfinite(pose).all() or pose[3].tolist() != [0, 0, 0, 1]:
        raise DataError(f"{file}: expected a 4x4 matrix of finite numbers, camera to world; extract it again")
    check_rotations(pose[np.newaxis, :3, :3], file)
    return pose


def _depth(files: tuple[str, ...], frame: int) -> np.ndarray | None:
    file = _beside(files[frame], "depth.png")
    return read_depth_png(file, DEPTH_SCALE, NO_DEPTH) if file.exists() else None
