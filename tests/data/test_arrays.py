"""The field's array files: values written by hand, round trips, and what is wrong with a file told in one line."""

from __future__ import annotations

import io
import struct
import zipfile

import cv2
import numpy as np
import pytest
from array_files import FLO_HEAD, GREY, PIXELS, array, chunk, depth_png, grey_png, npy, npz, png

from glnet_tf.data.files.arrays import (
    read_depth_png,
    read_flo,
    read_kitti_flow,
    read_velodyne,
    write_depth_png,
    write_flo,
    write_kitti_flow,
)
from glnet_tf.errors import DataError
from glnet_tf.files import read_array


def random_flow(seed: int, height: int = 4, width: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Flow in steps of 1/64 pixel, 0 where it is not valid, as KITTI's PNG can hold it."""
    rng = np.random.default_rng(seed)
    valid = rng.random((height, width)) < 0.7
    flow = rng.integers(-(2**15), 2**15, (height, width, 2)) / 64
    return np.where(valid[..., None], flow, 0).astype(np.float32), valid


def test_flo_by_hand(tmp_path):
    file = tmp_path / "a.flo"
    numbers = [1, 2, -3.5, 4, 0, 2e9, float("nan"), 1, 5, 6, 1e9, -1e9]
    file.write_bytes(struct.pack("<f2i12f", 202021.25, 3, 2, *numbers))
    flow, valid = read_flo(file)
    assert flow.dtype == np.float32 and valid.dtype == bool
    np.testing.assert_array_equal(valid, [[True, True, False], [False, True, True]])
    np.testing.assert_array_equal(flow, [[[1, 2], [-3.5, 4], [0, 0]], [[0, 0], [5, 6], [1e9, -1e9]]])


def test_flo_round_trip(tmp_path):
    flow, valid = random_flow(0)
    write_flo(tmp_path / "a.flo", flow, valid)
    for ours, expected in zip(read_flo(tmp_path / "a.flo"), (flow, valid)):
        np.testing.assert_array_equal(ours, expected)
    write_flo(tmp_path / "a.flo", flow)
    assert read_flo(tmp_path / "a.flo")[1].all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.flo"]
    assert cv2.readOpticalFlow(str(tmp_path / "a.flo")).tolist() == flow.tolist()


def test_kitti_flow_by_hand(tmp_path):
    """Red holds u, green v and blue whether they count; OpenCV writes blue, green, red."""
    blue_green_red = np.array([[[1, 2**15 - 64, 2**15 + 160], [0, 7, 9], [1, 0, 65535]]], np.uint16)
    (tmp_path / "a.png").write_bytes(png(blue_green_red))
    flow, valid = read_kitti_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(flow, [[[2.5, -1], [0, 0], [511.984375, -512]]])
    np.testing.assert_array_equal(valid, [[True, False, True]])
    assert flow.dtype == np.float32


def test_kitti_flow_round_trip(tmp_path):
    flow, valid = random_flow(1)
    flow_with_nan = np.where(valid[..., None], flow, np.nan)
    write_kitti_flow(tmp_path / "a.png", flow_with_nan, valid)
    for ours, expected in zip(read_kitti_flow(tmp_path / "a.png"), (flow, valid)):
        np.testing.assert_array_equal(ours, expected)
    write_kitti_flow(tmp_path / "a.png", np.full((1, 2, 2), 0.51 / 64))
    ours, everywhere = read_kitti_flow(tmp_path / "a.png")
    assert everywhere.all() and (ours == 1 / 64).all()


@pytest.mark.parametrize("value", [512, -513, np.nan, np.inf])
def test_kitti_flow_beyond_the_format(tmp_path, value):
    with pytest.raises(DataError, match=f"a.png: flow of {value:g} px: expected -512 to 511.98"):
        write_kitti_flow(tmp_path / "a.png", np.array([[[1, value]]]))
    assert not list(tmp_path.iterdir())


def test_depth_png_by_hand(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.array([[0, 256, 640, 65535]], np.uint16)))
    depth = read_depth_png(tmp_path / "a.png", 256)
    np.testing.assert_array_equal(depth, np.array([[0, 1, 2.5, 65535 / 256]], np.float32))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(read_depth_png(tmp_path / "a.png", 1000, invalid=65535), [[0, 0.256, 0.64, 0]], 1e-6)


