"""Ctrl-C and SIGTERM end every command alike: what is there is brought to an end, and one line says so."""

from __future__ import annotations

import os
import signal
import sys

WORDS = "interrupted; the same command goes on"
NUMBERS = (signal.SIGINT, signal.SIGTERM)
STDERR = os.dup(2)  # as it is while the import of TensorFlow is kept quiet, too
received: list[int] = []


def hear_signals() -> None:
    """From now on a signal raises a KeyboardInterrupt, unless it is ignored; during an import it ends at once."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def exit_code() -> int:
    """Returns 128 and the number of the first signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (received or [signal.SIGINT])[0]


def end_by_signals() -> None:
    """From now on a signal ends the process, of which nothing but its exit is left."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: object) -> None:
    received.append(number)
    while frame is not None:
        # Modules catch what is raised while they are imported; there is nothing to bring to an end yet.
        if frame.f_code.co_filename.startswith("<frozen importlib"):  # type: ignore[attr-defined]
            os.write(STDERR, f"{WORDS}\n".encode())
            os._exit(exit_code())
        frame = frame.f_back  # type: ignore[attr-defined]
    raise KeyboardInterrupt
