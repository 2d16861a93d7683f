"""The process that reads damaged files: inputs, a reader's name and content, on stdin, outcomes on stdout.

It watches its memory and time itself; whoever started it sees whether it ends or hangs.
"""

from __future__ import annotations

import os
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import BinaryIO

MAX_SECONDS, MAX_EXTRA = 2.0, 300e6
# Beyond what it has after its start: allocations fail there, before the machine suffers.
MAX_ADDRESSES = 4 * 2**30


def outcome(reader, content: bytes) -> str:
    """What becomes of a file: "parsed", "error" if the library names it, else what went wrong."""
    from glnet_tf.errors import GLNetError

    folder = Path(tempfile.mkdtemp())
    file = folder / reader.name
    file.write_bytes(content)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start = time.process_time()
    try:
        reader.read(file)
        found = "parsed"
    except GLNetError as error:
        named = str(folder) in str(error) and "\n" not in str(error)
        found = "error" if named else f"a message that is not one line with the file: {error!r}"
    except reader.also:
        found = "error"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in where if "glnet_tf" in frame.filename] or where
        found = f"{type(error).__name__}: {error} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
    seconds, extra = time.process_time() - start, memory("VmHWM") - before
    shutil.rmtree(folder, ignore_errors=True)
    if seconds > MAX_SECONDS:
        return f"{seconds:.1f} s ({found})"
    return f"{extra / 1e6:.0f} MB ({found})" if extra > MAX_EXTRA else found


def memory(name: str) -> int:
    """A line of /proc/self/status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> None:
    answers, inputs = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from readers import readers

    known = readers()
    for reader in known.values():
        for seed in reader.seeds:
            outcome(reader, seed.wrap(seed.content))  # imports what is imported late
    used = memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_ADDRESSES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    send(answers, " ".join(known).encode())
    while head := inputs.read(8):
        name, _, content = inputs.read(struct.unpack("<q", head)[0]).partition(b"\n")
        send(answers, outcome(known[name.decode()], content).encode(errors="replace"))


def send(stream: BinaryIO, content: bytes) -> None:
    """Writes a message: its length, and it."""
    stream.write(struct.pack("<q", len(content)) + content)
    stream.flush()


if __name__ == "__main__":
    main()
