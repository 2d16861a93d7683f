"""Prepares scenes for training: chosen frames at the networks' size in a folder that `--dataset=folder` reads.

`manifest.json` in that folder holds the settings and, for every frame of the input, its state and what became of it. A
scene is planned before its frames are written, and a frame's file appears complete, so that an interrupted preparation
goes on from what is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.folder import SHAPE_FILE
from glnet_tf.data.datasets.scenes import Scene, SceneSource
from glnet_tf.data.files.calibration import undistort
from glnet_tf.data.files.image_names import uninterrupted_runs
from glnet_tf.data.files.images import common_size, image_sizes, read_image
from glnet_tf.data.files.trajectories import write_kitti_trajectory
from glnet_tf.data.preparation.selection import ISOLATED, UNREADABLE, choose_frames, number_frames
from glnet_tf.data.sources import JoinedSource, open_source
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.files import check_settings, check_space, make_folder, read_bytes, read_json, write_bytes, write_json
from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.parsing import misfit
from glnet_tf.progress import in_threads

JPEG_QUALITY = 95
# Frames on which the room that all of them will take is estimated.
SAMPLES = 8
DEFAULT_MIN_PARALLAX = 1.0
# A frame of the manifest: file, bytes, modified (ns), sha256, and either output or left_out.
Entry = dict[str, Any]
# manifest.json, and the names of prepared frames in it.
MANIFEST = {
    "settings": dict,
    "scenes": {
        str: {
            "name": str,
            "complete": bool,
            "frames": [{"file": str, "bytes": int, "modified": int, "sha256": str}],
        }
    },
}
OUTPUT = re.compile(r"\d{6,}\.jpg")


class Prepared(NamedTuple):
    """What a preparation came to.

    Attributes:
      scenes, frames: how many there are in the folder.
      written: how many of the frames were written just now.
      left_out: number of frames of the input by the reason why they are not there.
      notes: what else was left out, one line each.
    """

    scenes: int
    frames: int
    written: int
    left_out: Counter[str]
    notes: tuple[str, ...]


def prepare(data: DataConfig, folder: Path, jobs: int = 0) -> Prepared:
    """Prepares the scenes of a data set, or goes on with an interrupted preparation.

    Args:
      data: the data set, the size of the images, the parallax (negative: 1) below which a frame is static, and that
        between kept frames.
      folder: where the prepared scenes go: SCENE/000000.jpg ..., SCENE/cam.txt, SCENE/poses.txt,
        SCENE/shape.txt, manifest.json.
      jobs: threads; 0: one per processor.

    Raises:
      ConfigError: the folder was made with other settings, or is not one of prepared scenes.
      DataError: the input is not as it should be, or the disk has no room.
    """
    data = dataclasses.replace(data, min_parallax=DEFAULT_MIN_PARALLAX if data.min_parallax < 0 else data.min_parallax)
    manifest = _open_manifest(folder, _settings(data))
    sources = _scene_sources(data)
    notes = [line for source in sources for line in source.skipped]
    scenes: dict[str, Scene] = {}
    for source in sources:
        for scene in source.scenes:
            if reason := source.exclusion(scene.name, "train"):
                notes.append(f"{scene.name}: {reason}")
                continue
            name = scene.name.replace("/", "_")
            if name in scenes:
                raise DataError(f"{scene.name}: another scene would be {folder / name}, too; prepare them separately")
            scenes[name] = scene
    make_folder(folder, "output_dir")
    plans: dict[str, list[Entry]] = {}
    with tqdm(total=sum(len(scene.files) for scene in scenes.values()), desc="choosing frames", unit="frame") as bar:
        for name, scene in scenes.items():
            old = manifest["scenes"].get(name, {"frames": []})
            plans[name] = _plan(scene, old["frames"], data, jobs)
            bar.update(len(plans[name]))
            if plans[name] != old["frames"]:
                _remove_outdated(folder / name, old["frames"], plans[name])
                manifest["scenes"][name] = {"name": scene.name, "complete": False, "frames": plans[name]}
                _write_manifest(folder, manifest)
    size = (data.image_height, data.image_width)
    todo = {name: _missing(folder / name, plan) for name, plan in plans.items()}
    _check_room(folder, [(scenes[name], entry) for name, entries in todo.items() for entry in entries], size)
    with tqdm(total=sum(map(len, todo.values())), desc="preparing frames", unit="frame") as bar:
        for name, scene in scenes.items():
            if not manifest["scenes"][name]["complete"] or todo[name]:
                _write_scene(scene, folder / name, plans[name], todo[name], size, jobs, bar)
                manifest["scenes"][name]["complete"] = True
                _write_manifest(folder, manifest)
    entries = [entry for plan in plans.values() for entry in plan]
    return Prepared(
        scenes=sum(any("output" in entry for entry in plan) for plan in plans.values()),
        frames=sum("output" in entry for entry in entries),
        written=sum("output" in entry for part in todo.values() for entry in part),
        left_out=Counter(entry["left_out"].split(":")[0] for entry in entries if "left_out" in entry),
        notes=tuple(notes),
    )


def _settings(data: DataConfig) -> dict[str, Any]:
    names = ("dataset", "image_height", "image_width", "min_parallax", "target_parallax")
    roots = [str(Path(root.strip()).resolve()) for root in data.data_dir.split(",")]
    settings = {name: getattr(data, name) for name in names}
    return {**settings, "kitti_camera": data.kitti.kitti_camera, "data_dir": roots}


def _open_manifest(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a folder that was begun with the same settings, or an empty one for a new folder."""
    file = folder / "manifest.json"
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(entry.name[0] != "." for entry in folder.iterdir())):
            raise ConfigError(
                f"--output_dir={folder}: is neither new nor empty and has no manifest.json: expected a new folder, or "
                "one that was prepared before; choose another"
            )
        return {"settings": settings, "scenes": {}}
    manifest = read_json(file, "the manifest of a preparation", MANIFEST)
    found, entries = manifest["settings"], [entry for s in manifest["scenes"].values() for entry in s["frames"]]
    # Files of these names are written and removed.
    words = [[entry.get("output", "000000.jpg"), entry.get("left_out", "")] for entry in entries]
    if misfit(words, [[str]]) or not all(OUTPUT.fullmatch(output) for output, _ in words):
        raise DataError(f"{file}: is damaged: expected the manifest of a preparation; remove {folder}")
    if entries and found != settings and any(folder.glob("*/*.jpg")):
        check_settings(file, found, settings)
    return manifest if found == settings else {"settings": settings, "scenes": {}}


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_json(folder / "manifest.json", manifest)


