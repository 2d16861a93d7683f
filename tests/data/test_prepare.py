"""Prepared data: what is kept, where K goes, and that an interrupted preparation ends as an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene_files import frame_numbers, pose_rows
from test_pipeline import write_frames

from glnet_tf.config import DataConfig, KittiConfig, StreetConfig
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.datasets.records import RecordsSource
from glnet_tf.data.pipeline import resize
from glnet_tf.data.preparation import prepare as module
from glnet_tf.data.preparation.prepare import prepare
from glnet_tf.errors import ConfigError, DataError
from glnet_tf.folders import locked

TOOL = Path(__file__).resolve().parents[2] / "tools" / "prepare.py"
K_TEXT = "80 0 49.5\n0 60 29.5\n0 0 1\n"


def settings(root, **changes) -> DataConfig:
    """Noise has no parallax that means anything: it is not looked at."""
    return DataConfig(
        **{
            "data_dir": str(root),
            "image_height": 32,
            "image_width": 64,
            "min_parallax": 0.0,
            "cache_dir": "",
            **changes,
        }
    )


@pytest.fixture
def scenes(tmp_path) -> Path:
    root = tmp_path / "scenes"
    write_frames(root / "a", 6)
    write_frames(root / "b", 4)
    (root / "a" / "cam.txt").write_text(K_TEXT)
    (root / "a" / "poses.txt").write_text(pose_rows(6))
    return root


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def frames_of(out: Path, scene: str) -> list[dict]:
    return json.loads((out / "manifest.json").read_text())["scenes"][scene]["frames"]


def test_a_folder_of_scenes(scenes, out):
    done = prepare(settings(scenes), out)
    assert (done.scenes, done.frames, done.written) == (2, 10, 10) and not done.left_out and not done.notes
    source = FolderSource(out)
    assert frame_numbers(source) == [(0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 1, 2), (1, 2, 3)]
    images, intrinsics, _ = source.load(0)
    # 100x40 to 64x32: fx 80 * 0.64, cx (49.5 + 0.5) * 0.64 - 0.5; fy 60 * 0.8, cy (29.5 + 0.5) * 0.8 - 0.5
    np.testing.assert_allclose(intrinsics, [[51.2, 0, 31.5], [0, 48, 23.5], [0, 0, 1]], rtol=1e-6)
    original = FolderSource(scenes)
    expected = resize(original.load(0)[0], (32, 64)) * 255
    difference = (images.numpy() - expected.numpy()).mean(axis=-1)  # the colours of noise are lost in a JPEG
    assert np.abs(difference).mean() < 6
    np.testing.assert_array_equal(source.ground_truth(2).poses, original.ground_truth(2).poses)
    entries = frames_of(out, "a")
    assert [entry["output"] for entry in entries] == [f"{number:06d}.jpg" for number in range(6)]
    assert entries[0]["file"] == str(scenes / "a" / "0000.jpg") and len(entries[0]["sha256"]) == 64


def test_twice_does_nothing(scenes, out, monkeypatch):
    prepare(settings(scenes), out)
    before = {name: (text, (out / name).stat().st_mtime_ns) for name, text in content(out).items()}
    for name in ("choose_frames", "prepared_frame", "write_bytes"):
        monkeypatch.setattr(module, name, None)
    assert prepare(settings(scenes), out).written == 0
    assert {name: (text, (out / name).stat().st_mtime_ns) for name, text in content(out).items()} == before


def test_what_changed_is_done_again(scenes, out):
    prepare(settings(scenes), out)
    first = content(out)
    os.utime(scenes / "a" / "0001.jpg")
    (scenes / "a" / "0002.jpg").write_bytes((scenes / "b" / "0003.jpg").read_bytes())
    write_frames(scenes / "c", 3)
    done = prepare(settings(scenes), out)
    assert done.written == 1 + 3
    second = content(out)
    assert {name for name in first if first[name] != second[name]} == {"manifest.json", "a/000002.jpg"}


def test_interrupted_anywhere_it_ends_the_same(scenes, out, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    prepare(settings(scenes), whole)
    write = module.write_bytes
    for last in range(0, 15, 3):
        calls = iter(range(last))

        def stops(file, text, calls=calls):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            write(file, text)

        monkeypatch.setattr(module, "write_bytes", stops)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings(scenes), out, jobs=1)
        monkeypatch.setattr(module, "write_bytes", write)
        for place in (out, *out.glob("a")):
            (place / ".000001.0123abcd.part.jpg").write_bytes(b"half")  # as a process that is killed leaves it
        with locked(out):
            assert prepare(settings(scenes), out).frames == 10
        (out / ".lock").unlink()
        assert content(out) == content(whole)
        for file in sorted(out.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()


def test_gaps_stay_gaps_and_frames_that_lead_nowhere_are_left_out(scenes, out):
    (scenes / "a" / "poses.txt").unlink()
    write_frames(scenes / "c", 12)
    for number in (3, 4, 8):
        (scenes / "c" / f"{number:04d}.jpg").unlink()  # 0-2, 5-7, 9-11
    damaged = scenes / "c" / "0006.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-1500])
    (scenes / "b" / "0001.jpg").write_bytes(b"not an image")
    done = prepare(settings(scenes), out)
    assert done.left_out == {"unreadable": 2, "isolated": 2 + 3}
    assert frame_numbers(FolderSource(out, "c")) == [(0, 1, 2), (4, 5, 6)]
    reasons = [entry.get("left_out", "").split(":")[0] for entry in frames_of(out, "c")]
    assert reasons == ["", "", "", "isolated", "unreadable", "isolated", "", "", ""]
    assert not list((out / "b").glob("*")) and done.scenes == 2
    assert prepare(settings(scenes), out).written == 0


def test_static_frames_are_left_out_with_the_reason(tmp_path, out):
    (tmp_path / "a").mkdir()
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 256, (20, 70)), np.ones((8, 8))).astype(np.uint8)
    for number, shift in enumerate((0, 0, 0, 30, 60, 90)):  # a far and a near plane
        image = blocks[:, :400].copy()
        image[60:] = blocks[60:, shift : shift + 400]
        Image.fromarray(image).save(tmp_path / "a" / f"{number}.png")
    done = prepare(settings(tmp_path / "a", min_parallax=-1.0), out)
    assert done.left_out == {"static": 2} and done.frames == 4
    assert [("left_out" in entry) for entry in frames_of(out, "a")] == [False, True, True, False, False, False]
    assert frames_of(out, "a")[1]["left_out"].startswith("static: parallax 0.")


def test_only_the_used_rows_are_kept(scenes, out, monkeypatch):
    read = FolderSource.read_scene
    monkeypatch.setattr(
        FolderSource, "read_scene", lambda self, *at: module.dataclasses.replace(read(self, *at), used_rows=0.8)
    )
    prepare(settings(scenes), out)
    assert (out / "a" / "cam.txt").read_text().split()[4:6] == ["60", "29.5"]  # 100x32 to 64x32


def test_scene_names_become_folders(scenes, out):
    date = scenes / "k" / "2011_09_26"
    for drive in (1, 2):
        write_frames(date / f"2011_09_26_drive_000{drive}_sync" / "image_03" / "data", 3)
    (date / "calib_cam_to_cam.txt").write_text("P_rect_03: 80 0 49.5 0 0 60 29.5 0 0 0 1 0\n")
    data = settings(scenes / "k", dataset="kitti_raw", kitti=KittiConfig(kitti_camera="right"))
    done = prepare(data, out)
    assert sorted(FolderSource(out).cameras) == ["2011_09_26_drive_0001_sync_image_03"]
    assert done.notes == ("2011_09_26_drive_0002_sync/image_03: one of Eigen's test drives, never trained on",)


def test_no_room(scenes, out, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"out: has 0.00 GB free: expected 0.00 GB .*free some"):
        prepare(settings(scenes), out)
    assert not list(out.rglob("*.jpg"))
    monkeypatch.undo()
    assert prepare(settings(scenes, image_width=96), out).written == 10  # nothing binds it to the first settings


def test_a_folder_of_something_else_is_refused(scenes, out):
    prepare(settings(scenes), out)
    with pytest.raises(ConfigError, match=r"manifest.json: was made with image_width=64, not 96: .*--output_dir"):
        prepare(settings(scenes, image_width=96), out)
    with pytest.raises(ConfigError, match=r"--output_dir=.*scenes: is neither new nor empty"):
        prepare(settings(scenes), scenes)
    with pytest.raises(ConfigError, match=r"--dataset=street: expected data sets of image files"):
        prepare(settings("", dataset="street", street=StreetConfig(street_frames=3, streets=1)), out.with_name("new"))
    (out / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match=r"manifest.json: is damaged .*remove"):
        prepare(settings(scenes), out)


@pytest.mark.slow
def test_the_tool_killed_and_run_again(scenes, out):
    for number in range(300):
        (scenes / "b" / f"{number:04d}.jpg").write_bytes((scenes / "a" / f"{number % 6:04d}.jpg").read_bytes())
    command = [sys.executable, str(TOOL), f"--data_dir={scenes}", "--image_height=32", "--image_width=64"]
    command += ["--min_parallax=0", "--format=records", f"--output_dir={out}", "--jobs=1"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as killed:
        while killed.poll() is None and len(list(out.glob("frames/b/*.jpg"))) < 5:
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert f"{out}/frames: 306 frames of 2 scenes" in done.stdout and "left out: none" in done.stdout
    assert "written now" in done.stdout.splitlines()[0] and f"--dataset=records --data_dir={out}" in done.stdout
    prepare(settings(scenes), out.with_name("whole"))
    assert content(out / "frames") == content(out.with_name("whole"))
    assert len(RecordsSource(out, part="all")) == 4 + 298


@pytest.mark.parametrize("more", [{}, {"left_out": "static"}])
def test_a_manifest_cannot_have_files_elsewhere_removed(scenes, out, tmp_path, more):
    prepare(settings(scenes), out)
    (tmp_path / "7.jpg").write_bytes(b"mine")
    manifest = json.loads((out / "manifest.json").read_text())
    entry = manifest["scenes"]["a"]["frames"][0]
    entry.update(output="../../7.jpg", sha256="of another file", **more)
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest.json: is damaged: expected the manifest of a preparation; remove"):
        prepare(settings(scenes), out)
    assert (tmp_path / "7.jpg").read_bytes() == b"mine"
