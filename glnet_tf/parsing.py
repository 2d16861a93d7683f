"""What bytes from a file say, as JSON of an expected shape or as NumPy arrays: parsed with limits, never evaluated.

Damaged and hostile bytes surface as almost any exception of json, zipfile, zlib and NumPy; here all become DataError,
without the file's name, which `files` puts before it.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from typing import Any, NamedTuple

import numpy as np

from glnet_tf.errors import DataError

# Deflate cannot shrink anything further than this.
MAX_COMPRESSION = 1032
# Of one array in memory: 8K frames have 33 million pixels of at most 8 bytes.
MAX_ARRAY_BYTES = 2**28
# NumPy refuses longer headers.
MAX_HEADER = 10_000
# Digits of a whole number in JSON: nanoseconds since 1970 have 19.
MAX_DIGITS = 20


def parse_json(content: bytes | str, shape: Any = object) -> Any:
    """Returns the value that JSON says.

    Args:
      content: the text.
      shape: what it has to be, see misfit.

    Raises:
      DataError: it is not JSON of that shape, or holds a number that is none: infinite, or of very many digits.
    """
    try:
        value = json.loads(content, parse_int=_whole, parse_float=_finite, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{error}") from None
    if wrong := misfit(value, shape):
        raise DataError(wrong)
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is beyond the largest number")
    return value


def _constant(text: str) -> float:
    if text != "NaN":  # what could not be measured
        raise ValueError(f"{text} is no number")
    return math.nan


def misfit(value: Any, shape: Any, place: str = "it") -> str:
    """Returns what is wrong with a value of JSON; empty if it has a shape.

    Args:
      value: from json.
      shape: a type (float: also whole numbers, object: anything), None, [shape of all items], {str: shape of all
        values}, {name: shape, ...} for a dictionary that has at least these names, or a tuple of alternatives.
      place: of the value, for the message.
    """
    if isinstance(shape, tuple):
        return "" if any(not misfit(value, one) for one in shape) else f"{place} is {_kind(value)}"
    kind = type(shape) if isinstance(shape, (list, dict)) else type(None) if shape is None else shape
    number = kind is float and isinstance(value, int)
    if not (isinstance(value, kind) or number) or isinstance(value, bool) and kind in (int, float):
        return f"{place} is {_kind(value)}"
    items: list[tuple[Any, Any]] = []
    if isinstance(shape, list):
        items = [(number, shape[0]) for number in range(len(value))]
    elif isinstance(shape, dict):
        items = [(name, shape[str]) for name in value] if str in shape else list(shape.items())
        if missing := [name for name, _ in items if name not in value]:
            return f"{place} has no {missing[0]}"
    found = (misfit(value[name], one, f"{place}[{str(name)[:40]}]") for name, one in items)
    return next((wrong for wrong in found if wrong), "")


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def is_inside(name: str) -> bool:
    """Returns whether a name, which may have parts as in SCENE/FRAME, leads to a place inside of a folder."""
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


class ArrayHead(NamedTuple):
    """What an array says of itself.

    Attributes:
      shape, dtype: of numbers.
      column_major: whether the first axis varies fastest.
      length: of the head itself, bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    column_major: bool
    length: int


def parse_npy(content: bytes) -> np.ndarray:
    """Returns the numbers of a .npy file, as a read-only view of its bytes; raises DataError."""
    return _guarded(lambda: _array(content, _head(content, len(content))))


class Archive:
    """The arrays of a .npz file, whose shapes are known before one of them is unpacked.

    Args:
      content: of the file.

    Attributes:
      names: of the arrays.

    Raises:
      DataError: it is damaged.
    """

    def __init__(self, content: bytes) -> None:
        self._zip = _guarded(lambda: zipfile.ZipFile(io.BytesIO(content)))
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in self._zip.infolist()}
        self.names, self._size = list(self._entries), len(content)

    def head(self, name: str) -> ArrayHead:
        """Returns what an array says of itself; raises DataError."""
        entry = self._entries[name]
        if entry.file_size > min(MAX_COMPRESSION * self._size, MAX_ARRAY_BYTES + MAX_HEADER):
            raise DataError(
                f"{name} declares {entry.file_size} bytes in a file of {self._size}: expected at most "
                f"{MAX_COMPRESSION} times as many, and {MAX_ARRAY_BYTES}; write it again"
            )

        def read() -> ArrayHead:
            with self._zip.open(entry) as stream:
                return _head(stream.read(MAX_HEADER + 12), entry.file_size)

        return _guarded(read)

    def array(self, name: str) -> np.ndarray:
        """Returns an array, read-only; raises DataError."""
        head = self.head(name)
        return _guarded(lambda: _array(self._zip.read(self._entries[name]), head))


def _head(content: bytes, size: int) -> ArrayHead:
    """The head of an array whose file has `size` bytes, of which `content` are the first."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, column_major, dtype = read_header(stream)
    if dtype.kind not in "biuf":
        raise DataError(f"holds {dtype} values: expected numbers; save it with a numeric dtype")
    declared, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or declared != there:
        raise DataError(
            f"declares {declared} bytes for shape {shape} and has {there}: expected as many; write it again"
        )
    return ArrayHead(shape, dtype, column_major, stream.tell())


def _array(content: bytes, head: ArrayHead) -> np.ndarray:
    return np.ndarray(head.shape, head.dtype, content, head.length, order="F" if head.column_major else "C")


def _guarded(read: Any) -> Any:
    try:
        return read()
    except DataError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"is damaged ({reason}): expected .npy or .npz; write it again") from None
