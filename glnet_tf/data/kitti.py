"""KITTI as it is downloaded: the odometry benchmark and the synced, rectified raw recordings."""

from __future__ import annotations

from pathlib import Path

from glnet_tf.data.calibration import read_poses, read_projection
from glnet_tf.data.scenes import Scene, SceneSource, image_files, select_scenes
from glnet_tf.errors import DataError


class KittiOdometrySource(SceneSource):
    """The left camera of `root/sequences/XX`: image_2 (colour) with P2 where it is there, else image_0 (grey) with P0.

    Args:
      root: the folder that holds `sequences` and, where known, `poses`.
      split: comma-separated sequences (00,01); empty: all.
      stride, holdout_frames, part, holdout_scenes: see `scenes.SceneSource`.

    Raises:
      DataError: the layout, a calibration or the poses are not as they should be.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "",
        stride: int = 1,
        holdout_frames: int = 0,
        part: str = "train",
        holdout_scenes: str = "",
    ) -> None:
        folders = select_scenes(odometry_sequences(root), split, root)
        scenes = [_read_sequence(Path(root), name, folder) for name, folder in folders.items()]
        super().__init__(str(root), scenes, stride, holdout_frames, part, holdout_scenes)


class KittiRawSource(SceneSource):
    """The left colour camera of `root/DATE/DATE_drive_NNNN_sync`; the drives of one date share their camera.

    Args:
      root: the folder that holds the dates.
      split: comma-separated drives (2011_09_26_drive_0001_sync); empty: all.
      stride, holdout_frames, part, holdout_scenes: see `scenes.SceneSource`.

    Raises:
      DataError: the layout or a calibration is not as it should be.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "",
        stride: int = 1,
        holdout_frames: int = 0,
        part: str = "train",
        holdout_scenes: str = "",
    ) -> None:
        folders = select_scenes(raw_drives(root), split, root)
        scenes = [_read_drive(name, folder) for name, folder in folders.items()]
        super().__init__(str(root), scenes, stride, holdout_frames, part, holdout_scenes)


def odometry_sequences(root: str | Path) -> dict[str, Path]:
    """Returns the image folders of the sequences under a KITTI odometry folder, by name."""
    found = {}
    for folder in sorted(Path(root).glob("sequences/*")):
        cameras = [folder / camera for camera in ("image_2", "image_0") if (folder / camera).is_dir()]
        if cameras:
            found[folder.name] = cameras[0]
    if not found:
        raise DataError(f"{root}: has no sequences/*/image_2 or image_0: expected KITTI odometry; correct --data_dir")
    return found


def raw_drives(root: str | Path) -> dict[str, Path]:
    """Returns the image folders of the drives under a KITTI raw folder, by name."""
    folders = sorted(Path(root).glob("*/*_drive_*_sync/image_02/data"))
    found = {folder.parents[1].name: folder for folder in folders if folder.is_dir()}
    if not found:
        raise DataError(f"{root}: has no DATE/DATE_drive_*_sync/image_02/data: expected KITTI raw; correct --data_dir")
    return found


def _read_sequence(root: Path, name: str, folder: Path) -> Scene:
    files, poses = image_files(folder), root / "poses" / f"{name}.txt"
    return Scene(
        name=name,
        files=files,
        camera=name,
        intrinsics=read_projection(folder.parent / "calib.txt", "P2" if folder.name == "image_2" else "P0"),
        poses=read_poses(poses, len(files)) if poses.exists() else None,
    )


def _read_drive(name: str, folder: Path) -> Scene:
    date = folder.parents[2]
    return Scene(
        name=name,
        files=image_files(folder),
        camera=date.name,
        intrinsics=read_projection(date / "calib_cam_to_cam.txt", "P_rect_02"),
    )
