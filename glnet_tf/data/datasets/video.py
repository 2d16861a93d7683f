"""Video files: their frames are extracted once, kept in a folder, and read from there as any other scene."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.scenes import DEFAULTS, Scene, SceneSource
from glnet_tf.data.files.calibration import Camera, read_camera
from glnet_tf.data.files.image_names import image_files, natural_key
from glnet_tf.data.files.video import VIDEO_SUFFIXES, Video
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.files import check_space, make_folder, read_json, write_bytes, write_json
from glnet_tf.folders import new_folder
from glnet_tf.geometry.camera import resize_intrinsics

# Larger frames are shrunk to this longer side, in pixels; the networks' images are smaller still.
MAX_SIDE = 1280
JPEG_QUALITY = 95
# Headers give the number of frames to this share, and to one frame.
HEADER_TOLERANCE = 0.01
NOTE = "video.json"


class VideoNote(NamedTuple):
    """What is known about extracted frames.

    Attributes:
      frames: how many there are.
      declared: how many the video's header promises; 0 if it does not say.
      fps: frames per second; 0 if unknown.
      width, height: of the video, pixels.
      shrunk_width, shrunk_height: of the extracted frames, pixels.
      holes: where frames do not follow each other; the numbers leave one out there, so that no snippet reaches across.
    """

    frames: int
    declared: int
    fps: float
    width: int
    height: int
    shrunk_width: int
    shrunk_height: int
    holes: list[str] = []

    def shortage(self) -> str:
        """Returns how much of the video is missing; empty if it is whole."""
        found = [f"{', '.join(self.holes)}: no snippet reaches across"] if self.holes else []
        if self.frames + 1 < self.declared * (1 - HEADER_TOLERANCE):
            found.append(f"{self.frames} of {self.declared} frames can be read; the others are damaged or missing")
        return "; ".join(found)


NOTE_SHAPE = {
    **dict.fromkeys(("frames", "declared", "width", "height", "shrunk_width", "shrunk_height"), int),
    "fps": float,
    "holes": [str],
}


class VideoSource(SceneSource):
    """One video file, or a folder of them; each has a camera of its own.

    Frames are extracted into `config.cache_dir` once. `STEM.cam.txt` beside `STEM.mp4` may hold the 3x3 K in pixels of
    the video.
    """

    def __init__(self, root: str | Path, split: str = "", part: str = "train", config: DataConfig = DEFAULTS) -> None:
        if not config.cache_dir:
            raise ConfigError("--cache_dir=: expected a folder, where the frames of the videos are to be kept")
        self._shortages: list[str] = []
        super().__init__(root, split, part, config)
        self.skipped += tuple(self._shortages)

    @staticmethod
    def discover(root: Path, config: DataConfig) -> dict[str, Path]:
        if root.is_file():
            return {root.stem: root}
        entries = root.iterdir() if root.is_dir() else ()
        visible = (entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES and entry.name[0] != ".")
        found: dict[str, Path] = {}
        for file in sorted(visible, key=lambda file: natural_key(file.name)):
            if file.stem in found:
                raise DataError(
                    f"{file}: has the name of {found[file.stem].name}: expected one video per name; rename one of them"
                )
            found[file.stem] = file
        if not found:
            raise DataError(
                f"{root}: is no video file and no folder with one: expected {', '.join(VIDEO_SUFFIXES)}; "
                "correct --data_dir"
            )
        return found

    def read_scene(self, name: str, place: Path) -> Scene:
        identity = hashlib.sha256(f"{_digest(place)} {MAX_SIDE} {JPEG_QUALITY}".encode()).hexdigest()
        folder = Path(self.config.cache_dir).expanduser() / "videos" / identity
        note = extract_frames(place, folder)
        if note.shortage():
            self._shortages.append(f"{place}: {note.shortage()}")
        cam = place.with_name(f"{place.stem}.cam.txt")
        camera = read_camera(cam) if cam.exists() else Camera()
        return Scene(
            name=name,
            files=image_files(folder),
            camera=name,
            intrinsics=None if camera.intrinsics is None else _shrunk_intrinsics(camera.intrinsics, note),
            distortion=camera.distortion,
        )


def _shrunk_intrinsics(intrinsics: np.ndarray, note: VideoNote) -> np.ndarray:
    """K, [3, 3], in pixels of the extracted frames."""
    size, shrunk = (note.height, note.width), (note.shrunk_height, note.shrunk_width)
    return np.asarray(resize_intrinsics(intrinsics, size, shrunk))


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(file, "rb") as stream:
            while block := stream.read(2**22):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}: expected a readable video; restore it") from None
    return digest.hexdigest()


def extract_frames(video: Path, folder: Path) -> VideoNote:
    """Writes the frames of a video as JPEG images 000000.jpg, 000001.jpg ... and a note about them, unless it is done.

    Args:
      video: its path.
      folder: where the frames go; it appears when it is complete. An interrupted extraction starts again.

    Returns:
      The note, which the folder holds as video.json.

    Raises:
      DataError: the file is not a video, or the disk has no room for its frames.
    """
    if (folder / NOTE).exists():
        return _read_note(folder / NOTE)
    make_folder(folder.parent, "cache_dir")
    try:
        with new_folder(folder) as part:
            note = _write_frames(video, part)
            write_json(part / NOTE, note._asdict())
    except DataError:
        if not (folder / NOTE).exists():  # another process may have been faster
            raise
    if note.shortage():
        tqdm.write(f"warning: {video}: {note.shortage()}", sys.stderr)
    return note


def _read_note(file: Path) -> VideoNote:
    found = read_json(file, "what is known of a video's frames", NOTE_SHAPE)
    note = VideoNote(**{name: found[name] for name in NOTE_SHAPE})
    if min(note.frames, note.width, note.height, note.shrunk_width, note.shrunk_height) < 1 or note.declared < 0:
        raise DataError(f"{file}: {note[:7]}: expected positive numbers; remove its folder")
    return note


def _write_frames(file: Path, folder: Path) -> VideoNote:
    frames = number = other = 0
    size, shrunk, holes = (0, 0), (0, 0), []
    with Video(file) as video:
        for frame in tqdm(video, f"extracting {file.name}", video.count or None, leave=False, unit="frame"):
            image = frame.image
            if not frames:
                size = image.shape[1], image.shape[0]
                scale = min(MAX_SIDE / max(size), 1.0)
                shrunk = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
            if image.shape[1::-1] != size:
                other, number = other + 1, number + 1
                continue
            if image.shape[1::-1] != shrunk:
                image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
            content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
            if not frames:
                check_space(folder, video.count * len(content))
            if frame.gap:
                holes.append(f"{frame.gap} before {frame.time:.2f} s")
            # A number that is left out is a gap for those that read the folder.
            number += max(frame.missing, 1) if frame.gap else 0
            write_bytes(folder / f"{number:06d}.jpg", content)
            number, frames = number + 1, frames + 1
    if other:
        holes.append(f"{other} frames are not {size[0]}x{size[1]} as the first one")
    if not frames:
        raise DataError(f"{file}: not one frame can be decoded: expected a complete video; convert or copy it again")
    return VideoNote(frames, video.count, video.fps, *size, *shrunk, holes)
