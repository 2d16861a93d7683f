"""Windows of frames that are seen together, of a video of which nobody need know the length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Callable, Generic, NamedTuple, TypeVar

from glnet_tf.structures import FRAMES

Frame = TypeVar("Frame")


class Window(NamedTuple, Generic[Frame]):
    """Consecutive frames, of which every `stride`-th ones are seen together.

    Attributes:
      frames: of the video, in the order of time.
      stride: frames from one that is seen to the next: `frames` are as many interleaved windows as that.
      first, last: `frames[first:last]` are this window's to predict; its neighbours predict the others.
    """

    frames: list[Frame]
    stride: int
    first: int
    last: int


def windows(
    frames: Iterable[Frame],
    length: int,
    overlap: int = 1,
    stride_of: Callable[[Sequence[Frame]], int] = lambda frames: 1,
) -> Iterator[Window[Frame]]:
    """Yields windows that cover a video, in order; every frame is one window's to predict.

    A frame that windows share belongs to the one in whose middle it lies more, or to the later one. The last window
    reaches back, so that it is whole; a video that is shorter than a window is one by itself.

    Args:
      frames: of the video; it is read one frame beyond the window, and no more than two windows are held.
      length: frames that are seen together.
      overlap: frames, of those, that are seen by the next window too.
      stride_of: the stride of the window that begins with some frames.
    """
    back = overlap - overlap // 2
    held: list[Frame] = []
    # Where in `held` the window begins, and the frames before which are predicted already.
    start = done = stride = 0
    for frame in frames:
        if stride and len(held) - start == length * stride:
            last = length * stride - back * stride
            yield Window(held[start:], stride, done - start, last)
            held = held[start:]
            start, done, stride = (length - overlap) * stride, last, 0
        held.append(frame)
        if not stride and len(held) - start >= length:
            stride = stride_of(held[start : start + length])
    if not held:
        return
    most = len(held) // (length if done else FRAMES)
    stride = max(1, min(stride or stride_of(held[-length:]), most))
    seen = held[-length * stride :] if done else held
    yield Window(seen, stride, done - (len(held) - len(seen)), len(seen))
