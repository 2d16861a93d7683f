"""Snippets in TFRecords: a few large files in place of many small ones.

A folder of records holds shards of consecutive snippets, frames encoded as in their files, and `index.json`, which says
what the shards hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.errors import DataError
from glnet_tf.files import check_space, make_folder, read_bytes, read_json, replacement, write_json
from glnet_tf.parsing import is_inside, misfit
from glnet_tf.structures import FRAMES

# Snippets per shard.
SHARD = 64
FEATURES = {
    "frames": tf.io.FixedLenFeature([FRAMES], tf.string),
    "intrinsics": tf.io.FixedLenFeature([9], tf.float32),
    "camera": tf.io.FixedLenFeature([], tf.int64),
}
# index.json, and the names of shards in it.
INDEX = {
    "cameras": [str],
    "shapes": [float],
    "calibrated": bool,
    "stride": int,
    "scenes": {str: [str]},
    "snippets": [[int]],
    "shards": [list],
}
SHARD_NAME = re.compile(r"\d{5,}-[0-9a-f]{16}\.tfrecord")


def write_records(source: FolderSource, folder: Path) -> int:
    """Writes all snippets of a folder of scenes as records; shards that are there already are not written again.

    Args:
      source: the scenes, opened with part "all".
      folder: where the shards and index.json go.

    Returns:
      The number of shards written.

    Raises:
      DataError: a frame cannot be read, or the disk has no room.
    """
    make_folder(folder, "output_dir")
    places = {file: (n, f) for n, scene in enumerate(source.scenes) for f, file in enumerate(scene.files)}
    snippets = [_Snippet(source, index, places) for index in range(len(source))]
    shards = [snippets[start : start + SHARD] for start in range(0, len(snippets), SHARD)]
    names = [_shard_name(number, shard) for number, shard in enumerate(shards)]
    missing = {name: shard for name, shard in zip(names, shards) if not (folder / name).exists()}
    check_space(
        folder, sum(os.path.getsize(f) for shard in missing.values() for snippet in shard for f in snippet.files)
    )
    with tqdm(total=sum(map(len, missing.values())), desc="writing records", unit="snippet") as bar:
        for name, shard in missing.items():
            _write_shard(shard, folder / name, bar)
    index = {
        "cameras": source.cameras,
        "shapes": source.shapes,
        "calibrated": source.calibrated,
        "stride": source.config.stride,
        "scenes": {scene.name: [Path(file).name for file in scene.files] for scene in source.scenes},
        "snippets": [[snippet.scene, *snippet.frames] for snippet in snippets],
        "shards": [[name, (folder / name).stat().st_size, len(shard)] for name, shard in zip(names, shards)],
    }
    write_json(folder / "index.json", index)
    for file in folder.iterdir():
        if SHARD_NAME.fullmatch(file.name) and file.name not in names:
            file.unlink()
    return len(missing)


class _Snippet:
    """What a record holds: its label, its files and, in its scene, their numbers, its camera's number and its K."""

    def __init__(self, source: FolderSource, index: int, places: dict[str, tuple[int, int]]) -> None:
        self.label, self.files = source.label(index), source.files(index)
        self.scene, self.frames = places[self.files[1]][0], [places[file][1] for file in self.files]
        scene = source.scenes[self.scene]
        self.camera = source.cameras.index(scene.camera)
        known = np.zeros((3, 3)) if scene.intrinsics is None else scene.intrinsics
        self.intrinsics: list[float] = known.ravel().tolist()


def _shard_name(number: int, shard: list[_Snippet]) -> str:
    """A name that differs where the frames, their order or their camera differ, so that no other shard is mistaken."""
    digest = hashlib.sha256()
    for snippet in shard:
        states = [(Path(file).name, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in snippet.files]
        digest.update(json.dumps([snippet.label, states, snippet.camera, snippet.intrinsics]).encode())
    return f"{number:05d}-{digest.hexdigest()[:16]}.tfrecord"


def _write_shard(shard: list[_Snippet], file: Path, bar: tqdm) -> None:
    with replacement(file) as part, tf.io.TFRecordWriter(str(part)) as writer:
        for snippet in shard:
            frames = [read_bytes(Path(name)) for name in snippet.files]
            feature = {
                "frames": tf.train.Feature(bytes_list=tf.train.BytesList(value=frames)),
                "intrinsics": tf.train.Feature(float_list=tf.train.FloatList(value=snippet.intrinsics)),
                "camera": tf.train.Feature(int64_list=tf.train.Int64List(value=[snippet.camera])),
                "label": tf.train.Feature(bytes_list=tf.train.BytesList(value=[snippet.label.encode()])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
            bar.update()


def decode_record(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns images [3, h, w, 3] uint8, intrinsics [3, 3] and camera [] int32 of a serialised record."""
    parsed = tf.io.parse_single_example(record, FEATURES)
    frames = [tf.io.decode_image(frame, channels=3, expand_animations=False) for frame in tf.unstack(parsed["frames"])]
    images = tf.ensure_shape(tf.stack(frames), [FRAMES, None, None, 3])
    return images, tf.reshape(parsed["intrinsics"], (3, 3)), tf.cast(parsed["camera"], tf.int32)


def read_index(root: Path) -> dict[str, Any]:
    """Returns what index.json says about a folder of records, after a look at the sizes of its shards.

    Raises:
      DataError: there is none, it is damaged, or a shard is missing or not whole.
    """
    file = root / "index.json"
    if not file.exists():
        raise DataError(f"{root}: has no index.json: expected a folder of records; write it with tools/prepare.py")
    index = read_json(file, "the index of records, by tools/prepare.py", INDEX)
    shards, scenes = index["shards"], [len(files) for files in index["scenes"].values()]
    names = [*index["scenes"], *(name for files in index["scenes"].values() for name in files)]
    whole = (
        all(len(shard) == 3 and misfit(shard, [(str, int)]) == "" for shard in shards)
        and all(isinstance(name, str) and SHARD_NAME.fullmatch(name) and count > 0 for name, _, count in shards)
        and sum(count for _, _, count in shards) == len(index["snippets"])
        and all(len(frames) == 1 + FRAMES and 0 <= frames[0] < len(scenes) for frames in index["snippets"])
        and all(min(frames) >= 0 and max(frames) < scenes[scene] for scene, *frames in index["snippets"])
        and all("/" not in name and is_inside(name) for name in names)
        and len(index["cameras"]) == len(index["shapes"]) > 0
        and min(index["stride"], *index["shapes"]) > 0
    )
    if not whole:
        raise DataError(f"{file}: is damaged: expected the index of records; write them again with tools/prepare.py")
    for name, size, _ in shards:
        found = (root / name).stat().st_size if (root / name).exists() else 0
        if found != size:
            raise DataError(
                f"{root / name}: has {found} bytes: expected {size}; remove it, and run tools/prepare.py again"
            )
    return index
