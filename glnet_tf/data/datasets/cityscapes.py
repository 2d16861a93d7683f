"""Cityscapes as it is downloaded: leftImg8bit_sequence and camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.scenes import Scene, SceneSource
from glnet_tf.data.files.calibration import check_intrinsics
from glnet_tf.data.files.image_names import natural_key
from glnet_tf.errors import DataError
from glnet_tf.files import read_json

# Below these rows is the bonnet with its star.
USED_ROWS = 0.75
SUFFIX = "_leftImg8bit.png"


class CityscapesSource(SceneSource):
    """The sequences `root/leftImg8bit_sequence/PART/CITY/CITY_SSSSSS_FFFFFF_leftImg8bit.png`: scenes CITY_SSSSSS.

    K comes from the annotated frame's `root/camera/PART/CITY/*_camera.json`; the frames of a city share their camera.
    The car's bonnet, the lowest quarter of the image, is cut off.
    """

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        found = {}
        for city in sorted(root.glob("leftImg8bit_sequence/*/*")):
            names = {file.name.rsplit("_", 2)[0] for file in city.glob(f"*{SUFFIX}")}
            found.update({name: city for name in sorted(names)})
        if not found:
            raise DataError(
                f"{root}: has no leftImg8bit_sequence/*/*/*{SUFFIX}: expected Cityscapes' sequences; correct --data_dir"
            )
        return found

    def read_scene(self, name: str, place: Path) -> Scene:
        files = sorted(place.glob(f"{name}_*{SUFFIX}"), key=lambda file: natural_key(file.name))
        cameras = self.root / "camera" / place.parent.name / place.name
        found = sorted(cameras.glob(f"{name}_*_camera.json"))
        if not found:
            raise DataError(
                f"{cameras}: has no {name}_*_camera.json: expected the calibration; extract Cityscapes' camera package"
            )
        return Scene(
            name=name,
            files=tuple(str(file) for file in files),
            camera=place.name,
            intrinsics=read_camera(found[0]),
            used_rows=USED_ROWS,
        )


def read_camera(file: Path) -> np.ndarray:
    """Returns K, [3, 3] in pixels, of a Cityscapes camera file.

    Raises:
      DataError: it does not hold fx, fy, u0 and v0.
    """
    names = ("fx", "fy", "u0", "v0")
    expected = "JSON with intrinsic fx, fy, u0 and v0, as in the camera package"
    values = read_json(file, expected, {"intrinsic": dict.fromkeys(names, float)})["intrinsic"]
    fx, fy, u0, v0 = (float(values[name]) for name in names)
    return check_intrinsics(np.array([[fx, 0, u0], [0, fy, v0], [0, 0, 1]]), file)
