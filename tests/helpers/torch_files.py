"""Files in PyTorch's two formats, written opcode by opcode: honest ones, and ones that it would never write."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Global(NamedTuple):
    """A name that the unpickler is to look up."""

    module: str
    name: str


class Reduce(NamedTuple):
    """A call that the unpickler is to make."""

    function: Any
    arguments: tuple


class Persistent(NamedTuple):
    """A reference to a storage."""

    pid: tuple


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2 of nested dictionaries, lists, tuples, strings, integers and the above."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, Global):
        return b"c" + f"{value.module}\n{value.name}\n".encode()
    if isinstance(value, Reduce):
        return _opcodes(value.function) + _opcodes(tuple(value.arguments)) + b"R"
    if isinstance(value, Persistent):
        return _opcodes(value.pid) + b"Q"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
    if isinstance(value, (tuple, list)):
        begin, end = (b"(", b"t") if isinstance(value, tuple) else (b"](", b"e")
        return begin + b"".join(map(_opcodes, value)) + end
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(
    key: str,
    count: Any,
    size: Any,
    stride: Any,
    offset: Any = 0,
    storage: str = "FloatStorage",
    parameter: bool = False,
) -> Reduce:
    """The call by which PyTorch rebuilds a tensor from a storage of `count` elements."""
    pid = ("storage", Global("torch", storage), key, "cpu", count)
    hooks = Reduce(Global("collections", "OrderedDict"), ())
    call = Reduce(Global("torch._utils", "_rebuild_tensor_v2"), (Persistent(pid), offset, size, stride, False, hooks))
    return Reduce(Global("torch._utils", "_rebuild_parameter"), (call, True, hooks)) if parameter else call


def contiguous(arrays: dict[str, np.ndarray], parameter: bool = False) -> tuple[dict[str, Reduce], dict[str, bytes]]:
    """The calls and the storages of a dictionary of arrays, one storage each."""
    calls, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        stride = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)[: array.ndim]
        storage = STORAGES[array.dtype.name]
        calls[name] = tensor(str(number), array.size, array.shape, stride, storage=storage, parameter=parameter)
        storages[str(number)] = array.tobytes()
    return calls, storages


def zip_file(
    pickle_bytes: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED, byteorder: bytes = b"little"
) -> bytes:
    """A checkpoint in the zip format."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle_bytes)
        archive.writestr("archive/byteorder", byteorder)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return buffer.getvalue()


def legacy_file(pickle_bytes: bytes, storages: dict[str, bytes], counts: dict[str, int]) -> bytes:
    """A checkpoint in the format before PyTorch 1.6."""
    # There a storage's reference has a sixth part, the view that it is of another: none.
    pickle_bytes = pickle_bytes.replace(b"tQ", b"NtQ")
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = pickled(0x1950A86A20F9469CFC6C) + pickled(1001) + pickled(system)
    body = b"".join(struct.pack("<q", counts[key]) + content for key, content in storages.items())
    return head + pickle_bytes + pickled(list(storages)) + body
