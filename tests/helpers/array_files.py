"""Array files put together byte by byte, written for the tests."""

import io
import struct
import zlib

import cv2
import numpy as np

from glnet_tf.data.files.arrays import read_depth_png
from glnet_tf.files import read_array


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz(compress: bool = True, **arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(content, **arrays)
    return content.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def grey_png(width: int, height: int, bits: int = 16, color: int = 0, data: bytes = b"", more: bytes = b"") -> bytes:
    """A PNG put together by hand: its checksums are right, whatever it says."""
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def depth_png(file):
    return read_depth_png(file, 256)


def array(file):
    return read_array(file, "depth")


FLO_HEAD = struct.pack("<f", 202021.25)
GREY = np.arange(600, dtype=np.uint16).reshape(20, 30)
# Every row of a PNG begins with the number of its filter; 0 is none.
PIXELS = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in GREY))
