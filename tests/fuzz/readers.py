"""Every reader of a file that a user can hand over, each with intact files from which damaged ones are made."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, NamedTuple
from unittest import mock

import cv2
import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import flags
from array_files import FLO_HEAD, GREY, PIXELS, grey_png, npy, npz, png
from PIL import Image
from torch_files import contiguous, legacy_file, pickled, zip_file

from glnet_tf.cli import flagging, predict
from glnet_tf.config import DataConfig, ModelConfig
from glnet_tf.data.datasets.cityscapes import read_camera as read_cityscapes_camera
from glnet_tf.data.datasets.flow_pairs import _objects
from glnet_tf.data.datasets.folder import _shape
from glnet_tf.data.datasets.kitti_truth import read_oxts, read_transform
from glnet_tf.data.datasets.rgbd import _pose
from glnet_tf.data.datasets.video import NOTE, VideoNote, extract_frames
from glnet_tf.data.files.arrays import read_depth_png, read_flo, read_kitti_flow, read_velodyne
from glnet_tf.data.files.calibration import read_camera, read_poses, read_projection
from glnet_tf.data.files.images import image_headers, read_image, used_bits
from glnet_tf.data.files.records import decode_record, read_index
from glnet_tf.data.files.trajectories import read_trajectory
from glnet_tf.data.files.video import Video
from glnet_tf.data.frames import Frames
from glnet_tf.data.preparation.parallax import GreyReader
from glnet_tf.data.preparation.prepare import _open_manifest
from glnet_tf.errors import DataError
from glnet_tf.evaluation.predicted_files import read_depth, read_flow
from glnet_tf.evaluation.tracks import read_track
from glnet_tf.files import read_array, read_json_lines
from glnet_tf.inference.calibration import _exif_focal_length
from glnet_tf.inference.result_folder import FrameRow, ResultFolder
from glnet_tf.models.encoders.pretrained import _resnet50_from_file
from glnet_tf.models.encoders.torch_weights import read_torch_state_dict
from glnet_tf.training import weights
from glnet_tf.training.checkpoints import Architecture, read_architecture
from glnet_tf.training.trainer import forget_metrics_after
from glnet_tf.visualization.movie import Movie

ARCHITECTURE = dataclasses.asdict(
    Architecture(ModelConfig(encoder_weights="none", intrinsics="learned"), 32, 96, ("a", "b"), (3.0, 2.0))
)
SHARD = "00000-0123456789abcdef.tfrecord"
RASTER = np.random.default_rng(0).integers(0, 255, (12, 20, 3), np.uint8)


class Seed(NamedTuple):
    """Bytes that are damaged, and how a file is made of them: what checksums a format has are right again."""

    content: bytes
    wrap: Callable[[bytes], bytes] = bytes


class Reader(NamedTuple):
    """A reader of one kind of file.

    Attributes:
      name: of the file.
      read: takes its path.
      seeds: intact files.
      also: what else it may raise: what the graph that it belongs to deals with.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: Sequence[Seed]
    also: tuple[type[Exception], ...] = ()


def text(value: Any) -> Seed:
    return Seed((json.dumps(value) + "\n").encode())


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member)
    return content.getvalue()


def letters(content: bytes) -> bytes:
    return npy(np.frombuffer(content, np.uint8))


def encoded(kind: str, mode: str = "RGB", **options: Any) -> Seed:
    content = io.BytesIO()
    Image.fromarray(RASTER).convert(mode).save(content, kind, **options)
    return Seed(content.getvalue())


def by_opencv(suffix: str, dtype: type) -> Seed:
    values = RASTER / np.float32(255) if dtype is np.float32 else RASTER.astype(dtype)
    return Seed(cv2.imencode(suffix, values, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes())


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x0112] = 6
    tags.get_ifd(0x8769)[0xA405] = 28
    return tags.tobytes()


def deflated(data: bytes) -> bytes:
    return grey_png(30, 20, data=zlib.compress(data))


def ihdr(head: bytes) -> bytes:
    """A PNG whose header, of 13 bytes, has the right checksum."""
    content = png(GREY)
    part = b"IHDR" + head[:13].ljust(13, b"\0")
    return content[:12] + part + struct.pack(">I", zlib.crc32(part)) + content[33:]


def in_npz(head: bytes) -> bytes:
    return zipped(depth=head, confidence=npy(GREY))


