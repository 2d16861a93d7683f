"""Benchmarks of optical flow: pairs of frames with their true flow."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.scenes import FlowTruth, Scene, SceneSource
from glnet_tf.data.files.arrays import read_flo, read_kitti_flow
from glnet_tf.data.files.calibration import read_projection
from glnet_tf.data.files.image_names import image_files
from glnet_tf.data.files.images import opened
from glnet_tf.errors import DataError

FIRST_FRAME = "_10"


class KittiFlowSource(SceneSource):
    """KITTI 2012 (`colored_0`, else `image_0`) and 2015 (`image_2`) in `root` or `root/training`: a scene a pair.

    Frames NNNNNN_10 and _11, and those about them where the multi-view extension is there. Flow comes from flow_occ and
    flow_noc (visible), moving objects from obj_map (2015), K from calib_cam_to_cam or calib where they are there.
    """

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        for folder in (root / "training", root):
            for images in ("image_2", "colored_0", "image_0"):
                found = sorted((folder / images).glob(f"*{FIRST_FRAME}.png"))
                if found:
                    return {file.name.split("_")[0]: file for file in found}
        raise DataError(
            f"{root}: has no training/image_2, colored_0 or image_0 with *{FIRST_FRAME}.png: expected KITTI's flow "
            "benchmark of 2012 or 2015; correct --data_dir"
        )

    def read_scene(self, name: str, place: Path) -> Scene:
        folder = place.parents[1]
        files = tuple(str(file) for file in sorted(place.parent.glob(f"{name}_[0-9][0-9].png")))
        return Scene(
            name=name,
            files=files,
            camera=name,
            intrinsics=_intrinsics(folder, place.parent.name, name),
            flow=partial(_kitti_flow, folder, files),
        )

    def labels(self, index: int) -> tuple[str, str, str]:
        """Returns NNNNNN_10 and _11, as the benchmark names the frames."""
        before, middle, after = (Path(file).stem for file in self.files(index))
        return before, middle, after


class MiddleburyFlowSource(SceneSource):
    """Middlebury's `root/other-data/NAME/frame10.png` and 11, with `root/other-gt-flow/NAME/flow10.flo`."""

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        found = {file.parent.name: file.parent for file in sorted(root.glob("other-data*/*/frame10.png"))}
        if not found:
            raise DataError(
                f"{root}: has no other-data/NAME/frame10.png: expected Middlebury's flow benchmark; correct --data_dir"
            )
        return found

    def read_scene(self, name: str, place: Path) -> Scene:
        files = image_files(place)
        return Scene(
            name=name,
            files=files,
            camera=name,
            flow=partial(_middlebury_flow, self.root / "other-gt-flow" / name, files),
        )


def _intrinsics(folder: Path, images: str, name: str) -> np.ndarray | None:
    """K of the camera whose images are in folder/images, by the calibration of 2015 or 2012, or None without one."""
    camera = "02" if images in ("image_2", "colored_0") else "00"
    recent, early = folder / "calib_cam_to_cam" / f"{name}.txt", folder / "calib" / f"{name}.txt"
    if recent.exists():
        return read_projection(recent, f"P_rect_{camera}")[:, :3]
    if early.exists():
        return read_projection(early, "P2" if camera == "02" else "P0")[:, :3]
    return None


def _kitti_flow(folder: Path, files: tuple[str, ...], frame: int) -> FlowTruth | None:
    name = Path(files[frame]).name
    occluded, visible = folder / "flow_occ" / name, folder / "flow_noc" / name
    if not (occluded.exists() or visible.exists()):
        return None
    flow, valid = read_kitti_flow(occluded if occluded.exists() else visible)
    seen = read_kitti_flow(visible)[1] if visible.exists() else None
    objects = folder / "obj_map" / name
    moving = _objects(objects) if objects.exists() else None
    return FlowTruth(flow, valid, seen, moving)


def _objects(file: Path) -> np.ndarray:
    """Where an obj_map of KITTI 2015 marks a moving object, [h, w]."""
    with opened(file, "an 8-bit PNG that numbers moving objects") as image:
        return np.asarray(image.convert("L")) > 0


def _middlebury_flow(folder: Path, files: tuple[str, ...], frame: int) -> FlowTruth | None:
    number = re.findall(r"\d+", Path(files[frame]).stem)[-1]
    file = folder / f"flow{number}.flo"
    if not file.exists():
        return None
    flow, valid = read_flo(file)
    return FlowTruth(flow, valid, None, None)
