"""Frames one after the other, from whatever a user has: an image, a folder of images, a video file, a camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glnet_tf.data.files.image_names import image_files, times_of, uninterrupted_runs
from glnet_tf.data.files.images import IMAGE_SUFFIXES, image_sizes, read_image, used_bits
from glnet_tf.data.files.video import VIDEO_SUFFIXES, Video, camera
from glnet_tf.errors import DataError

# Frames of a stream whose header does not tell.
DEFAULT_FPS = 10.0


class Frame(NamedTuple):
    """A frame as the library sees it.

    Attributes:
      name: number in the video, or the file's name without its type.
      image: [H, W, 3] uint8 RGB, upright, with square pixels.
      time: seconds from the first frame of the video.
      scene: number of the uninterrupted run of frames that it belongs to: what is missing or damaged ends one.
    """

    name: str
    image: np.ndarray
    time: float
    scene: int


class Selection(NamedTuple):
    """Which frames of a video are used.

    Attributes:
      start, end: seconds; an `end` of 0 is the video's.
      fps: frames a second that are used at most; 0: all.
      stride: of those, every n-th is used.
      max_frames: after which to stop; 0: no limit.
    """

    start: float = 0.0
    end: float = 0.0
    fps: float = 0.0
    stride: int = 1
    max_frames: int = 0

    def share(self, duration: float, fps: float) -> float:
        """Returns the share of a video's frames that is used, about."""
        used = (min(self.end or duration, duration) - self.start) / duration if duration else 1.0
        return max(used, 0.0) * (min(self.fps / fps, 1.0) if self.fps and fps else 1.0) / self.stride


ALL = Selection()


