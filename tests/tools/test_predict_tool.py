"""tools/predict.py end to end on a run that learned nothing, and bad input."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from untrained import run_tool, write_run

pytestmark = pytest.mark.slow


def predict(*arguments: object):
    return run_tool("predict.py", *arguments)


def test_a_folder_of_images_with_a_damaged_one(tmp_path):
    write_run(tmp_path / "run", intrinsics="learned")
    texture = np.random.default_rng(0).integers(0, 256, (12, 40, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for number in range(5):
        image = cv2.resize(np.roll(texture, number, axis=1), (130, 50))
        cv2.imwrite(str(tmp_path / f"in/{number}.png"), image[..., 0] if number == 2 else image)
    (tmp_path / "in/3.png").write_bytes(b"no image")
    done = predict(f"--input={tmp_path}/in", f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert "4 frames" in done.stdout and "up to scale" in done.stdout and "3.png" in done.stderr
    out = tmp_path / "out"
    assert sorted(file.name for file in (out / "depth").glob("*.npz")) == ["0.npz", "1.npz", "2.npz", "4.npz"]
    assert sorted(file.name for file in (out / "flow").glob("*.flo")) == ["0.flo", "1.flo", "2.flo"]
    note = json.loads((out / "prediction.json").read_text())
    assert note["frames"] == 4 and note["unit"] == "up to scale" and "3.png" in note["remarks"][0]
    for name in ("report.html", "video.mp4", "cloud.ply", "intrinsics.json", "trajectory.txt", "trajectory.tum"):
        assert (out / name).stat().st_size > 0
    again = predict(f"--input={tmp_path}/in", f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out")
    assert again.returncode == 0 and "there already" in again.stdout
    other = predict(f"--input={tmp_path}/in", f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out", "--scale=2")
    assert other.returncode == 2 and "scale=0.0, not 2.0: expected the same settings" in other.stderr


def test_a_list_is_shared_among_machines_and_not_repeated(tmp_path):
    write_run(tmp_path / "run", intrinsics="fov")
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{name}.png\n" for name in "abc"))
    call = [f"--input={tmp_path}/list.txt", f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out"]
    done = predict(*call, "--shard=0/2")
    assert done.returncode == 0, done.stderr
    names = ["0000-a", "0002-c"]
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == names
    assert all((tmp_path / "out" / name / "prediction.json").exists() for name in names)
    again = predict(*call, "--shard=0/2")
    assert again.returncode == 0 and again.stdout.count("there already") == 2
    wrong = predict(*call, "--shard=2/2")
    assert wrong.returncode == 2 and "expected i/n with 0 <= i < n" in wrong.stderr


def test_bad_input(tmp_path):
    here = [f"--run_dir={tmp_path}", f"--output_dir={tmp_path}/out"]
    for arguments, expected in (
        (here, "--input=: expected a path"),
        ([*here, f"--input={tmp_path}/missing"], "missing: not found"),
        ([*here, f"--input={tmp_path}", "--scale=2", "--camera_height=1.6"], "expected one of them"),
        ([*here, f"--input={tmp_path}", "--refine=all"], "--refine=all: expected one of none, fusion, pft, oft, both"),
    ):
        done = predict(*arguments)
        assert done.returncode == 2 and expected in done.stderr, done.stderr
        assert not done.stdout