def _scene_sources(data: DataConfig) -> list[SceneSource]:
    source = open_source(dataclasses.replace(data, holdout_frames=0, target_parallax=0.0), "frames")
    found = []
    for part in source.sources if isinstance(source, JoinedSource) else (source,):
        if not isinstance(part, SceneSource):
            raise ConfigError(f"--dataset={data.dataset}: expected data sets of image files or videos; name only such")
        found.append(part)
    return found


def _plan(scene: Scene, old: list[Entry], data: DataConfig, jobs: int) -> list[Entry]:
    """What becomes of every frame of a scene; the old plan where the input is as it was."""
    states = list(in_threads(_State(old), scene.files, jobs))
    if [_identity(entry) for entry in old] == [_identity(state) for state in states]:
        return old
    readable = np.array([size is not None for size in image_sizes(scene.files)], bool)
    runs = np.where(readable, uninterrupted_runs(scene.files, readable), -1)
    reasons, runs = choose_frames(scene, runs, data.min_parallax, data.target_parallax, data.cache_dir, jobs)
    return [_entry(state, reason, number) for state, reason, number in zip(states, reasons, number_frames(runs))]


def _entry(state: Entry, reason: str, number: int) -> Entry:
    if reason or number < 0:
        return {**state, "left_out": reason or f"{ISOLATED}: fewer than three frames without a gap"}
    return {**state, "output": f"{number:06d}.jpg"}


def _identity(entry: Entry) -> tuple[str, str]:
    return entry["file"], entry["sha256"]


class _State:
    """Returns path, size, time and SHA-256 of a file; the last from an old plan if size and time are as there."""

    def __init__(self, old: Sequence[Entry]) -> None:
        self._known = {(entry["file"], entry["bytes"], entry["modified"]): entry["sha256"] for entry in old}

    def __call__(self, file: str) -> Entry:
        path = Path(file).resolve()
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{file}: {error.strerror}: expected a readable image; restore it") from None
        state = {"file": str(path), "bytes": status.st_size, "modified": status.st_mtime_ns}
        known = self._known.get((str(path), status.st_size, status.st_mtime_ns))
        return {**state, "sha256": known or hashlib.sha256(read_bytes(path)).hexdigest()}


