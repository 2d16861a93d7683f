"""Folders under faults: one process writes to each, a new one appears whole, and what killed processes left is removed.

Names of temporary folders cannot be guessed, links are not followed, and nothing is removed but what bears such a name.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from glnet_tf.errors import DataError
from glnet_tf.files import writing

# Temporary files and folders: ours, and TensorFlow's while it writes a checkpoint.
TEMPORARY = re.compile(
    r"\..+\.[0-9a-f]{8}\.part(\.\w+)?|ckpt-\d+_temp|ckpt-\d+\..+\.tempstate\d+|checkpoint\.tmp[0-9a-f]{32}"
)


@contextlib.contextmanager
def locked(folder: Path, deep: bool = True) -> Iterator[None]:
    """Keeps a folder to this process, and removes what killed ones left in it; the lock ends with the process.

    Args:
      folder: an existing one.
      deep: also remove it from the folders inside.

    Raises:
      DataError: another process writes there, or the folder cannot be written.
    """
    with writing(folder):
        lock = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        _lock(lock, folder)
        with writing(folder):
            for place, folders, files in os.walk(folder):
                for name in (*folders, *files):
                    _remove_temporary(Path(place, name))
                if not deep:
                    break
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty temporary folder, which becomes the new one at the end of the block.

    What killed processes left of the same attempt is removed first.

    Raises:
      DataError: it cannot be written, or the folder is there by then.
    """
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
        with contextlib.suppress(OSError, DataError), _held(left):
            _remove_temporary(left)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        with writing(folder):
            part.mkdir()
        with _held(part):
            yield part
            with writing(folder):
                part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locks a temporary folder itself; raises an error where its maker is alive, or where it is a link."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(
            f"{folder}: another process is writing there: expected to be alone; wait for it, or give another folder"
        ) from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be locked ({error.strerror}); choose a folder on another disk") from None


def _remove_temporary(place: Path) -> None:
    """Removes a file, a link or a folder, if its name is that of a temporary one."""
    if not TEMPORARY.fullmatch(place.name):
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
