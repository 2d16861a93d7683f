"""PyTorch state dictionaries as NumPy arrays, read without PyTorch and without ever running what the file says.

A checkpoint is a pickle, that is a program. Three fences keep it from being one here: only the opcodes of plain data
are let through; the only names it can reach are the few below, which build inert records; and arrays are made from
those records after the pickle has ended, as views of bytes that are really in the file.
"""

from __future__ import annotations

import collections
import io
import math
import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from glnet_tf.errors import CheckpointError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

STORAGE_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}

# What pickling a dictionary of tensors emits, protocols 2 to 5: no extension registry, no classes, no text opcodes.
DATA_OPCODES = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT
    MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
"""


class Storage(NamedTuple):
    """A flat run of numbers that a checkpoint declares: its key, NumPy type and number of elements."""

    key: str
    dtype: str
    length: int


class TensorRecord(NamedTuple):
    """A view of a storage as a checkpoint declares it, unchecked: offset, size and stride in elements."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def read_torch_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dictionary written by torch.save, in the zip format or in the one before it.

    Args:
      path: the file (.pth, .pt).

    Returns:
      The tensors by name, as read-only arrays that share the file's bytes.

    Raises:
      CheckpointError: the file cannot be read, is damaged, or holds anything but a dictionary of tensors.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); expected a PyTorch state dict") from error
    try:
        archive = zipfile.is_zipfile(io.BytesIO(content))
        records, storages = _read_zip(content) if archive else _read_legacy(content)
        return _arrays(records, storages)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; expected a state dict saved by torch.save") from error
    # Damaged bytes surface as almost any exception of zipfile, pickletools and pickle.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"{path}: not a PyTorch checkpoint, or damaged ({reason})") from error


def _read_zip(content: bytes) -> tuple[Any, dict[str, memoryview]]:
    """The unpickled object and the storages of the zip format."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        # Without compression and without shared bytes, nothing read can be larger than the file itself.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError("its archive is compressed")
        if sum(entry.file_size for entry in entries) > len(content):
            raise CheckpointError("its archive's members add up to more than the file")
        members = {entry.filename.partition("/")[2]: entry for entry in entries}
        if "data.pkl" not in members:
            raise CheckpointError("its archive has no data.pkl")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise CheckpointError("its numbers are big-endian")
        declared: dict[str, Storage] = {}
        records = _unpickle(_next_pickle(io.BytesIO(archive.read(members["data.pkl"]))), declared)
        storages = {}
        for key, storage in declared.items():
            if f"data/{key}" not in members:
                raise CheckpointError(f"its storage {key!r} is missing")
            storages[key] = memoryview(archive.read(members[f"data/{key}"]))
            _check_length(storage, len(storages[key]))
    return records, storages


def _read_legacy(content: bytes) -> tuple[Any, dict[str, memoryview]]:
    """The unpickled object and the storages of the format before PyTorch 1.6: five pickles, then the raw numbers."""
    stream = io.BytesIO(content)
    declared: dict[str, Storage] = {}
    if _unpickle(_next_pickle(stream), {}) != LEGACY_MAGIC or _unpickle(_next_pickle(stream), {}) != LEGACY_PROTOCOL:
        raise CheckpointError("it does not begin with PyTorch's magic number")
    if _unpickle(_next_pickle(stream), {}).get("little_endian") is not True:
        raise CheckpointError("its numbers are big-endian")
    records = _unpickle(_next_pickle(stream), declared)
    keys = _unpickle(_next_pickle(stream), {})
    if sorted(keys) != sorted(declared):
        raise CheckpointError("its storages are not those that its tensors name")
    storages = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        if count != declared[key].length:
            raise CheckpointError(f"its storage {key!r} has {count} elements where {declared[key].length} are declared")
        begin, length = stream.tell(), count * np.dtype(declared[key].dtype).itemsize
        storages[key] = memoryview(content)[begin : begin + length]
        _check_length(declared[key], len(storages[key]))
        stream.seek(begin + length)
    if stream.tell() != len(content):
        raise CheckpointError(f"its storages end {len(content) - stream.tell()} bytes before the file")
    return records, storages


def _check_length(storage: Storage, length: int) -> None:
    """Refuses a storage whose declared size is not that of its bytes."""
    expected = storage.length * np.dtype(storage.dtype).itemsize
    if length != expected:
        raise CheckpointError(f"its storage {storage.key!r} has {length} bytes where {expected} are declared")


def _next_pickle(stream: io.BytesIO) -> bytes:
    """The bytes of the pickle at the stream's position, all of whose opcodes are those of plain data."""
    begin, allowed = stream.tell(), frozenset(DATA_OPCODES.split())
    for position, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name not in allowed:
            raise CheckpointError(f"its pickle uses {opcode.name}, which no dictionary of tensors needs")
        # The unpickler's memo is an array as long as the highest index put: a few bytes could claim gigabytes.
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > int(position or 0):
            raise CheckpointError("its pickle's memo is larger than its contents")
    return stream.getvalue()[begin : stream.tell()]


def _unpickle(content: bytes, declared: dict[str, Storage]) -> Any:
    """The object of a pickle, with tensors as records; adds the storages that it names to `declared`."""
    return _RecordUnpickler(content, declared).load()


class _RecordUnpickler(pickle.Unpickler):
    """An unpickler that can reach nothing but dictionaries and the records of this module."""

    def __init__(self, content: bytes, declared: dict[str, Storage]) -> None:
        super().__init__(io.BytesIO(content))
        self._declared = declared

    def find_class(self, module: str, name: str) -> Any:
        # New functions each time: a pickle may set attributes on whatever it is handed.
        builders: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, size, stride, *_: TensorRecord(
                storage, offset, size, stride
            ),
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if (module, name) in builders:
            return builders[module, name]
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise CheckpointError(f"its pickle asks for {f'{module}.{name}'!r}")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in STORAGE_TYPES.values() or view not in ([], [None]):
            raise CheckpointError("its pickle refers to something other than a storage")
        if type(key) is not str or type(count) is not int or count < 0:
            raise CheckpointError("its pickle names a storage without a proper key and size")
        storage = Storage(key, dtype, count)
        if self._declared.setdefault(key, storage) != storage:
            raise CheckpointError(f"its storage {key!r} is declared twice, differently")
        return storage


def _arrays(records: Any, storages: dict[str, memoryview]) -> dict[str, np.ndarray]:
    """The records of a state dictionary as arrays."""
    if not isinstance(records, dict):
        raise CheckpointError("it holds no dictionary")
    for name, record in records.items():
        if type(name) is not str or type(record) is not TensorRecord:
            raise CheckpointError("an entry of its dictionary is not a named tensor")
    return {name: _array(name, record, storages) for name, record in records.items()}


def _array(name: str, record: TensorRecord, storages: dict[str, memoryview]) -> np.ndarray:
    """A read-only view of a storage, after a check that it lies inside and repeats nothing."""
    storage, offset, size, stride = record
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise CheckpointError(f"its tensor {name!r} is malformed")
    if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
        raise CheckpointError(f"its tensor {name!r} has an offset, size or stride that is not a natural number")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride)) if count else offset - 1
    if count > storage.length or last >= storage.length:
        raise CheckpointError(f"its tensor {name!r} reaches beyond its storage")
    dtype = np.dtype(storage.dtype)
    steps = tuple(step * dtype.itemsize for step in stride)
    array: np.ndarray = np.ndarray(size, dtype, storages[storage.key], offset * dtype.itemsize, steps)
    array.flags.writeable = False
    return array
