"""Files: the one writer, whole or not at all, and the readers of bytes, JSON and arrays with their limits.

A temporary file is made exclusively, beside the file that it becomes, so that nobody else's link is followed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from glnet_tf.errors import ConfigError, DataError
from glnet_tf.parsing import Archive, misfit, parse_json, parse_npy

# What a folder of results says of how they were made.
SETTINGS = "settings.json"
# What lines of JSON may have about them, and nothing else.
BLANK = b" \t\r\0"
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
    """Writes named arrays, whole or not at all; raises DataError where the file cannot be written.

    Not compressed: that would save a seventh of the bytes of depth, and take thirty times as long.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_bytes(file, content.getvalue())


def file_state(file: str) -> tuple[int, int]:
    """Returns size and time of change of a file; zeros if it is not there."""
    try:
        status = os.stat(file)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def read_json(file: Path, expected: str = "JSON", shape: Any = object) -> Any:
    """Returns the value of a JSON file.

    Args:
      file: its path.
      expected: what it should be, for the message.
      shape: the same, see parsing.misfit.

    Raises:
      DataError: it cannot be read, or is not JSON of that shape.
    """
    content = read_bytes(file)
    try:
        return parse_json(content, shape)
    except DataError as error:
        raise DataError(f"{file}: is damaged ({error}): expected {expected}; restore it, or remove it") from None


def read_json_lines(file: Path, shape: Any = object, repair: bool = False) -> list[Any]:
    """Returns the values of a file with one of them a line, none if it is not there.

    Blank lines, the zeros that a power cut may leave, and a last line that was cut short say nothing.

    Args:
      file: its path.
      shape: what every value should be, see parsing.misfit.
      repair: whether a last line that was cut short is taken out of the file, with a warning, so that more can be
        appended; only for the process that writes the file.

    Raises:
      DataError: another line is damaged.
    """
    if not file.exists():
        return []
    *lines, rest = read_bytes(file).split(b"\n")
    texts = {number: text for number, line in enumerate(lines, start=1) if (text := line.strip(BLANK))}
    values, torn = [], bool(rest)
    for number, text in list(texts.items()):
        try:
            values.append(parse_json(text))
            wrong = misfit(values[-1], shape)
        except DataError as error:
            wrong = str(error)
            if number == max(texts):
                torn = bool(texts.pop(number))
                break
        if wrong:
            raise DataError(f"{file}: line {number} is damaged ({wrong}): expected another form; remove that line")
    if torn and repair:
        tqdm.write(f"{file}: the last line was cut short and is dropped", sys.stderr)
        write_bytes(file, b"".join(text + b"\n" for text in texts.values()))
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
      Array of booleans, integers or floating-point numbers; read-only.

    Raises:
      DataError: the file is damaged, or holds no such array.
    """
    content = read_bytes(file)
    try:
        if not content.startswith(b"PK"):
            return parse_npy(content)
        archive = Archive(content)
        chosen = name if len(archive.names) != 1 else archive.names[0]
        if chosen in archive.names:
            return archive.array(chosen)
        found = ", ".join(archive.names)[:200] or "nothing"
        raise DataError(f"holds {found}: expected one array, or one called {name}; rename it")
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


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
