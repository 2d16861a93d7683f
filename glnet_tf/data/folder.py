"""Folders of numbered frames, the layout for one's own videos."""

from __future__ import annotations

from pathlib import Path

from glnet_tf.data.calibration import read_intrinsics, read_poses
from glnet_tf.data.scenes import Scene, SceneSource, image_files, natural_key, select_scenes
from glnet_tf.errors import DataError


class FolderSource(SceneSource):
    """Scenes `root/NAME/*.{jpg,jpeg,png}`, or `root` itself as one scene; each has a camera of its own.

    A scene may hold `cam.txt` (3x3 K in pixels of its images) and `poses.txt` (camera to world, a 3x4 row per image).

    Args:
      root: the folder.
      split: comma-separated names of scenes; empty: all.
      stride, holdout_frames, part, holdout_scenes: see `scenes.SceneSource`.

    Raises:
      DataError: nothing usable is there, or a file beside the images is not as it should be.
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
        folders = select_scenes(folder_scenes(root), split, root)
        scenes = [read_scene(name, folder) for name, folder in folders.items()]
        super().__init__(str(root), scenes, stride, holdout_frames, part, holdout_scenes)


def folder_scenes(root: str | Path) -> dict[str, Path]:
    """Returns the scene folders by name: `root` itself if it holds images, else its subfolders that do."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder: expected a folder of scenes or of images; correct --data_dir")
    if image_files(root):
        return {root.resolve().name: root}
    folders = sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda entry: natural_key(entry.name))
    scenes = {folder.name: folder for folder in folders if image_files(folder)}
    if not scenes:
        raise DataError(
            f"{root}: holds no images: expected .jpg or .png frames in it or in its subfolders; "
            "extract the video's frames there, or correct --data_dir"
        )
    return scenes


def read_scene(name: str, folder: Path) -> Scene:
    """Returns a scene with the calibration and poses beside its images, where there are any."""
    files, cam, poses = image_files(folder), folder / "cam.txt", folder / "poses.txt"
    return Scene(
        name=name,
        files=files,
        camera=name,
        intrinsics=read_intrinsics(cam) if cam.exists() else None,
        poses=read_poses(poses, len(files)) if poses.exists() else None,
    )
