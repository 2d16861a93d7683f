"""What long work has in common: a command, a bar, threads that stop when asked to, and shares for several machines."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

from tqdm import tqdm

from glnet_tf.errors import ConfigError

# What a bar says in the seconds in which nothing seems to happen.
COMPILING = "compiling graphs, some ten seconds"

Item = TypeVar("Item")
Result = TypeVar("Result")


def command_line() -> str:
    """Returns the command that this process was started by."""
    program = f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else sys.argv[0]
    return " ".join([program, *map(shlex.quote, sys.argv[1:])])


def progress_bar(total: int | None, name: str, unit: str, done: int = 0, compiles: bool = False) -> tqdm:
    """Returns a progress bar with an ETA; where nobody watches it live, a line every half minute.

    Args:
      total: number of units, None: not known.
      name, unit: what is done, and what is counted.
      done: units that were done before.
      compiles: whether it says, until the first unit is done, that graphs are being compiled.
    """
    interval = 0.5 if sys.stderr.isatty() else 30.0
    bar = _Bar(total=total, initial=done, desc=name, unit=unit, mininterval=interval)
    if compiles and done != total:
        bar.set_postfix_str(COMPILING)
    return bar


class _Bar(tqdm):
    def update(self, n: float | None = 1) -> bool | None:
        if self.postfix == COMPILING:
            self.set_postfix_str("", refresh=False)
        return super().update(n)


class Forecast:
    """Says once, a few steps after the first, how long all the steps that remain will take.

    Args:
      bar: on which it is written.
    """

    # Steps that are left out, as they trace and fill caches, and those that are measured.
    SKIPPED, MEASURED = 2, 8

    def __init__(self, bar: tqdm):
        self._bar, self._steps, self._since = bar, 0, 0.0

    def step(self) -> None:
        """To be called after every step, before the bar moves on."""
        self._steps += 1
        if self._steps == self.SKIPPED:
            self._since = time.monotonic()
        elif self._steps == self.SKIPPED + self.MEASURED:
            seconds = (time.monotonic() - self._since) / self.MEASURED
            left = seconds * (self._bar.total - self._bar.n - 1)
            tqdm.write(f"{seconds:.2f} s a step: about {left / 60:.0f} min for the steps that remain", sys.stderr)


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], jobs: int = 0) -> Iterator[Result]:
    """Yields the function's results in the items' order; what has not begun is dropped when the consumer stops.

    Args:
      function: called in several threads at once.
      items: its arguments.
      jobs: number of threads; 0: one per processor.
    """
    pool = ThreadPoolExecutor(jobs or os.cpu_count())
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Returns the items that one of several machines works on: of "i/n", every n-th from number i on.

    Raises:
      ConfigError: `shard` is not two numbers 0 <= i < n.
    """
    first, _, step = shard.partition("/")
    if not (first.isdecimal() and step.isdecimal() and int(first) < int(step)):
        raise ConfigError(
            f"--shard={shard}: expected i/n with 0 <= i < n, as in 0/4, 1/4, 2/4 and 3/4 for four machines"
        )
    return list(items[int(first) :: int(step)])