class Frames:
    """Iterates once over the frames of an input, of which it holds one.

    Args:
      place: an image, a folder of images (in the order of the numbers in their names), a video file, or the index of a
        camera.
      selection: which of the frames.

    Attributes:
      place, name: of the input, and the last part of it.
      selection: which of the frames.
      count: how many frames there should be; None where nobody knows.
      fps: frames per second, of those that are used.
      size: (H, W) of the frames; None where it is not known before the first.
      live: whether the frames come from a camera, and never again.
      remarks: what went wrong on the way and did not end it: images left out, a video that ends early.

    Raises:
      DataError: there is no such input, or it holds no frame (the latter when iterated).

    Example:
      from glnet_tf.data.frames import Frames, Selection

      for frame in Frames("drive.mp4", Selection(end=10.0, stride=2)):
          print(frame.name, frame.time, frame.image.shape)
    """

    def __init__(self, place: str, selection: Selection = ALL):
        self.place, self.name = place, Path(place).name or place
        self.remarks: list[str] = []
        self.fps = DEFAULT_FPS
        self.count: int | None = None
        self.size: tuple[int, int] | None = None
        self.selection = selection
        path = Path(place)
        try:
            path.exists()
        except OSError as error:  # a name that is too long
            raise DataError(f"{place[:200]}: {error.strerror}: expected a file or folder; correct --input") from None
        self.live = place.isdigit() and not path.exists()
        self._of_images = False
        if self.live:
            self.name = f"camera{place}"
            self._frames = self._of_camera(int(place))
        elif path.is_dir():
            files = image_files(path)
            if not files:
                raise DataError(f"{place}: holds no image: {_content(path)}")
            self.count, self.size = len(files), _first_size(files)
            times = times_of([Path(file).stem for file in files])
            if times is not None and len(times) > 1:
                self.fps = (len(times) - 1) / (times[-1] - times[0])
            self._frames = self._of_files(files, times or [number / self.fps for number in range(len(files))])
        elif "://" in place:
            raise DataError(f"{place}: is an address: expected a file; download it first")
        elif path.suffix.lower() in VIDEO_SUFFIXES and not path.exists():
            raise DataError(f"{place}: no such file; correct --input")
        elif path.exists() and path.suffix.lower() not in IMAGE_SUFFIXES:
            # FFmpeg knows more kinds of files than their usual suffixes tell.
            with Video(path) as video:
                self.count = video.count or None
                self.fps = video.fps or DEFAULT_FPS
                first = next(iter(video), None)
            self.size = first.image.shape[:2] if first else None
            self._frames = self._of_video(path)
        elif path.exists():
            self.count, self.size = 1, _first_size([str(path)])
            self._frames = self._of_files([str(path)], [0.0])
        else:
            raise DataError(
                f"{place}: no such file: expected an image, a folder of images, a video file or the index of a camera; "
                "correct --input"
            )
        if self.count is not None:
            share = selection.share(self.count / self.fps, self.fps)
            self.count = max(round(self.count * share), 1)
            self.count = min(self.count, selection.max_frames or self.count)
        self.fps = min(self.fps, selection.fps or self.fps) / selection.stride

    def __iter__(self) -> Iterator[Frame]:
        size: tuple[int, ...] | None = None
        scene = before = breaks = number = 0
        other: list[str] = []
        for frame in self._selected():
            size = size or frame.image.shape
            if frame.image.shape != size:
                breaks += 1
                if self._of_images:
                    other.append(frame.name)
                    continue
                size = frame.image.shape
                self.remarks.append(f"from {frame.name} on frames are {size[1]}x{size[0]}: another path begins")
            # Scenes without a gap in their numbers, whatever was left out.
            if number and frame.scene + breaks != before:
                scene += 1
            before = frame.scene + breaks
            yield frame._replace(scene=scene)
            number += 1
            if number == self.selection.max_frames:
                break
        if other and size:
            names = other[0] if len(other) == 1 else f"{other[0]} to {other[-1]} ({len(other)} images)"
            self.remarks.append(f"{names}: not {size[1]}x{size[0]} as the first image: left out")
        if not number:
            reasons = f" ({self.remarks[0]})" if self.remarks else ""
            raise DataError(f"{self.place}: holds no frame that can be used{reasons}; give intact images or videos")

    def _selected(self) -> Iterator[Frame]:
        chosen, due, kept = self.selection, self.selection.start, 0
        for frame in self._frames:
            # A frame a little before its time is the one that is meant: times are rounded.
            if frame.time + 1e-3 < due or chosen.end and frame.time > chosen.end:
                continue
            if chosen.fps:
                due = max(due + 1 / chosen.fps, frame.time - 0.5 / chosen.fps)
            if kept % chosen.stride == 0:
                yield frame
            kept += 1

    def _of_files(self, files: Sequence[str], times: Sequence[float]) -> Iterator[Frame]:
        readable = np.array([size is not None for size in image_sizes(files)])
        self._of_images = True
        runs, damaged = uninterrupted_runs(files, readable), 0
        stems = [Path(file).stem for file in files]
        behind = [stems[n] for n in range(1, len(files)) if runs[n] > runs[n - 1] and readable[n] and readable[n - 1]]
        if behind:
            more = f" and {len(behind) - 3} others" if len(behind) > 3 else ""
            self.remarks.append(f"a gap in the numbers before {', '.join(behind[:3])}{more}: another path begins")
        for number, file in enumerate(files):
            try:
                image = read_image(Path(file))
                bits = used_bits(Path(file)) if not number else 8
            except DataError as error:
                if len(files) == 1:
                    raise
                self.remarks.append(f"{error}: left out")
                damaged += readable[number]
                continue
            if bits not in (8, 16):
                self.remarks.append(f"{Path(file).name} uses {bits} of its 16 bits: stretched, like those that follow")
            yield Frame(stems[number], image, times[number] - times[0], int(runs[number]) + damaged)

    def _of_video(self, file: Path) -> Iterator[Frame]:
        number = scene = seen = 0
        with Video(file) as video:
            for frame in video:
                number += frame.missing
                if frame.gap:
                    scene += 1
                    self.remarks.append(f"{frame.gap} before {number:06d} ({frame.time:.2f} s): another path begins")
                yield Frame(f"{number:06d}", frame.image, frame.time, scene)
                number, seen = number + 1, seen + 1
            if seen and number + 1 < video.count:
                self.remarks.append(
                    f"{file}: {seen} of {video.count} frames can be read; the rest is damaged or missing"
                )

    def _of_camera(self, index: int) -> Iterator[Frame]:
        with camera(index) as capture:
            number = 0
            while (read := capture.read())[0]:
                yield Frame(f"{number:06d}", np.ascontiguousarray(read[1][..., ::-1]), number / DEFAULT_FPS, 0)
                number += 1


def _first_size(files: Sequence[str]) -> tuple[int, int] | None:
    return next((size for file in files if (size := image_sizes([file])[0]) is not None), None)


def _content(folder: Path) -> str:
    """What a folder without images holds, and what to do."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    videos = [entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES]
    folders = sum(entry.is_dir() for entry in entries)
    if videos:
        return f"it has {len(videos)} videos: give one of them, or a .txt file that lists them"
    if folders:
        return f"it has {folders} folders: give one of them, or a .txt file that lists them"
    kinds = ", ".join(
        kind or "no suffix" for kind, _ in Counter(entry.suffix.lower() for entry in entries).most_common(3)
    )
    there = f"it has {len(entries)} files ({kinds})" if entries else "it is empty"
    return f"{there}: expected {', '.join(IMAGE_SUFFIXES)}"
