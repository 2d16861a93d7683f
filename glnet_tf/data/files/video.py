"""Video files, by PyAV: frames upright, of square pixels, without combs, in ordinary colours, with their times.

What is missing between them is known.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import cv2
import numpy as np

from glnet_tf.data.files.cuts import CUT_FPS, is_cut, small_grey
from glnet_tf.data.files.images import check_size
from glnet_tf.errors import DataError

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv"),
    *(".3gp", ".ogv", ".gif"),
)
# A step between frames is a hole if it is longer than this many usual (median) ones; less where frames were damaged.
HOLE, DAMAGED_HOLE = 5.0, 1.5
# Frames whose steps are usual.
REMEMBERED = 25
# Formats in which every frame has a time of its own.
OWN_TIMES = ("gif",)
# Transfer functions of HDR, PQ and HLG, and what makes ordinary colours of them; what weaves the rows of two moments.
HDR_TRANSFERS = (16, 18)
FILTERS = {
    "bwdif": "mode=send_frame:deint=interlaced",
    "scale": "out_primaries=bt709:out_transfer=iec61966-2-1",
    "format": "rgb24",
}


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
      image: [H, W, 3] uint8 RGB.
      time: seconds from the first frame.
      missing: how many frames before it are missing: 0, or a hole.
      gap: in words, why nothing is known between it and the frame before; empty if it follows that.
    """

    image: np.ndarray
    time: float
    missing: int = 0
    gap: str = ""


class Video(contextlib.AbstractContextManager):
    """Iterates once over the frames of a video file, of which it holds one: `with Video(file) as video: ...`.

    Attributes:
      count: how many frames the header promises; 0 if it does not say.
      fps: frames per second; 0 if unknown.
      damaged: how many pieces could not be decoded, so far.

    Raises:
      DataError: it is no video file.
    """

    def __init__(self, file: Path):
        try:
            self._container = av.open(str(file), metadata_errors="ignore")
            self._stream = self._container.streams.video[0]
            width, height = self._stream.width or 1, self._stream.height or 1  # 0: not known yet
        except IndexError:
            raise DataError(f"{file}: holds no pictures: expected a video; give another") from None
        # The last one if nobody knows its codec.
        except (av.FFmpegError, OSError, ValueError, AttributeError) as error:
            raise DataError(
                f"{file}: is no image or video that can be read ({_reason(error)}): expected a complete file; copy it "
                "again, or convert it, e.g. with ffmpeg"
            ) from None
        self._own_times = self._container.format.name in OWN_TIMES
        self._stream.thread_type = "AUTO"
        self.fps = float(self._stream.average_rate or 0)
        self.count = self._stream.frames
        if not self.count and self._stream.duration and self._stream.time_base:
            self.count = round(float(self._stream.duration * self._stream.time_base) * self.fps)
        self.damaged = 0
        self._aspect = float(self._stream.sample_aspect_ratio or 1)
        # What brings a pixel (x, y) upright.
        self._turn, self._rotation = np.eye(2, dtype=int), -1
        try:
            check_size((max(round(width * self._aspect), 1), height))
        except DataError as error:
            self._container.close()
            raise DataError(f"{file}: {error}: expected a video; convert it, e.g. with ffmpeg") from None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        steps: deque[float] = deque(maxlen=REMEMBERED)
        before: float | None = None
        shown: np.ndarray | None = None
        begin, seen, damaged = 0.0, 0, 0
        for frame in self._filtered():
            time = seen / (self.fps or 1.0) if frame.time is None else float(frame.time)
            missing, gap = 0, ""
            if before is None:
                begin = time
            else:
                step = time - before
                usual = statistics.median(steps) if steps else abs(step)
                longest = (DAMAGED_HOLE if self.damaged > damaged else HOLE) * usual
                if step < 0:
                    begin += step - usual
                    gap = "the clock starts again"
                elif step <= longest or self._own_times:
                    steps.append(step)
                else:
                    missing = max(round(step / usual) - 1, 1) if usual else 1
                    gap = f"no frame for {step:.2f} s"
            before, damaged, seen = time, self.damaged, seen + 1
            image = self._upright(frame)
            if self.fps >= CUT_FPS:
                last, shown = shown, small_grey(image)
                if not gap and last is not None and last.shape == shown.shape and is_cut(last, shown):
                    gap = "a cut"
            yield VideoFrame(image, time - begin, missing, gap)

    def _filtered(self) -> Iterator[av.VideoFrame]:
        """The frames as they are shown: once interlaced ones are met, and in HDR, through FILTERS."""
        graph: av.filter.Graph | None = None
        kind: object = None
        interlaced = False
        for frame in self._decoded():
            interlaced |= bool(frame.interlaced_frame)
            if not interlaced and int(getattr(frame, "color_trc", 0)) not in HDR_TRANSFERS:
                yield frame
                continue
            if kind != (frame.width, frame.height, frame.format.name):
                yield from _last(graph)
                graph, kind = self._graph(frame), (frame.width, frame.height, frame.format.name)
            assert graph is not None
            graph.push(frame)
            yield from _pulled(graph)
        yield from _last(graph)

    def _graph(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        time_base = frame.time_base or self._stream.time_base
        filters = [graph.add_buffer(None, frame.width, frame.height, frame.format, None, time_base)]
        filters += [graph.add(name, options) for name, options in FILTERS.items()]
        filters.append(graph.add("buffersink"))
        for first, second in zip(filters, filters[1:]):
            first.link_to(second)
        graph.configure()
        return graph

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except av.EOFError:
                return
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    yield frame

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture of a frame, [H, W, 3] uint8 RGB, turned as its display matrix says, with square pixels."""
        image: np.ndarray = frame.to_ndarray(format="rgb24")
        if self._aspect != 1:
            image = cv2.resize(image, (max(round(image.shape[1] * self._aspect), 1), image.shape[0]))
        # A turn holds until the next one. A frame whose side data were looked at lives until garbage is collected.
        matrix = frame.side_data.get("DISPLAYMATRIX") if frame.rotation != self._rotation else None
        self._rotation = frame.rotation
        if matrix is not None:
            numbers = np.frombuffer(matrix, np.int32)  # type: ignore[call-overload]
            self._turn = np.sign(numbers.reshape(3, 3)[:2, :2]).astype(int)
        (a, b), (c, d) = self._turn
        if a == 0:
            image, a, d = image.swapaxes(0, 1), c, b
        return np.ascontiguousarray(image[:: d or 1, :: a or 1])


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    """What a graph has ready."""
    with contextlib.suppress(BlockingIOError, av.BlockingIOError, av.EOFError):
        while True:
            yield graph.pull()  # type: ignore[misc]


def _last(graph: av.filter.Graph | None) -> Iterator[av.VideoFrame]:
    """What a graph has kept back."""
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def camera(index: int) -> Iterator[cv2.VideoCapture]:
    """Yields the camera of an index, opened without the remarks that OpenCV prints.

    Raises:
      DataError: it cannot be opened.
    """
    # Where it is in OpenCV 4, and where in 5; it gives the level of before.
    set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel  # type: ignore
    level = set_log_level(0)
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            raise DataError(f"camera {index}: cannot be opened: expected a camera of that index; connect it")
        yield capture
    finally:
        capture.release()
        set_log_level(level)
