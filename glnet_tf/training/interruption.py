"""Ctrl-C and SIGTERM in a training: the step is made, and saved, before it ends."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Callable


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], int]]:
    """Turns SIGTERM and Ctrl-C into a question that the loop asks between steps; a second signal acts at once.

    The answer is the number of the signal, 0 without one.
    """
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(number, previous[number])
        os.write(2, b"\nstopping after this step; once more: at once\n")  # print is not for signal handlers

    previous = {int(number): signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
