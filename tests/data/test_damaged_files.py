"""Whatever bytes a file has, it is read, or refused in one line."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from array_files import FLO_HEAD, GREY, PIXELS, array, chunk, depth_png, grey_png, npz, png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from glnet_tf.data.datasets.flow_pairs import _objects as moving_objects
from glnet_tf.data.datasets.kitti_truth import read_transform
from glnet_tf.data.datasets.rgbd import _pose
from glnet_tf.data.files.arrays import read_flo, read_kitti_flow, read_velodyne
from glnet_tf.data.files.calibration import read_camera, read_poses, read_projection
from glnet_tf.data.files.images import image_headers, read_grey, read_image, used_bits
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.frames import Frames
from glnet_tf.data.preparation.parallax import GreyReader
from glnet_tf.errors import DataError, GLNetError
from glnet_tf.inference.calibration import _exif_focal_length

CALIBRATION = b"P0: 50 0 9.5 0 0 40 5.5 0 0 0 1 0\nP1: 1 2 3\n"
INTACT = {
    read_flo: FLO_HEAD + struct.pack("<2i12f", 3, 2, *range(12)),
    read_velodyne: struct.pack("<8f", *range(8)),
    read_kitti_flow: png(np.stack([GREY] * 3, axis=-1)),
    depth_png: png(GREY),
    array: npz(depth=GREY, other=GREY),
    read_camera: b"50 0 9.5\n0 40 5.5\n0 0 1\n",
    lambda file: read_projection(file, "P0"): CALIBRATION,
    read_trajectory: b"0 1 2 3 0 0 0 1\n1.5 1 2 4 0 0.6 0 0.8\n",
}


FUZZ = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with a few bytes overwritten, put in or cut out."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        # Most of what a reader believes is at the beginning.
        start = draw(st.integers(0, 40) | st.integers(0, len(content)))
        end = start + draw(st.sampled_from([0, 1, 1, 4, 1000]))
        damaged[start:end] = draw(st.binary(max_size=4) | st.sampled_from([b" nan ", b" 1e999 ", b"\xff\xff\xff\x7f"]))
    return bytes(damaged)


def read_or_named(reader, file, content: bytes) -> None:
    """The content is read, or refused in one line."""
    file.write_bytes(content)
    try:
        reader(file)
    except GLNetError as error:
        assert str(error).startswith(str(file)) and "\n" not in str(error)


@pytest.mark.parametrize("reader", INTACT, ids=range(len(INTACT)))
def test_intact_files_are_read(tmp_path, reader):
    (tmp_path / "file").write_bytes(INTACT[reader])
    reader(tmp_path / "file")


@pytest.mark.parametrize("reader", INTACT, ids=range(len(INTACT)))
def test_damaged_files_are_read_or_named(tmp_path, reader):
    FUZZ(given(damage(INTACT[reader]))(lambda content: read_or_named(reader, tmp_path / "file", content)))()


def test_damaged_pixels_under_right_checksums_are_read_or_named(tmp_path, capfd):
    @FUZZ
    @given(damage(PIXELS), st.integers(1, 40), st.integers(1, 40), st.binary(max_size=30))
    def check(data, width, height, more):
        extra = chunk(more[:4], more[4:]) if len(more) >= 4 else b""
        read_or_named(depth_png, tmp_path / "file", grey_png(width, height, data=data, more=extra))

    check()


@pytest.mark.parametrize("read", [read_image, used_bits, read_grey, depth_png, read_kitti_flow, moving_objects])
def test_a_header_is_not_believed(tmp_path, read):
    file = tmp_path / "a.png"
    for width, height, *kind in ((30000, 30000, 8, 0), (40000, 40000, 16, 0), (11000, 11000, 16, 2), (9, 2**31, 1, 0)):
        file.write_bytes(grey_png(width, height, *kind, zlib.compress(bytes(10**6))))
        tracemalloc.start()
        with pytest.raises(
            DataError, match=rf"a.png: .*(declares {width}x{height}|Image size \({width * height}) pixels"
        ) as error:
            read(file)
        assert "\n" not in str(error.value) and tracemalloc.get_traced_memory()[1] < 1e7
        tracemalloc.stop()
    assert image_headers([str(file)]) == [None] and GreyReader([str(file)])(str(file)) is None


def test_nor_that_of_a_kind_that_is_not_compressed(tmp_path):
    file = tmp_path / "a.ppm"
    file.write_bytes(b"P6 9000 9000 255\n" + bytes(30))
    for read in (read_image, read_grey):
        with pytest.raises(DataError, match=r"a.ppm: .*declares 9000x9000 pixels, not .* at most 67108864"):
            read(file)


def test_nor_that_of_a_tiff_which_pillow_does_not_know(tmp_path):
    file = tmp_path / "a.tif"
    small = cv2.imencode(".tif", np.full((4, 5, 3), 0.5, np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    file.write_bytes(small)
    np.testing.assert_array_equal(read_image(file), np.full((4, 5, 3), 128))
    width, large = (struct.pack("<HHIHH", 256, 3, 1, value, 0) for value in (5, 33000))
    assert small.count(width) == 1
    file.write_bytes(small.replace(width, large))
    with pytest.raises(DataError, match="a.tif: .*declares 33000x4 pixels"):
        read_image(file)


def test_a_focal_length_that_no_lens_has_is_not_used(tmp_path):
    image, tags = Image.fromarray(np.zeros((8, 8, 3), np.uint8)), Image.Exif()
    for film, expected in ((28, 28 / 43.27 * 10), (0, 0), (65535, 0)):
        tags.get_ifd(0x8769)[0xA405] = film
        image.save(tmp_path / "a.jpg", exif=tags)
        np.testing.assert_allclose(_exif_focal_length(tmp_path / "a.jpg", (6, 8)), expected)


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (lambda file: read_poses(file, 1), b"0 0 0 0 0 1 0 0 0 0 1 0"),
        (_pose, b"2 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"),
        (_pose, b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n"),
        (_pose, b"1 0 0 0\n0 1 0\n0 0 1 0\n0 0 1 1\n"),
        (read_transform, b"R: 0 0 0 0 0 0 0 0 0\nT: 1 2 3\n"),
        (read_camera, b"50 0 9.5\n0 40 5.5\n0 0 1\n0.1 nan 0 0\n"),
        (Frames, b"/" + b"a" * 300),
    ],
)
def test_what_could_not_be_calculated_with_is_named(tmp_path, read, content):
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    place = content.decode() if read is Frames else file
    with pytest.raises(DataError, match="expected") as error:
        read(place)
    assert str(error.value).startswith(str(place)[:200])
