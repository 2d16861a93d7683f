"""KITTI as it is downloaded: the odometry benchmark and the synced, rectified raw recordings."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path

import numpy as np

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.kitti_truth import IMPROVED_SCALE, VelodyneDepth, read_oxts
from glnet_tf.data.datasets.scenes import Scene, SceneSource
from glnet_tf.data.files.arrays import read_depth_png
from glnet_tf.data.files.calibration import read_poses, read_projection
from glnet_tf.data.files.image_names import image_files
from glnet_tf.errors import DataError

IMPROVED, LIDAR = "improved KITTI depth", "raw LiDAR"
# Folders of the colour cameras by the name that --kitti_camera gives them.
CAMERAS = {"left": ("image_02",), "right": ("image_03",), "both": ("image_02", "image_03")}


# Raw recordings that the odometry benchmark's sequences are parts of, by its own table.
ODOMETRY_DRIVES = {
    "00": "2011_10_03_drive_0027",
    "01": "2011_10_03_drive_0042",
    "02": "2011_10_03_drive_0034",
    "03": "2011_09_26_drive_0067",
    "04": "2011_09_30_drive_0016",
    "05": "2011_09_30_drive_0018",
    "06": "2011_09_30_drive_0020",
    "07": "2011_09_30_drive_0027",
    "08": "2011_09_30_drive_0028",
    "09": "2011_09_30_drive_0033",
    "10": "2011_09_30_drive_0034",
}


class KittiOdometrySource(SceneSource):
    """The left camera of `root/sequences/XX`: image_2 (colour) with P2 where it is there, else image_0 (grey) with P0.

    Poses come from `root/poses/XX.txt` where that is there. Drives of Eigen's test set are no part of training;
    their held-out frames validate.
    """

    def exclusion(self, name: str, part: str) -> str:
        drive = ODOMETRY_DRIVES.get(name, "")
        if part == "train" and f"{drive}_sync" in eigen_test_frames():
            return f"{drive}, one of Eigen's test drives, never trained on"
        return ""

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        found = {}
        for folder in sorted(root.glob("sequences/*")):
            cameras = [folder / camera for camera in ("image_2", "image_0") if (folder / camera).is_dir()]
            if cameras:
                found[folder.name] = cameras[0]
        if not found:
            raise DataError(
                f"{root}: has no sequences/*/image_2 or image_0: expected KITTI odometry; correct --data_dir"
            )
        return found

    def read_scene(self, name: str, place: Path) -> Scene:
        files, poses = image_files(place), self.root / "poses" / f"{name}.txt"
        matrix = read_projection(place.parent / "calib.txt", "P2" if place.name == "image_2" else "P0")
        return Scene(
            name=name,
            files=files,
            camera=name,
            intrinsics=matrix[:, :3],
            poses=read_poses(poses, len(files)) if poses.exists() else None,
        )


class KittiRawSource(SceneSource):
    """The colour cameras of `root/DATE/DATE_drive_NNNN_sync`; the drives of one date share them.

    A drive's left camera is the scene DRIVE, its right one DRIVE/image_03. The drives of Eigen's test set are no part
    of training and validation. Depth is the LiDAR's, or KITTI's improved one where
    `config.kitti.depth_dir` names its folder; poses are those of oxts/ where it is there.
    """

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        found = {}
        for drive in sorted(root.glob("*/*_drive_*_sync")):
            for camera in CAMERAS[config.kitti.kitti_camera]:
                if (drive / camera / "data").is_dir():
                    found[drive.name if camera == "image_02" else f"{drive.name}/{camera}"] = drive / camera / "data"
        if not found:
            wanted = " or ".join(CAMERAS[config.kitti.kitti_camera])
            raise DataError(
                f"{root}: has no DATE/DATE_drive_*_sync/{wanted} with data/: expected KITTI raw; correct --data_dir"
            )
        return found

    @property
    def depth_truth(self) -> str:  # type: ignore[override]
        return IMPROVED if self.config.kitti.depth_dir else f"{LIDAR}, depth from the {self.config.kitti.lidar_depth}"

    def exclusion(self, name: str, part: str) -> str:
        if part in ("train", "validation") and name.split("/")[0] in eigen_test_frames():
            return "one of Eigen's test drives, never trained on"
        return ""

    def read_scene(self, name: str, place: Path) -> Scene:
        drive, camera = place.parents[1], place.parent.name
        date, files = drive.parent, image_files(place)
        projection = read_projection(date / "calib_cam_to_cam.txt", f"P_rect_{camera[-2:]}")
        return Scene(
            name=name,
            files=files,
            camera=date.name if camera == "image_02" else f"{date.name}/{camera}",
            intrinsics=projection[:, :3],
            poses=read_oxts(drive, camera, files) if (drive / "oxts").is_dir() else None,
            depth=self._depth_reader(drive, camera, files),
        )

    def _depth_reader(self, drive: Path, camera: str, files: tuple[str, ...]):  # type: ignore[no-untyped-def]
        if self.config.kitti.depth_dir:
            return partial(_improved_depth, Path(self.config.kitti.depth_dir), drive.name, camera, files)
        if (drive / "velodyne_points").is_dir():
            return VelodyneDepth(
                drive, camera, files, self.config.cache_dir, self.config.kitti.lidar_depth == "velodyne"
            )
        return None


@cache
def eigen_test_frames() -> dict[str, list[int]]:
    """Returns the 697 test frames of Eigen et al. (NIPS 2014), left colour camera: frame numbers by drive."""
    return json.loads(Path(__file__).with_name("kitti_eigen_test.json").read_text())


def eigen_labels() -> set[str]:
    """Returns the labels (see `Source.label`) of the frames of Eigen's test set."""
    return {f"{drive}/{frame:010d}" for drive, frames in eigen_test_frames().items() for frame in frames}


def _improved_depth(root: Path, drive: str, camera: str, files: tuple[str, ...], frame: int) -> np.ndarray | None:
    name = f"{drive}/proj_depth/groundtruth/{camera}/{Path(files[frame]).stem}.png"
    found = [root / part / name for part in ("train", "val", ".") if (root / part / name).exists()]
    return read_depth_png(found[0], IMPROVED_SCALE) if found else None
