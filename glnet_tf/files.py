"""Files: the one writer, whole or not at all, and the readers of bytes, JSON and arrays with their limits.

A temporary file is made exclusively, beside the file that it becomes, so that nobody else's link is followed.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import secrets
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from glnet_tf.errors import ConfigError, DataError

# Deflate cannot shrink anything further than this.
MAX_COMPRESSION = 1032
# What a folder of results says of how they were made.
SETTINGS = "settings.json"
# Share of the room that is left free beyond what is estimated.
RESERVE = 0.1


def read_bytes(file: Path) -> bytes:
    """Returns the content of a file.

    Raises:
      DataError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: expected a readable file; restore it") from None


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Makes of an OSError in the block a DataError that names what was to be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{place}: cannot be written ({reason}); choose a folder with space and write access") from None


@contextlib.contextmanager
def replacement(file: Path) -> Iterator[Path]:
    """Yields an empty temporary file, with the same suffix, that takes the file's place at the end of the block.

    If the block raises, the file stays as it was.

    Raises:
      DataError: it cannot be written.
    """
    part = file.with_name(f".{file.stem}.{secrets.token_hex(4)}.part{file.suffix}")
    with writing(file):
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        try:
            yield part
            os.replace(part, file)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()


def write_bytes(file: Path, content: bytes) -> None:
    """Writes a file, whole or not at all; raises DataError where it cannot be written."""
    with replacement(file) as part:
        part.write_bytes(content)


def write_json(file: Path, value: Any) -> None:
    """Writes a value as JSON, whole or not at all; raises DataError where the file cannot be written."""
    write_bytes(file, (json.dumps(value, indent=2) + "\n").encode())


def write_npz(file: Path, **arrays: np.ndarray) -> None:
    """Writes named arrays, compressed, whole or not at all; raises DataError where the file cannot be written."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_bytes(file, content.getvalue())


def read_json(file: Path, expected: str = "JSON") -> Any:
    """Returns the value of a JSON file.

    Args:
      file: its path.
      expected: what it should be, for the message.

    Raises:
      DataError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is damaged ({error}): expected {expected}; restore it, or remove it") from None


def read_json_lines(file: Path) -> list[Any]:
    """Returns the values of a file with one of them a line, none if it is not there.

    A last line that was cut short is taken out of the file, with a warning: what it stood for is done again.

    Raises:
      DataError: another line is damaged.
    """
    if not file.exists():
        return []
    lines = read_bytes(file).splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        tqdm.write(f"{file}: the last line was cut short and is dropped", sys.stderr)
        write_bytes(file, b"".join(lines[:-1]))
        lines = lines[:-1]
    values = []
    for number, line in enumerate(lines):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            raise DataError(f"{file}: line {number + 1} is damaged: expected JSON; restore the file") from None
    return values


def append_json_line(file: Path, value: Any) -> None:
    """Appends a value as one line; raises DataError where the file cannot be written."""
    with writing(file), open(file, "a") as lines:
        lines.write(json.dumps(value) + "\n")


def check_settings(file: Path, found: Mapping[str, Any], given: Mapping[str, Any], flag: str = "output_dir") -> None:
    """Checks that what a folder holds was made with the settings that are given now.

    Args:
      file: that says what it was made with.
      found: what it says.
      given: the same settings now.
      flag: which flag the user gave the folder by.

    Raises:
      ConfigError: a setting differs.
    """
    for name in {**found, **given}:
        if found.get(name) != given.get(name):
            raise ConfigError(
                f"{file}: was made with {name}={found.get(name)}, not {given.get(name)}: expected the same settings to "
                f"go on; give them, or another --{flag}"
            )


def check_own_folder(folder: Path, note: str, flag: str = "output_dir") -> None:
    """Checks that a folder is new or empty, or that its settings, the file `note`, say that this library made it.

    Raises:
      ConfigError: it holds something else, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--{flag}={folder}: is a file: expected a folder; choose another")
    if folder.is_dir() and not (folder / note).exists() and any(file.name != ".lock" for file in folder.iterdir()):
        raise ConfigError(
            f"--{flag}={folder}: holds something else: expected a new or empty folder, or such results; choose another"
        )


def read_array(file: Path, name: str) -> np.ndarray:
    """Returns the numbers in a .npy file, or in a .npz file: its only array, or the one called `name`. Never unpickles.

    Returns:
      Array of booleans, integers or floating-point numbers.

    Raises:
      DataError: the file is damaged, or holds no such array.
    """
    content = read_bytes(file)
    try:
        return _parse_npz(content, name) if content.startswith(b"PK") else _parse_npy(content)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    # Damaged bytes surface as almost any exception of zipfile, zlib and NumPy.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{file}: is damaged ({reason}): expected .npy or .npz; write it again") from None


def _parse_npz(content: bytes, name: str) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        chosen = name if len(members) != 1 else next(iter(members))
        if chosen not in members:
            raise DataError(
                f"holds {', '.join(members)[:200] or 'nothing'}: expected one array, or one called {name}; rename it"
            )
        entry = members[chosen]
        if entry.file_size > MAX_COMPRESSION * len(content):
            raise DataError(
                f"{chosen} declares {entry.file_size} bytes in a file of {len(content)}: expected at most "
                f"{MAX_COMPRESSION} times as many; write it again"
            )
        return _parse_npy(archive.read(entry))


def _parse_npy(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.kind not in "biuf":
        raise DataError(f"holds {dtype} values: expected numbers; save it with a numeric dtype")
    size, there = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if min(shape, default=0) < 0 or size != there:
        raise DataError(f"declares {size} bytes for shape {shape} and has {there}: expected as many; write it again")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def make_folder(folder: Path, flag: str) -> Path:
    """Returns a folder, made if it is not there.

    Args:
      folder: its path.
      flag: which flag the user gave it by.

    Raises:
      DataError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}: expected a writable folder; correct --{flag}") from None
    return folder


def check_space(folder: Path, needed: float) -> None:
    """Checks that a disk has room.

    Args:
      folder: an existing folder on it.
      needed: estimated bytes.

    Raises:
      DataError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if needed * (1 + RESERVE) > free:
        raise DataError(
            f"{folder}: has {free / 1e9:.2f} GB free: expected {needed * (1 + RESERVE) / 1e9:.2f} GB for what is to be "
            "written there; free some, or choose another disk"
        )
