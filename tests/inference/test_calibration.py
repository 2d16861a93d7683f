"""Where K comes from, in its order, and lenses that distort."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import street_trees as trees
import tensorflow as tf
from PIL import Image

from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.files.calibration import Camera, read_camera, undistort
from glnet_tf.errors import DataError
from glnet_tf.inference.calibration import Calibration, find_calibration

GIVEN = SimpleNamespace(source_of_intrinsics="given", field_of_view=72.0)
SIZE = (48, 64)


def test_the_order(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26
    Image.new("RGB", (64, 48)).save(tmp_path / "0.jpg", exif=exif)
    place = str(tmp_path)

    def found(*flags, size=SIZE, model=GIVEN):
        calibration = find_calibration(place, size, model, *flags)
        K = calibration.camera.intrinsics
        return calibration.source, None if K is None else round(float(K[0, 0]), 1)

    # A lens of 26 mm on film of 43.27 mm across; half of 64 pixels over the tangent of 45 degrees.
    assert found() == ("by the focal length in the EXIF data", round(26 / 43.27 * 80, 1))
    assert found("", 90.0) == ("by --field_of_view", 32.0)
    (tmp_path / "cam.txt").write_bytes(b"\xef\xbb\xbf70 0 31\n0 70 23\n0 0 1\n")
    assert found() == ("given by cam.txt", 70.0) and found("", 90.0)[1] == 32.0
    (tmp_path / "K.txt").write_text("80 0 31\n0 80 23\n0 0 1\n")
    assert found(str(tmp_path / "K.txt")) == ("given by K.txt", 80.0)
    with pytest.raises(DataError, match=r"K.txt: principal point \(31, 23\) is outside of its 24x16 images"):
        found(str(tmp_path / "K.txt"), size=(16, 24))
    learned = SimpleNamespace(source_of_intrinsics="learned", field_of_view=72.0)
    assert found(model=learned) == ("learned by the model", None)
    fixed = SimpleNamespace(source_of_intrinsics="fov", field_of_view=60.0)
    assert found(model=fixed) == ("assumed: a field of view of 60 degrees", None)
    (tmp_path / "drive.mp4").touch()
    assert find_calibration(f"{place}/drive.mp4", SIZE, GIVEN).source == "given by cam.txt"
    (tmp_path / "drive.cam.txt").write_text("60 0 31\n0 60 23\n0 0 1\n")
    assert find_calibration(f"{place}/drive.mp4", SIZE, GIVEN).camera.intrinsics[0, 0] == 60
    (tmp_path / "bare").mkdir()
    assert find_calibration(f"{place}/bare", SIZE, GIVEN).source == "assumed: a field of view of 72 degrees"


def test_distortion_is_taken_out_where_opencv_put_it_in(tmp_path):
    """A picture is distorted by looking up, for every distorted pixel, where it lies in the undistorted picture."""
    (tmp_path / "cam.txt").write_text("90 0 47.5\n0 90 31.5\n0 0 1\n-0.5 0.05 0.001 -0.002\n")
    camera = read_camera(tmp_path / "cam.txt")
    assert camera.distortion.tolist() == [-0.5, 0.05, 0.001, -0.002, 0.0]
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.uniform(0, 255, (64, 96, 3)).astype(np.float32), (0, 0), 3)
    picture = np.uint8(np.clip((picture - 127) * 6 + 127, 0, 255))
    y, x = np.mgrid[:64, :96].astype(np.float32)
    K, pixels = camera.intrinsics, np.stack([x, y], -1).reshape(-1, 1, 2)
    places = cv2.undistortPoints(pixels, K, camera.distortion, None, None, K)
    distorted = cv2.remap(picture, places.reshape(64, 96, 2), None, cv2.INTER_LINEAR)
    inner = slice(12, -12), slice(12, -12)
    assert np.mean(np.abs(distorted[inner].astype(float) - picture[inner])) > 5
    assert np.mean(np.abs(undistort(distorted, camera)[inner].astype(float) - picture[inner])) < 2
    assert undistort(picture, Camera(camera.intrinsics)) is picture


def test_a_folder_is_read_without_its_distortion(tmp_path):
    trees.write_folder_tree(tmp_path, trees.street())
    scene = FolderSource(tmp_path, part="all").scenes[0]
    folder = next(tmp_path.rglob("cam.txt")).parent
    plain = FolderSource(tmp_path, part="all").load(tf.constant(1, tf.int64))
    with open(folder / "cam.txt", "a") as file:
        file.write("\n-0.3 0.1 0 0 0\n")
    source = FolderSource(tmp_path, part="all")
    images, K, _ = source.load(tf.constant(1, tf.int64))
    camera = Camera(scene.intrinsics, np.array([-0.3, 0.1, 0, 0, 0]))
    np.testing.assert_array_equal(K, plain[1])
    np.testing.assert_array_equal(images[1], undistort(plain[0][1].numpy(), camera))
    assert dataclasses.replace(source.scenes[0], distortion=None).distortion is None


def test_larger_images_are_shrunk_with_their_k():
    K = np.array([[100.0, 0, 31.5], [0, 80.0, 23.5], [0, 0, 1]])
    calibration = Calibration(Camera(K), "given", max_side=32)
    assert calibration.used(np.zeros((48, 64, 3), np.uint8)).shape == (24, 32, 3)
    np.testing.assert_allclose(calibration.intrinsics((48, 64)), [[50, 0, 15.5], [0, 40, 11.5], [0, 0, 1]])
    small = np.zeros((12, 16, 3), np.uint8)
    assert calibration.used(small) is small and Calibration(Camera(), "assumed").intrinsics(None) is None
