"""The parts of tensorflow-graphics that the library uses, imported in a tenth of the time.

Every module of that package asks inspect.stack() which module it is, to list its own names; searching the sources of
all frames for that took most of the seconds in which the library was imported.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def _stack_without_sources() -> Iterator[None]:
    def stack(context: int = 1) -> list[tuple[FrameType]]:
        frame: Any = sys._getframe(1)
        frames = []
        while frame is not None:
            frames.append((frame,))
            frame = frame.f_back
        return frames

    complete = inspect.stack
    inspect.stack = stack  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.stack = complete


with _stack_without_sources():
    from tensorflow_graphics.geometry.transformation import rotation_matrix_3d
    from tensorflow_graphics.rendering.camera import perspective

__all__ = ["perspective", "rotation_matrix_3d"]
