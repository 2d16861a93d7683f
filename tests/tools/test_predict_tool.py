"""tools/predict.py end to end on a run that learned nothing, and bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from untrained import TOOLS, run_tool, write_run

from glnet_tf.cli.predict import read_speed
from glnet_tf.errors import GLNetError

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
    assert sorted(file.name for file in (out / "flow").glob("*.flo")) == [
        "0.flo",
        "1.flo",
    ]  # behind what is damaged begins another path
    note = json.loads((out / "prediction.json").read_text())
    assert note["frames"] == 4 and note["unit"] == "up to scale" and "3.png" in note["remarks"][0]
    for name in ("report.html", "video.mp4", "cloud.ply", "intrinsics.json", "trajectory.txt", "trajectory.tum"):
        assert (out / name).stat().st_size > 0
    again = predict(f"--input={tmp_path}/in", f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out")
    assert again.returncode == 0 and "there already" in again.stdout
    other = predict(f"--input={tmp_path}/in", f"--run_dir={tmp_path}/run", f"--output_dir={tmp_path}/out", "--scale=2")
    assert other.returncode == 2 and "scale=0.0, not 2.0: expected the same settings" in other.stderr
    rows = f"--frame={out}:1:a caption", f"--frame={out}:4"
    sheet = run_tool("sheet.py", *rows, f"--output={tmp_path}/sheet.png", "--width=100", "--aspect=0.5")
    assert sheet.returncode == 0, sheet.stderr
    height, width, _ = cv2.imread(f"{tmp_path}/sheet.png").shape
    assert 5 * 100 <= width < 5 * 110 and 2 * 50 < height < 2 * 80
    sheet = run_tool("sheet.py", f"--frame={out}:3", f"--output={tmp_path}/none.png")
    assert sheet.returncode == 2 and "holds no such frame" in sheet.stderr and not (tmp_path / "none.png").exists()


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
    # From where the list is, with a byte order mark and a comment; what fails does not end it.
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/some.txt").write_bytes(b"\xef\xbb\xbf../a.png # the first\n\nnone.mp4\n../b.png\n")
    call[0], call[2] = f"--input={tmp_path}/lists/some.txt", f"--output_dir={tmp_path}/some"
    done = predict(*call)
    assert done.returncode == 1 and "none.mp4: no such file" in done.stderr and "1 of 3 inputs failed" in done.stderr
    assert sorted(folder.name for folder in (tmp_path / "some").iterdir()) == ["0000-a", "0002-b"]
    wrong = predict(*call, "--shard=2/2")
    assert wrong.returncode == 2 and "expected i/n with 0 <= i < n" in wrong.stderr


def test_bad_input(tmp_path):
    here = [f"--run_dir={tmp_path}", f"--output_dir={tmp_path}/out"]
    for arguments, expected in (
        (here, "--input=: expected a path"),
        ([*here, f"--input={tmp_path}/missing"], "missing: no such file"),
        ([*here, f"--input={tmp_path}", "--scale=2", "--camera_height=1.6"], "expected one of them"),
        ([*here, f"--input={tmp_path}", "--refine=all"], "--refine=all: expected one of none, fusion, pft, oft, both"),
    ):
        done = predict(*arguments)
        assert done.returncode == 2 and expected in done.stderr, done.stderr
        assert not done.stdout


@pytest.mark.parametrize("signal_, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_what_there_is_and_it_goes_on(tmp_path, signal_, code):
    write_run(tmp_path / "run", intrinsics="fov")
    texture = np.random.default_rng(0).integers(0, 256, (40, 400, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for number in range(64):
        cv2.imwrite(str(tmp_path / f"in/{number}.jpg"), np.roll(texture, number, axis=1)[:, :100])
    given = [
        f"--input={tmp_path}/in",
        f"--run_dir={tmp_path}/run",
        f"--output_dir={tmp_path}/out",
        "--target_parallax=0",
    ]
    command = [sys.executable, str(TOOLS / "predict.py"), *given]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # also where the tests run unattended
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **heard) as process:
        rows = tmp_path / "out/frames.jsonl"
        while process.poll() is None and not (rows.exists() and rows.read_bytes().count(b"\n") > 10):
            time.sleep(0.1)
        process.send_signal(signal_)
        process.communicate(timeout=120)
    assert process.returncode == code
    note = json.loads((tmp_path / "out/prediction.json").read_text())
    assert 10 < note["frames"] < 64 and not note["complete"] and (tmp_path / "out/report.html").exists()
    done = predict(*given)
    assert done.returncode == 0 and "64 frames" in done.stdout
    assert f"{64 - note['frames']} of them in" in done.stdout


def test_the_speed_by_file(tmp_path):
    (tmp_path / "v.txt").write_text("# t v\n1 10\n3 20\n")
    speed = read_speed(str(tmp_path / "v.txt"))
    assert [speed(0.0), speed(2.0), speed(9.0)] == [10, 15, 20] and read_speed("12.5")(3.0) == 12.5
    assert read_speed("") is None
    (tmp_path / "v.txt").write_text("1 10\n1 20\n")
    for given, message in (
        (tmp_path / "v.txt", "v.txt: expected a row `t v` for every time, seconds that rise"),
        ("-3", "--speed=-3: expected metres a second, more than 0"),
        ("fast", "--speed=fast: expected metres a second, or a file"),
    ):
        with pytest.raises(GLNetError, match=message):
            read_speed(str(given))
