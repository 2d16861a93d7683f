"""PyTorch state dictionaries as NumPy arrays, read without PyTorch and without ever running what the file says.

A checkpoint is a pickle, that is a program. Here no more than plain data comes of it: its opcodes are carried out one
by one, of which few are known, and a name remains a name, of which few stand for inert records. A number of steps
bounds what it costs, and nothing ever walks through what it has put together: keys are text, checked as they are set.
Arrays are made from the records after the pickle has ended, as views of bytes that are really in the file.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import zipfile
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

ORDERED_DICT = "collections OrderedDict"
REBUILD = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter")
# EfficientNet-Lite0's checkpoint takes 10,696 steps.
MAX_STEPS = 100_000
MAX_RANK = 8


class Storage(NamedTuple):
    """A flat run of numbers that a checkpoint declares: its key, NumPy type and number of elements."""

    key: str
    dtype: str
    length: int


class Name(NamedTuple):
    """A name that a checkpoint asks for, "MODULE NAME"."""

    text: str


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
    # Damaged bytes surface as almost any exception of zipfile and pickletools.
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
        records = _unpickle(io.BytesIO(archive.read(members["data.pkl"])), declared)
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
    for number in (LEGACY_MAGIC, LEGACY_PROTOCOL):
        found = _unpickle(stream, {})
        if type(found) is not int or found != number:
            raise CheckpointError("it does not begin with PyTorch's magic number")
    system = _unpickle(stream, {})
    if type(system) is not dict or system.get("little_endian") is not True:
        raise CheckpointError("its numbers are big-endian")
    records = _unpickle(stream, declared)
    keys = _unpickle(stream, {})
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(declared):
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


def _unpickle(stream: io.BytesIO, declared: dict[str, Storage]) -> Any:
    """The value of the pickle at the stream's position, with tensors as records.

    Adds the storages that it names to `declared`.
    """
    machine = _Machine(declared)
    for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if step == MAX_STEPS:
            raise CheckpointError(f"its pickle has more than {MAX_STEPS} steps")
        if opcode.name == "STOP":
            break
        machine.carry_out(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    """Carries out the opcodes that pickling a dictionary of tensors emits, protocols 2 to 5, and no others."""

    def __init__(self, declared: dict[str, Storage]) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under the marks
        self._memo: dict[int, Any] = {}
        self._declared = declared

    def carry_out(self, opcode: str, argument: Any) -> None:
        """Carries out one opcode."""
        if opcode in ("PROTO", "FRAME"):
            return
        if opcode == "MARK":
            self._below.append(self.stack)
            self.stack = []
        elif opcode in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = self.stack[-1]
        elif opcode in ("APPEND", "APPENDS"):
            items = [self.stack.pop()] if opcode == "APPEND" else self._above_mark()
            self._top(list).extend(items)
        elif opcode in ("SETITEM", "SETITEMS"):
            items = self._popped(2) if opcode == "SETITEM" else self._above_mark()
            self._set_items(items)
        elif opcode == "BUILD":
            self.stack.pop()  # the state of a dictionary, which is nothing of its content
            self._top(dict)
        else:
            made = self._made(opcode, argument)  # which may take the stack below a mark
            self.stack.append(made)

    def _made(self, opcode: str, argument: Any) -> Any:
        """The value that an opcode puts onto the stack."""
        if opcode in ("NONE", "NEWTRUE", "NEWFALSE"):
            return {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode]
        if opcode in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"):
            return argument
        if opcode in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
            return {"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[opcode]
        if opcode in ("TUPLE1", "TUPLE2", "TUPLE3"):
            return tuple(self._popped(int(opcode[-1])))
        if opcode == "TUPLE":
            return tuple(self._above_mark())
        if opcode in ("BINGET", "LONG_BINGET"):
            return self._memo[argument]
        if opcode == "GLOBAL":
            return _name(argument)
        if opcode == "STACK_GLOBAL":
            return _name(" ".join(self._popped(2)))
        if opcode == "REDUCE":
            return _called(*self._popped(2))
        if opcode == "BINPERSID":
            return self._storage(self.stack.pop())
        raise CheckpointError(f"its pickle uses {opcode}, which no dictionary of tensors needs")

    def _popped(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise CheckpointError("its pickle takes what is not there")
        popped = self.stack[-count:]
        del self.stack[-count:]
        return popped

    def _above_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise CheckpointError(f"its pickle takes something for a {kind.__name__} that is none")
        return self.stack[-1]

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2]):
            if type(key) is not str:
                raise CheckpointError("a key of its dictionaries is not a name")
            target[key] = value

    def _storage(self, pid: Any) -> Storage:
        if type(pid) is not tuple or len(pid) not in (5, 6) or type(pid[0]) is not str or pid[5:] not in ((), (None,)):
            raise CheckpointError("its pickle refers to something other than a storage")
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or type(dtype) is not Name or dtype.text.partition(" ")[2] not in STORAGE_TYPES:
            raise CheckpointError("its pickle refers to something other than a storage")
        if type(key) is not str or type(count) is not int or count < 0:
            raise CheckpointError("its pickle names a storage without a proper key and size")
        storage = Storage(key, STORAGE_TYPES[dtype.text.partition(" ")[2]], count)
        if self._declared.setdefault(key, storage) != storage:
            raise CheckpointError(f"its storage {key!r} is declared twice, differently")
        return storage


def _name(text: str) -> Name:
    module, _, name = text.partition(" ")
    if text not in (ORDERED_DICT, *REBUILD) and not (module == "torch" and name in STORAGE_TYPES):
        raise CheckpointError(f"its pickle asks for {f'{module}.{name}'[:100]!r}")
    return Name(text)


def _called(function: Any, arguments: Any) -> Any:
    """What a call of a name gives: an empty dictionary, or a record."""
    if type(function) is Name and type(arguments) is tuple:
        if function.text == ORDERED_DICT and not arguments:
            return {}
        if function.text == REBUILD[0] and len(arguments) >= 4:
            return TensorRecord(*arguments[:4])
        if function.text == REBUILD[1] and arguments:
            return arguments[0]
    raise CheckpointError("its pickle makes a call that no dictionary of tensors needs")


def _arrays(records: Any, storages: dict[str, memoryview]) -> dict[str, np.ndarray]:
    """The records of a state dictionary as arrays."""
    if type(records) is not dict:
        raise CheckpointError("it holds no dictionary")
    for record in records.values():
        if type(record) is not TensorRecord:
            raise CheckpointError("an entry of its dictionary is not a tensor")
    return {name: _array(name, record, storages) for name, record in records.items()}


def _array(name: str, record: TensorRecord, storages: dict[str, memoryview]) -> np.ndarray:
    """A read-only view of a storage, after a check that it lies inside and repeats nothing."""
    storage, offset, size, stride = record
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise CheckpointError(f"its tensor {name!r} is malformed")
    if len(size) > MAX_RANK or not all(
        type(number) is int and 0 <= number < 2**63 for number in (offset, *size, *stride)
    ):
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