def _remove_outdated(folder: Path, old: Sequence[Entry], new: Sequence[Entry]) -> None:
    """Removes the files of an old plan that the new one would not make from the same input."""
    still = {(entry["output"], entry["sha256"]) for entry in new if "output" in entry}
    for entry in old:
        if "output" in entry and (entry["output"], entry["sha256"]) not in still:
            (folder / entry["output"]).unlink(missing_ok=True)


def _missing(folder: Path, plan: Sequence[Entry]) -> list[Entry]:
    there = {file.name for file in folder.glob("*.jpg")}
    return [entry for entry in plan if "output" in entry and entry["output"] not in there]


def _check_room(folder: Path, todo: Sequence[tuple[Scene, Entry]], size: tuple[int, int]) -> None:
    chosen = [todo[int(index)] for index in np.linspace(0, len(todo) - 1, min(SAMPLES, len(todo)))]
    lengths = [len(content) for scene, entry in chosen if (content := prepared_frame(entry["file"], scene, size))]
    if lengths:
        check_space(folder, len(todo) * float(np.mean(lengths)))


def prepared_frame(file: str, scene: Scene, size: tuple[int, int]) -> bytes | None:
    """Returns a frame as JPEG of a size (height, width), without the unused rows; None if it cannot be decoded."""
    try:
        image = undistort(read_image(Path(file)), scene.lens)
    except DataError:
        return None
    image = image[: round(scene.used_rows * len(image))]
    shrinks = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    grey = (image == image[..., :1]).all()  # one channel is decoded faster than three
    pixels = resized[..., 0] if grey else resized[..., ::-1]
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _write_scene(
    scene: Scene, folder: Path, plan: list[Entry], todo: Sequence[Entry], size: tuple[int, int], jobs: int, bar: tqdm
) -> None:
    """Writes the missing frames of a scene, then its camera and poses; the plan learns what cannot be decoded."""
    make_folder(folder, "output_dir")

    def write(entry: Entry) -> bool:
        content = prepared_frame(entry["file"], scene, size)
        if content is not None:
            write_bytes(folder / entry["output"], content)
        return content is not None

    for entry, written in zip(todo, in_threads(write, todo, jobs)):
        if not written:
            tqdm.write(f"warning: {entry['file']}: cannot be decoded and is left out", sys.stderr)
            entry["left_out"] = f"{UNREADABLE}: cannot be decoded"
            del entry["output"]
        bar.update()
    _drop_isolated(folder, plan)
    kept = [frame for frame, entry in enumerate(plan) if "output" in entry]
    if not kept:
        return
    height, width = common_size(scene.files[:1], image_sizes([plan[kept[0]]["file"]]))
    shape = scene.shape or width / round(scene.used_rows * height)
    write_bytes(folder / SHAPE_FILE, f"{shape:.9g}\n".encode())
    if scene.intrinsics is not None:
        with tf.device("/cpu:0"):
            old_size = (round(scene.used_rows * height), width)
            scaled = resize_intrinsics(tf.constant(scene.intrinsics, tf.float64), old_size, size).numpy()
        rows = "".join(" ".join(f"{value:.9g}" for value in row) + "\n" for row in scaled)
        write_bytes(folder / "cam.txt", rows.encode())
    if scene.poses is not None:
        write_kitti_trajectory(folder / "poses.txt", scene.poses[kept])


def _drop_isolated(folder: Path, plan: list[Entry]) -> None:
    """Leaves out what a frame that could not be decoded has cut off: fewer frames than a snippet has."""
    kept = [entry for entry in plan if "output" in entry]
    numbers = np.array([int(Path(entry["output"]).stem) for entry in kept])
    runs = np.cumsum(np.diff(numbers, prepend=-1) != 1)
    for entry, number in zip(kept, number_frames(runs)):
        if number < 0:
            (folder / entry.pop("output")).unlink(missing_ok=True)
            entry["left_out"] = f"{ISOLATED}: fewer than three frames without a gap"
