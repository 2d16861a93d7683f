"""The corpus: what once failed or might, put together by code, by the reader that it is for."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np
from array_files import chunk, grey_png, npy, png
from readers import (
    ARCHITECTURE,
    CAMERA,
    GREY,
    INDEX,
    MANIFEST,
    POSES,
    ROW,
    VideoNote,
    in_npz,
    one_array_of_weights,
    packed_weights,
    zipped,
)
from torch_files import Global, Reduce, legacy_file, pickled, zip_file

DEEP = b"[" * 100_000 + b"]" * 100_000
DIGITS = b"1" * 401
WRONG = [b"", b"[]", b"{}", b"null", b"1", b'"a"', DEEP, b"[" * 100_000, DIGITS, b"1" * 5000, b"Infinity", b"\0" * 100]


def numpy_head(shape: str, kind: str = "<f4") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


def with_values(value: Any, place: str = "") -> list[bytes]:
    """JSON with each of its values in turn, at any depth, replaced by what does not fit."""
    found = []
    for new in ([], {}, None, "x", "../../x", -1, 0, 1e308, [[]], True):
        for path in _paths(value):
            copy = json.loads(json.dumps(value))
            _set(copy, path, new)
            found.append(json.dumps(copy).encode())
    for path in _paths(value):
        copy = json.loads(json.dumps(value))
        _set(copy, path, "MARK")
        found += [
            json.dumps(copy).encode().replace(b'"MARK"', text) for text in (DIGITS, b"Infinity", b"NaN", b"1e999")
        ]
    return found


def _paths(value: Any) -> list[list[Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [path for key, item in items for path in [[key], *([key, *rest] for rest in _paths(item))]]


def _set(value: Any, path: list[Any], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def pickles() -> list[bytes]:
    ordered = Global("collections", "OrderedDict")
    return [
        b"\x80\x02}N" + b"\x85" * 1_000_000 + b"Ns.",
        b"\x80\x02}N" + b"\x85" * 90_000 + b"Ns.",
        b"\x80\x02N" + b"\x85" * 90_000 + b".",
        b"\x80\x02})" + b"q\x01h\x01\x86" * 60 + b"Ns.",
        b"\x80\x02](" + b"".join(b"(M" + struct.pack("<H", i) + b"Nt" for i in range(2000)) + b"eq\x01("
        + b"ccollections\nOrderedDict\nh\x01\x85R" * 8000 + b"t.",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x02}(X\xff\xff\xff\x7fa.",
        b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
        pickled(Reduce(ordered, ([("a", 1)],))),
        pickled({1: 2}),
        pickled(["a"]),
        b"\x80\x02" + b"(" * 90_000 + b".",
        b"\x80\x02.",
        b"\x80\x02ab.",
        b"\x80\x02]q\x00h\x00a.",
    ]  # fmt: skip


def crafted() -> dict[str, list[bytes]]:
    """Returns crafted files by the name of their reader."""
    row, note = ROW._asdict(), VideoNote(9, 9, 10.0, 64, 48, 64, 48, ["1 before 2 s"])._asdict()
    sizes = [(30000, 30000), (40000, 40000), (11000, 11000), (0, 5), (2**31, 1)]
    kinds = [(1, 0), (8, 0), (8, 2), (16, 0), (16, 2)]  # bits, colours
    large = [grey_png(*size, *kind) for size in sizes for kind in kinds]
    bomb = zlib.compress(bytes(2**24), 9)
    large += [grey_png(2**13, 2**13, 8, 0, bomb), grey_png(30000, 30000, 1, 0, bomb), png(GREY)[:-20]]
    large += [grey_png(4, 4, 8, 0, zlib.compress(bytes(20)), chunk(b"eXIf", b"II*\0" + b"\xff" * 60))]
    shapes = ["(2000000000,)", "(10**9,)", "(" * 150, "(-1,)", "((1,),)"]
    heads = [*map(numpy_head, shapes), numpy_head("()", "|O"), numpy_head("(1000000000,)") + bytes(10)]
    heads += [npy(np.full((2, 3), np.nan)), npy(np.full((2, 3), 1e300)), numpy_head("(750000000,)") + bytes(2**26)]
    step, other = b'{"step": 1}\n', b'{"step": 2}\n'
    tails = [step + b"\n" + other, step[:-1] + other, step + b"\0\0\0", step + b"\0\0\n" + other]
    tails += [step + text + b"\n" for text in WRONG] + [text + b"\n" + step for text in WRONG]
    lines = [json.dumps(row).encode() + b"\n" + text + b"\n" for text in (b"", b"\0" * 50, *with_values(row))]
    texts = [b"", b"\0" * 100, b"\xff\xfe1 0", b"nan " * 12]
    texts += [(number * 12 + b"\n") * 2 for number in (b"1e308 ", b"0 ")]
    singular = b"R: 0 0 0 0 0 0 0 0 0\nT: 1 2 3\nR_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 5 0 1 0 0 5 1 0 0 0 1 0"
    outside = json.dumps(MANIFEST).replace("000000.jpg", "../../7.jpg")
    manifests = [outside.encode(), outside.replace('"output', '"left_out": "", "output').encode()]
    lists = [b"a" * 300, b"a\0b", b"x/" * 3000, b"\xff\xfe.png"]
    flag_files = [
        b"--data_dir=\xff\xfe\n",
        b"--noflip=3\n",
        b"--flip=maybe\n",
        b"--batch_size=1e9\n",
        b"--x\n",
        b"--\n",
    ]
    return {
        **{name: large for name in ("image.png", "headers", "used_bits", "grey", "objects", "depth_png", "kitti_flow")},
        "torch": [make(content) for content in pickles() for make in (
            lambda content: zip_file(content, {}), lambda content: legacy_file(content, {}, {}), bytes)],
        "npz": [in_npz(head) for head in heads] + [b"PK\5\6" + bytes(18), zipped()],
        "npy": heads,
        "weights": [packed_weights(text) for text in (*WRONG, *with_values(ARCHITECTURE))]
        + [one_array_of_weights(head) for head in heads],
        "architecture": [*WRONG, *with_values(ARCHITECTURE)],
        "index": [*WRONG, *with_values(INDEX)],
        "manifest": [*WRONG, *with_values(MANIFEST), *manifests],
        "video_note": [*WRONG, *with_values(note)],
        "settings": [*WRONG, *with_values({"a": 1})],
        "rows": lines,
        "metrics": tails,
        "lines": [*WRONG, *(text + b"\n" for text in WRONG)],
        "cityscapes": [*WRONG, *with_values({"intrinsic": {"fx": 50.5, "fy": 40, "u0": 9.5, "v0": 5.5}})],
        "sums": [b"", b"abc\xff\n\n", b"\0" * 50, b"a b c\n"],
        "camera": [*texts, CAMERA.replace(b"0.1", b"nan")],
        "poses": [*texts, POSES.replace(b"1 0 0 0", b"0 0 0 0")],
        "rgbd_pose": [*texts, b"0 0 0 0\n" * 4, b"1 0 0 0\n0 1 0\n0 0 1 0\n0 0 0 1\n"],
        "oxts": [*texts, b"90 " + b"0 " * 29, b"1e300 " * 30],
        "imu_calibration": [*texts, singular],
        "trajectory": texts,
        "list": [*texts, *lists],
        "flagfile": flag_files,
        "shard": [struct.pack("<Q", length) + bytes(12) for length in (0, 2**40, 2**63)],
    }  # fmt: skip
