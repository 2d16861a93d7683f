"""Video files, by PyAV: frames upright, of square pixels, with their times; what is missing between them is known."""

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


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
      image: [H, W, 3] uint8 RGB.
      time: seconds from the first frame.
      missing: how many frames before it are missing: 0, or a hole.
    """

    image: np.ndarray
    time: float
    missing: int


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
        # The last one if nobody knows its codec.
        except (av.FFmpegError, OSError, IndexError, ValueError, AttributeError) as error:
            raise DataError(
                f"{file}: is not a video that can be read ({_reason(error)}): expected a complete video file; copy it "
                "again, or convert it, e.g. with ffmpeg"
            ) from None
        self._stream.thread_type = "AUTO"
        self.fps = float(self._stream.average_rate or 0)
        self.count = self._stream.frames
        if not self.count and self._stream.duration and self._stream.time_base:
            self.count = round(float(self._stream.duration * self._stream.time_base) * self.fps)
        self.damaged = 0
        self._aspect = float(self._stream.sample_aspect_ratio or 1)
        try:
            check_size((max(round(width * self._aspect), 1), height))
        except DataError as error:
            self._container.close()
            raise DataError(f"{file}: {error}: expected a video; convert it, e.g. with ffmpeg") from None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        steps: deque[float] = deque(maxlen=REMEMBERED)
        begin = before = None
        seen = damaged = 0
        for frame in self._decoded():
            time = seen / (self.fps or 1.0) if frame.time is None else float(frame.time)
            begin = time if begin is None else begin
            missing = 0
            if before is not None:
                step = time - before
                usual = statistics.median(steps) if steps else abs(step)
                longest = (DAMAGED_HOLE if self.damaged > damaged else HOLE) * usual
                if 0 <= step <= longest:
                    steps.append(step)
                else:
                    missing = max(round(step / usual) - 1, 1) if usual else 1
            before, damaged, seen = time, self.damaged, seen + 1
            yield VideoFrame(self._upright(frame), time - begin, missing)

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
        return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def camera(index: int) -> Iterator[cv2.VideoCapture]:
    """Yields the camera of an index, opened without the remarks that OpenCV prints.

    Raises:
      DataError: it cannot be opened.
    """
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            raise DataError(f"camera {index}: cannot be opened: expected a camera of that index; connect it")
        yield capture
    finally:
        capture.release()
        cv2.setLogLevel(level)
