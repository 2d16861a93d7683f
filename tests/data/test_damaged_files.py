"""Whatever bytes a file has, it is read, or refused in one line."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from array_files import FLO_HEAD, GREY, PIXELS, array, chunk, depth_png, grey_png, npz, png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glnet_tf.data.files.arrays import read_flo, read_kitti_flow, read_velodyne
from glnet_tf.data.files.calibration import read_camera, read_projection
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.errors import GLNetError

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