def test_depth_png_round_trip(tmp_path):
    depth = np.array([[0, 1.5, 80], [0.25, 0.002, 255.99609375]], np.float32)
    write_depth_png(tmp_path / "a.png", depth, 256)
    np.testing.assert_allclose(read_depth_png(tmp_path / "a.png", 256), depth, atol=0.5 / 256)
    assert read_depth_png(tmp_path / "a.png", 256)[1, 2] == depth[1, 2]


@pytest.mark.parametrize("value", [65.6, -0.1, np.nan, np.inf])
def test_depth_beyond_the_format(tmp_path, value):
    with pytest.raises(DataError, match=f"a.png: depth of {value:g} m: expected 0 to 65.535, .*clip"):
        write_depth_png(tmp_path / "a.png", np.array([[1, value]]), 1000)


def test_velodyne(tmp_path):
    (tmp_path / "a.bin").write_bytes(struct.pack("<8f", 1, 2, 3, 0.5, -4, 5, 6, 0))
    points = read_velodyne(tmp_path / "a.bin")
    np.testing.assert_array_equal(points, [[1, 2, 3, 0.5], [-4, 5, 6, 0]])
    assert points.dtype == np.float32 and points.flags.writeable


@pytest.mark.parametrize("dtype", [np.float32, ">f8", np.uint16, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numbers(tmp_path, dtype, order):
    array = np.asarray([[0, 1, 2], [3, 4, 5]], dtype, order=order)
    contents = {
        "npy": npy(array),
        "only": npz(other=array),
        "stored": npz(compress=False, depth=array, other=np.zeros(3)),
        "compressed": npz(depth=array, other=np.zeros(3)),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_array(tmp_path / name, "depth"), array)


def test_arrays_of_any_shape(tmp_path):
    for shape in ((), (0,), (0, 3), (1, 2, 3, 4)):
        (tmp_path / "a.npy").write_bytes(npy(np.ones(shape)))
        assert read_array(tmp_path / "a.npy", "depth").shape == shape
    # Zeros compress about as well as anything can.
    (tmp_path / "a.npz").write_bytes(npz(depth=np.zeros(10**7, np.uint8)))
    assert len(read_array(tmp_path / "a.npz", "depth")) == 10**7


def with_shape(shape: str) -> bytes:
    """A .npy file of 4 bytes whose header claims another shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(4)


def swollen_npz() -> bytes:
    """An archive whose directory declares a member of 4 GB."""
    content = npz(depth=np.zeros(4))
    directory = content.index(b"PK\x01\x02")
    return content[: directory + 24] + struct.pack("<I", 2**32 - 2) + content[directory + 28 :]


def zipped(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_flo, b"", "begins with b'': expected b'PIEH'"),
        (read_flo, struct.pack("<f2i2f", 202021.5, 1, 1, 0, 0), "expected b'PIEH'"),
        (
            read_flo,
            FLO_HEAD + struct.pack("<2i2f", 1, 2, 0, 0),
            "has 20 bytes and a size of 1x2: .*copy the file again",
        ),
        (read_flo, FLO_HEAD + struct.pack("<2i", -1, -1), "a size of -1x-1: expected sides of 1 to 32768"),
        (read_flo, FLO_HEAD + struct.pack("<2i", 0, 5), "a size of 0x5"),
        (read_flo, FLO_HEAD + struct.pack("<2i", 2**30, 2**30), "a size of 1073741824x1073741824"),
        (read_velodyne, b"", "has 0 bytes: expected a positive multiple of 16"),
        (read_velodyne, bytes(20), "has 20 bytes"),
        (read_velodyne, bytes(16) + struct.pack("<4f", 1, 2, float("inf"), 0), r"point 1 is \[1.0, 2.0, inf, 0.0\]"),
        (read_kitti_flow, b"P6 1 1 255", "expected a PNG"),
        (read_kitti_flow, png(GREY), r"has 1 channel\(s\) of 16 bits: expected 3 of 16"),
        (read_kitti_flow, png(np.zeros((2, 2, 3), np.uint8)), r"has 3 channel\(s\) of 8 bits: expected 3 of 16"),
        (depth_png, png(GREY.astype(np.uint8)), r"has 1 channel\(s\) of 8 bits: .*do not convert it"),
        (depth_png, png(np.zeros((2, 2, 3), np.uint16)), r"has 3 channel\(s\) of 16 bits: expected 1"),
        (depth_png, grey_png(4, 4, 8, 3), r"has 1 channel\(s\) of 8 bits"),
        (depth_png, grey_png(2**20, 1), "declares 1048576x1 pixels"),
        (depth_png, grey_png(2**15, 2**15), "declares 32768x32768 pixels, .* at most 67108864"),
        (depth_png, grey_png(0, 4), "declares 0x4 pixels"),
        (depth_png, grey_png(4, 4), "cannot be decoded"),
        (depth_png, grey_png(30, 20, data=PIXELS[:-30]), "cannot be decoded"),
        (depth_png, grey_png(31, 20, data=PIXELS), "cannot be decoded"),
        (depth_png, grey_png(30, 20, data=PIXELS)[:-20], "cannot be decoded: .*copy the file again"),
        (depth_png, grey_png(30, 20, data=PIXELS, more=struct.pack(">I4s", 2**31 - 1, b"IDAT")), "cannot be decoded"),
        (array, b"", "is damaged .*expected .npy or .npz"),
        (array, b"PK\x03\x04", r"is damaged \(BadZipFile"),
        (array, npy(np.ones(3))[:-1], r"declares 24 bytes for shape \(3,\) and has 23"),
        (array, with_shape("(10**9,)"), "is damaged"),
        (array, with_shape("(1000000000000, 1000000000000)"), "declares 4000000000000000000000000 bytes"),
        (array, with_shape("(-1, -1)"), r"shape \(-1, -1\)"),
        (array, with_shape("'a'"), "is damaged"),
        (array, zipped("depth.npy", with_shape("(1000000000,)")), "declares 4000000000 bytes"),
        (array, swollen_npz(), "depth declares 4294967294 bytes in a file of"),
        (array, npy(np.array([{}, None])), "holds object values: expected numbers"),
        (array, npz(depth=np.array([print])), "holds object values: expected numbers"),
        (array, npy(np.array(["a"])), "holds <U1 values"),
        (array, npy(np.zeros(2, complex)), "holds complex128 values"),
        (array, npz(a=np.zeros(1), b=np.zeros(1)), "holds a, b: expected one array, or one called depth; rename it"),
        (array, zipped("depth.npy", npy(np.ones(100)))[:-200], "is damaged"),
    ],
)
def test_bad_files(tmp_path, capfd, reader, content, message):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        reader(file)
    assert str(error.value).startswith(f"{file}: ") and "\n" not in str(error.value)


def test_a_png_whose_chunk_is_longer_than_the_file_is_not_decoded(tmp_path, monkeypatch):
    """OpenCV would make room for 2 GB first."""
    file = tmp_path / "a.png"
    for more in (struct.pack(">I4s", 2**31 - 1, b"IDAT"), chunk(b"tEXt", b"abc")[:-1] + b"x"):
        file.write_bytes(grey_png(30, 20, data=PIXELS, more=more))
        with monkeypatch.context() as patch, pytest.raises(DataError, match="cannot be decoded"):
            patch.setattr(cv2, "imdecode", None)
            depth_png(file)
    file.write_bytes(grey_png(30, 20, data=PIXELS, more=chunk(b"tEXt", b"abc")))
    np.testing.assert_array_equal(depth_png(file), GREY.astype(np.float32) / 256)


def test_files_that_cannot_be_read_or_written(tmp_path):
    for reader in (read_flo, read_kitti_flow, depth_png, read_velodyne, array):
        with pytest.raises(DataError, match="gone: No such file"):
            reader(tmp_path / "gone")
    with pytest.raises(DataError, match=r"a.flo: cannot be written \(No such file"):
        write_flo(tmp_path / "no" / "a.flo", np.zeros((1, 1, 2)))
    (tmp_path / "folder.flo").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        write_flo(tmp_path / "folder.flo", np.zeros((1, 1, 2)))
    assert [file.name for file in tmp_path.iterdir()] == ["folder.flo"]
