"""Videos become frames once, whole or not at all, and a short one says so."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets import video as module
from glnet_tf.data.datasets.video import VideoSource, extract_frames
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError, DataError

HEIGHT, WIDTH = 48, 64


def write_video(file, frames=6, code="mp4v", size=(WIDTH, HEIGHT)):
    """Frames of one grey value each, 20 i, with some noise so that they take room in the file."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*code), 10, size)
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    for number in range(frames):
        noise = rng.integers(-4, 5, (size[1], size[0], 3))
        writer.write(np.clip(20 * number + 20 + noise, 0, 255).astype(np.uint8))
    writer.release()


@pytest.fixture
def config(tmp_path) -> DataConfig:
    return DataConfig(cache_dir=str(tmp_path / "cache"))


def mean_values(source, index) -> list[float]:
    return [float(value) for value in tf.reduce_mean(tf.cast(source.load(index)[0], tf.float32), axis=(1, 2, 3))]


def test_a_video_file_is_a_scene(tmp_path, config):
    write_video(tmp_path / "drive.mp4")
    source = VideoSource(tmp_path / "drive.mp4", config=config)
    assert len(source) == 4 and source.cameras == ("drive",) and not source.calibrated and not source.skipped
    assert source.label(0) == "drive/000001"
    np.testing.assert_allclose(mean_values(source, 1), [40, 60, 80], atol=3)
    assert source.load(0)[0].shape == (3, HEIGHT, WIDTH, 3)


def test_a_folder_of_videos_with_calibration(tmp_path, config):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "b10.mp4", 4)
    write_video(folder / "b9.AVI", 3, "MJPG")
    (folder / "notes.txt").write_text("no video")
    (folder / "b10.cam.txt").write_text("50 0 31.5\n0 50 23.5\n0 0 1\n")
    source = open_source(
        DataConfig(dataset="video", data_dir=str(folder), split="b9,b10", cache_dir=config.cache_dir), "all"
    )
    assert source.cameras == ("b9", "b10") and len(source) == 3
    np.testing.assert_array_equal(source.load(1)[1], [[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    assert VideoSource(folder, "b10", config=config).calibrated


def test_frames_are_extracted_once(tmp_path, config, monkeypatch):
    write_video(tmp_path / "a.mp4")
    first = VideoSource(tmp_path / "a.mp4", config=config)
    (tmp_path / "a.mp4").rename(tmp_path / "b.mp4")
    monkeypatch.setattr(module, "_write_frames", None)  # nothing is left to extract
    assert VideoSource(tmp_path / "b.mp4", config=config).files(0) == first.files(0)


def test_large_frames_are_shrunk_with_their_intrinsics(tmp_path, config, monkeypatch):
    monkeypatch.setattr(module, "MAX_SIDE", 32)
    write_video(tmp_path / "a.mp4")
    (tmp_path / "a.cam.txt").write_text("50 0 31.5\n0 50 20.5\n0 0 1\n")
    images, intrinsics, _ = VideoSource(tmp_path / "a.mp4", config=config).load(0)
    assert images.shape == (3, 24, 32, 3)
    np.testing.assert_allclose(intrinsics, [[25, 0, 15.5], [0, 25, 10], [0, 0, 1]])


def test_an_interruption_leaves_nothing_and_a_killed_process_little(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4")
    frames = tmp_path / "cache" / "frames"
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_bytes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            extract_frames(tmp_path / "a.mp4", frames)
    assert not list(frames.parent.iterdir())
    (frames.parent / ".frames.0123abcd.part").mkdir()
    note = extract_frames(tmp_path / "a.mp4", frames)
    assert [entry.name for entry in frames.parent.iterdir()] == ["frames"]
    assert len(list(frames.glob("*.jpg"))) == note.frames == 6 and note.fps == 10
    assert json.loads((frames / "video.json").read_text())["declared"] == 6


def test_of_two_extractions_the_faster_one_counts(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4")
    frames, write = tmp_path / "cache" / "frames", module._write_frames

    def overtaken(video, folder):
        monkeypatch.setattr(module, "_write_frames", write)
        extract_frames(video, frames)
        (frames / "first").touch()
        return write(video, folder)

    monkeypatch.setattr(module, "_write_frames", overtaken)
    assert extract_frames(tmp_path / "a.mp4", frames).frames == 6
    assert (frames / "first").exists() and [entry.name for entry in frames.parent.iterdir()] == ["frames"]


def test_a_truncated_video_keeps_what_there_is_and_says_so(tmp_path, config, capfd):
    write_video(tmp_path / "a.avi", 20, "MJPG", (256, 192))
    content = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content[: len(content) // 2])
    source = VideoSource(tmp_path / "a.avi", config=config)
    assert 1 < len(source) < 15
    assert len(source.skipped) == 1 and f"a.avi: {len(source) + 2} of 20 frames can be read" in source.skipped[0]
    lines = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 1 and source.skipped[0] in lines[0]
    assert VideoSource(tmp_path / "a.avi", config=config).skipped == source.skipped


@pytest.mark.parametrize(
    "spoil", [lambda content: b"no video" * 99, lambda content: content[:-100], lambda content: b""]
)
def test_not_a_video(tmp_path, config, capfd, spoil):
    write_video(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(spoil((tmp_path / "a.mp4").read_bytes()))
    with pytest.raises(DataError, match=r"a.mp4: (is no image or video|not one frame).*expected a complete .*convert"):
        VideoSource(tmp_path / "a.mp4", config=config)
    assert "rror" not in capfd.readouterr().err
    assert not list((tmp_path / "cache" / "videos").iterdir())


def test_no_room(tmp_path, config, monkeypatch):
    write_video(tmp_path / "a.mp4")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"has 0.00 GB free: expected .* GB"):
        VideoSource(tmp_path / "a.mp4", config=config)


def test_wrong_places(tmp_path, config):
    with pytest.raises(ConfigError, match=r"--cache_dir=: expected a folder"):
        VideoSource(tmp_path, config=DataConfig(cache_dir=""))
    with pytest.raises(DataError, match=r"no video file and no folder with one.*correct --data_dir"):
        VideoSource(tmp_path, config=config)
    for suffix in ("mp4", "avi"):
        (tmp_path / f"a.{suffix}").touch()
    with pytest.raises(DataError, match=r"a.mp4: has the name of a.avi: .*rename one"):
        VideoSource(tmp_path, config=config)


@pytest.mark.parametrize("text", ["[]", "{}", '{"frames": "1"}', None])
def test_a_damaged_note_about_extracted_frames_is_named(tmp_path, text):
    write_video(tmp_path / "a.mp4")
    note = extract_frames(tmp_path / "a.mp4", tmp_path / "out")
    assert extract_frames(tmp_path / "a.mp4", tmp_path / "out") == note
    (tmp_path / "out" / "video.json").write_text(json.dumps({**note._asdict(), "width": 0}) if text is None else text)
    with pytest.raises(DataError, match=r"video.json: .*(is damaged|expected positive numbers).* remove"):
        extract_frames(tmp_path / "a.mp4", tmp_path / "out")