def beside(name: str, content: bytes, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader that wants another, intact file in the folder."""

    def reader(file: Path) -> Any:
        (file.parent / name).write_bytes(content)
        return read(file)

    return reader


def read_records(file: Path) -> Any:
    (file.parent / SHARD).write_bytes(b"abc")
    index = read_index(file.parent)
    assert all((file.parent / name).parent == file.parent for name, *_ in index["shards"])
    return index


def read_shard(file: Path) -> Any:
    """As the pipeline does, which leaves out what is damaged."""
    return list(tf.data.TFRecordDataset(str(file)).ignore_errors().map(decode_record).ignore_errors())


def record() -> bytes:
    feature = {
        "frames": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded("JPEG").content] * 3)),
        "intrinsics": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0] * 9)),
        "camera": tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def as_records(example: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.tfrecord"
        with tf.io.TFRecordWriter(str(file)) as out:
            out.write(example)
        return file.read_bytes()


def read_result_folder(file: Path) -> Any:
    with ResultFolder(file.parent, {"a": 1}) as results:
        places = [results.file("image", name, ".jpg") for name in results.rows]
        assert all(file.parent in place.resolve().parents for place in places)
        return [row.predecessor() for row in results.rows.values()]


@cache
def results_settings() -> bytes:
    with tempfile.TemporaryDirectory() as folder, ResultFolder(Path(folder), {"a": 1}):
        return Path(folder, "settings.json").read_bytes()


def read_video(file: Path) -> Any:
    with Video(file) as video:
        return sum(frame.missing for frame in video)


def read_video_note(file: Path) -> Any:
    note = extract_frames(file.with_name("video.mp4"), file.parent)
    return note.shortage(), note.width / note.shrunk_width


def read_inputs(file: Path) -> Any:
    places = [found.place for found in predict.read_list(file, file.parent / "out")]
    return [_first_frame(place) for place in places if not place.isdigit()]  # a number is a camera's


def _first_frame(place: str) -> Any:
    try:
        return next(iter(Frames(place)))
    except DataError as error:  # of this input, not of the list
        assert place[:100] in str(error)
        return None


@cache
def tiny_model() -> Any:
    networks = {
        name: SimpleNamespace(variables=[tf.Variable(tf.ones([2, 3]), name="kernel")]) for name in weights.NETWORKS
    }
    return SimpleNamespace(**networks, camera_parameters=None, build_variables=lambda: None)


def read_weights(file: Path) -> Any:
    with mock.patch.object(Architecture, "build", lambda self, weights: tiny_model()):
        return weights.load_model(file)


def packed_weights(architecture: bytes) -> bytes:
    arrays = {f"{name}/000/kernel": npy(np.ones((2, 3), np.float16)) for name in weights.NETWORKS}
    return zipped(architecture=letters(architecture), licence=letters(b"free"), **arrays)


def one_array_of_weights(array: bytes) -> bytes:
    arrays = {f"{name}/000/kernel": npy(np.ones((2, 3), np.float16)) for name in weights.NETWORKS}
    arrays["depth_net/000/kernel"] = array
    return zipped(architecture=letters(json.dumps(ARCHITECTURE).encode()), licence=letters(b""), **arrays)


@cache
def tiny_keras() -> keras.Model:
    return keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="dense")])


def read_keras(file: Path) -> Any:
    with mock.patch.object(keras.applications, "ResNet50", lambda **_: tiny_keras()):
        return _resnet50_from_file(str(file))


def keras_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tiny_keras().save_weights(f"{folder}/a.h5")
        return Path(folder, "a.h5").read_bytes()


def read_sums(file: Path) -> Any:
    with mock.patch.object(weights, "SHIPPED", file.parent):
        return weights.shipped()


def read_flagfile(file: Path) -> Any:
    flags.FLAGS.unparse_flags()
    return flagging.parse(["tool", f"--flagfile={file}"])


def small_video() -> bytes:
    picture = np.kron(RASTER, np.ones((4, 4, 1), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        with Movie(Path(folder) / "a.mp4", 10) as movie:
            for shift in range(6):
                movie.add(np.roll(picture, shift, axis=1))
        return (Path(folder) / "a.mp4").read_bytes()


COLMAP_IMAGES = b"# i\n1 1 0 0 0 0.5 0 1 1 a.jpg\n\n2 1 0 0 0 0.5 0 2 1 b.jpg\n\n"
TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)}
CALLS, STORAGES = contiguous(TENSORS, parameter=True)
COUNTS = {str(number): array.size for number, array in enumerate(TENSORS.values())}
CAMERA = b"50 0 9.5\n0 40 5.5\n0 0 1\n0.1 0 0 0 0\n"
KITTI = b"P0: 50 0 9.5 0 0 40 5.5 0 0 0 1 0\nR: 1 0 0 0 1 0 0 0 1\nT: 1 2 3\nR_rect_00: 1 0 0 0 1 0 0 0 1\n"
POSES = b"1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 1.5\n"
ROW = FrameRow("s/0", "", np.eye(4).tolist(), None, np.eye(3).tolist(), 12, 20, 256.0, ground=[1.5, 0.5, 1.0])
INDEX = {
    "cameras": ["a"],
    "shapes": [1.5],
    "calibrated": True,
    "stride": 1,
    "scenes": {"a": ["0.jpg", "1.jpg", "2.jpg"]},
    "snippets": [[0, 0, 1, 2]],
    "shards": [[SHARD, 3, 1]],
}
ENTRY = {"file": "/x/0.jpg", "bytes": 3, "modified": 1700000000000000000, "sha256": "ab", "output": "000000.jpg"}
MANIFEST = {"settings": {}, "scenes": {"a": {"name": "a", "complete": True, "frames": [ENTRY]}}}
OXTS = b"49 8 115 0.1 0.02 -1.2 " + b"0 " * 24 + b"\n"


def read_oxts_of(file: Path) -> Any:
    drive = file.parent / "date" / "drive"
    (drive / "oxts" / "data").mkdir(parents=True, exist_ok=True)
    (drive / "oxts" / "data" / "0.txt").write_bytes(file.read_bytes())
    for name in ("calib_cam_to_cam", "calib_velo_to_cam", "calib_imu_to_velo"):
        (drive.parent / f"{name}.txt").write_bytes(KITTI.replace(b"P0", b"P_rect_02"))
    return read_oxts(drive, "image_02", ("0.png",))


def readers() -> dict[str, Reader]:
    """Returns the readers by what they are called here."""
    png8, images = encoded("PNG"), {"jpg": [encoded("JPEG", exif=exif()), encoded("JPEG", "L")]}
    images["png"] = [png8, encoded("PNG", "P"), by_opencv(".png", np.uint16), Seed(GREY_HEAD, ihdr)]
    images["tif"] = [
        encoded("TIFF", compression="tiff_deflate"),
        by_opencv(".tif", np.float32),
        by_opencv(".tif", np.uint16),
    ]
    images |= {"bmp": [encoded("BMP")], "webp": [encoded("WEBP")], "ppm": [encoded("PPM")]}
    found = {f"image.{kind}": Reader(f"a.{kind}", read_image, seeds) for kind, seeds in images.items()}
    some = images["jpg"] + images["png"] + images["tif"]
    grey_pngs = [Seed(png(GREY)), Seed(GREY_HEAD, ihdr), Seed(zlib.decompress(PIXELS), deflated)]
    note = VideoNote(9, 9, 10.0, 64, 48, 64, 48, ["1 before 2 s"])._asdict()
    identity = Seed(b"1 0 0 1\n0 1 0 2\n0 0 1 3\n0 0 0 1\n")
    words = Seed(b"# of a run\n--flip=true\n--noflip\n--batch_size=2\n--data_dir=x\n")
    lines = Seed(b'{"a": 1}\n{"a": 2}\n{"a": 3}\n')
    records = [Seed(as_records(record())), Seed(record(), as_records)]
    grey_npz = Seed(npz(depth=GREY, confidence=GREY))
    head = Seed(npy(GREY.astype(np.float32)), in_npz)
    return found | {
        "headers": Reader("a.png", lambda file: image_headers([str(file)]), some),
        "used_bits": Reader("a.tif", used_bits, some),
        "grey": Reader("a.png", lambda file: GreyReader([str(file)])(str(file)), some),
        "exif": Reader(
            "a.jpg", lambda file: _exif_focal_length(file, (12, 20)), [images["jpg"][0], *images["tif"][:1]]
        ),
        "objects": Reader("a.png", _objects, [encoded("PNG", "L")]),
        "flo": Reader("a.flo", read_flo, [Seed(FLO_HEAD + struct.pack("<2i12f", 3, 2, *range(12)))]),
        "kitti_flow": Reader("a.png", read_kitti_flow, [Seed(png(np.stack([GREY] * 3, axis=-1)))]),
        "depth_png": Reader("a.png", lambda file: read_depth_png(file, 256), grey_pngs),
        "velodyne": Reader("a.bin", read_velodyne, [Seed(struct.pack("<8f", *range(8)))]),
        "npz": Reader("a.npz", lambda file: read_array(file, "depth"), [grey_npz, head]),
        "npy": Reader("a.npy", lambda file: read_array(file, "depth"), [Seed(npy(GREY))]),
        "predicted_depth": Reader("a.npz", read_depth, [grey_npz, head]),
        "predicted_flow": Reader("a.npy", read_flow, [Seed(npy(np.ones((3, 4, 2))))]),
        "torch": Reader(
            "a.pth",
            read_torch_state_dict,
            [
                Seed(zip_file(pickled(CALLS), STORAGES)),
                Seed(pickled(CALLS), partial(zip_file, storages=STORAGES)),
                Seed(pickled(CALLS), partial(legacy_file, storages=STORAGES, counts=COUNTS)),
                Seed(legacy_file(pickled(CALLS), STORAGES, COUNTS)),
            ],
        ),
        "weights": Reader(
            "a.npz",
            read_weights,
            [
                Seed(packed_weights(json.dumps(ARCHITECTURE).encode())),
                Seed(json.dumps(ARCHITECTURE).encode(), packed_weights),
                Seed(npy(np.ones((2, 3), np.float16)), one_array_of_weights),
            ],
        ),
        "keras": Reader("a.h5", read_keras, [Seed(keras_file())]),
        "sums": Reader("SHA256SUMS", read_sums, [Seed(b"0123456789abcdef" * 4 + b"  a.npz\n")]),
        "architecture": Reader("architecture.json", lambda file: read_architecture(file.parent), [text(ARCHITECTURE)]),
        "index": Reader("index.json", read_records, [text(INDEX)]),
        "shard": Reader("a.tfrecord", read_shard, records),
        "cityscapes": Reader(
            "camera.json", read_cityscapes_camera, [text({"intrinsic": {"fx": 50.5, "fy": 40, "u0": 9.5, "v0": 5.5}})]
        ),
        "video_note": Reader(NOTE, read_video_note, [text(note)]),
        "settings": Reader("settings.json", beside("x", b"", read_result_folder), [Seed(results_settings())]),
        "rows": Reader(
            "frames.jsonl",
            beside("settings.json", results_settings(), read_result_folder),
            [Seed(b"".join(text(row._asdict()).content for row in (ROW, ROW._replace(name="1", path="p"))))],
        ),
        "manifest": Reader("manifest.json", lambda file: _open_manifest(file.parent, {}), [text(MANIFEST)]),
        "metrics": Reader(
            "metrics.jsonl",
            lambda file: forget_metrics_after(file, 2),
            [Seed(b'{"step": 1, "total": 0.5}\n{"step": 2, "total": NaN}\n{"step": 3, "total": 1e-5}\n')],
        ),
        "lines": Reader("a.jsonl", lambda file: read_json_lines(file, {"a": int}), [lines]),
        "camera": Reader("cam.txt", read_camera, [Seed(CAMERA)]),
        "projection": Reader("calib.txt", lambda file: read_projection(file, "P0"), [Seed(KITTI)]),
        "transform": Reader("calib.txt", read_transform, [Seed(KITTI)]),
        "poses": Reader("poses.txt", lambda file: np.linalg.inv(read_poses(file, 2)), [Seed(POSES)]),
        "trajectory": Reader(
            "a.txt", read_trajectory, [Seed(POSES), Seed(b"0 1 2 3 0 0 0 1\n1.5 1 2 4 0 0.6 0 0.8\n")]
        ),
        "colmap_cameras": Reader(
            "cameras.txt", beside("images.txt", COLMAP_IMAGES, read_model), [Seed(b"# c\n1 PINHOLE 20 12 50 50 10 6\n")]
        ),
        "colmap_images": Reader(
            "images.txt", beside("cameras.txt", b"1 SIMPLE_PINHOLE 20 12 50 10 6\n", read_model), [Seed(COLMAP_IMAGES)]
        ),
        "shape": Reader("shape.txt", _shape, [Seed(b"1.5\n")]),
        "rgbd_pose": Reader("a.pose.txt", lambda file: np.linalg.inv(_pose(file)), [identity]),
        "oxts": Reader("oxts.txt", read_oxts_of, [Seed(OXTS)]),
        "imu_calibration": Reader("calib.txt", read_imu_calibration, [Seed(KITTI.replace(b"P0", b"P_rect_02"))]),
        "list": Reader("list.txt", read_inputs, [Seed(b"a.png # the first\n0\nhttp://x/y.mp4\n./folder\n")]),
        "flagfile": Reader("a.flags", read_flagfile, [words], (flags.Error,)),
        "video": Reader("a.mp4", read_video, [Seed(small_video())]),
    }


def read_model(file: Path) -> Any:
    return read_track(file.parent)


def read_imu_calibration(file: Path) -> Any:
    drive = file.parent / "date" / "drive"
    (drive / "oxts" / "data").mkdir(parents=True, exist_ok=True)
    (drive / "oxts" / "data" / "0.txt").write_bytes(OXTS)
    for name in ("calib_cam_to_cam", "calib_velo_to_cam", "calib_imu_to_velo"):
        (drive.parent / f"{name}.txt").write_bytes(file.read_bytes())
    return read_oxts(drive, "image_02", ("0.png",))


GREY_HEAD = struct.pack(">2I5B", 30, 20, 16, 0, 0, 0, 0)
flagging.define(DataConfig)
