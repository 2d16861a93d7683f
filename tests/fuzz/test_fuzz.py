"""Whatever bytes a file has: it is read, or refused in one line that names it, within 2 s and 300 MB.

GLNET_FUZZ=N makes N inputs for every reader; GLNET_FUZZ_KEEP names a folder for those that do neither, and
GLNET_FUZZ_COUNTS a file for the numbers of those parsed, refused, and neither, by reader.
"""

from __future__ import annotations

import collections
import os
import select
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from child import send
from crafted import crafted
from damage import damaged
from readers import readers

EXAMPLES = int(os.environ.get("GLNET_FUZZ", "20"))
# Of any single input, on a machine that is busy with other things as well.
PATIENCE = 60.0
HERE = Path(__file__).resolve().parent
READERS = readers()


class Child:
    """A process that reads files, and is replaced where one has ended it, or keeps it for ever."""

    _process: subprocess.Popen | None = None

    def _start(self) -> None:
        path = os.pathsep.join([str(HERE), str(HERE.parent / "helpers"), *sys.path])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "child.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert self._answer().split() == list(READERS)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def outcome(self, name: str, content: bytes) -> str:
        """See child.outcome; also that the process hung, or died."""
        if self._process is None:
            self._start()
        send(self._process.stdin, name.encode() + b"\n" + content)
        found = self._answer()
        if found in ("hung", ""):
            if not found:
                found = f"died with {self._process.wait()}"
            self.stop()
        return found

    def _answer(self) -> str:
        stream = self._process.stdout
        if not select.select([stream], [], [], PATIENCE)[0]:
            return "hung"
        head = stream.read(8)
        return stream.read(struct.unpack("<q", head)[0]).decode() if len(head) == 8 else ""


@pytest.fixture(scope="module")
def child():
    child = Child()
    yield child
    child.stop()


def judge(child: Child, name: str, contents: list[bytes]) -> None:
    counts, wrong = collections.Counter(), []
    for number, content in enumerate(contents):
        found = child.outcome(name, content)
        kind = found if found in ("parsed", "error") else "anything else"
        counts[kind] += 1
        if kind == "anything else":
            wrong.append(f"{number}: {found}: {len(content)} bytes {content[:60]!r}")
            if "GLNET_FUZZ_KEEP" in os.environ:
                Path(os.environ["GLNET_FUZZ_KEEP"], f"{name}-{number}").write_bytes(content)
    with open(os.environ.get("GLNET_FUZZ_COUNTS", os.devnull), "a") as log:
        log.write(f"{name} {counts['parsed']} {counts['error']} {counts['anything else']}\n")
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_intact_files_are_parsed(child, name):
    assert [child.outcome(name, seed.wrap(seed.content)) for seed in READERS[name].seeds] == ["parsed"] * len(
        READERS[name].seeds
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_parsed_or_named(child, name):
    seeds = READERS[name].seeds
    first = zlib.crc32(name.encode())
    contents = []
    for number in range(EXAMPLES):
        seed = seeds[number % len(seeds)]
        contents.append(seed.wrap(damaged(seed.content, [other.content for other in seeds], first + number)))
    judge(child, name, contents)


@pytest.mark.slow
@pytest.mark.parametrize("name", crafted())
def test_crafted_files_are_parsed_or_named(child, name):
    judge(child, name, crafted()[name])


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted((HERE / "corpus").iterdir()), ids=lambda file: file.name)
def test_what_once_failed_is_parsed_or_named(child, file):
    """Files READER-WORDS that cannot be put together in a few lines."""
    judge(child, file.name.partition("-")[0], [file.read_bytes()])


@pytest.mark.slow
def test_what_goes_wrong_is_seen(child):
    assert child.outcome("no such reader", b"") == "died with 1"
