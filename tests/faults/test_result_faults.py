"""Predictions, refinements, prepared data and exports that are killed, stopped or without room are whole or go on."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest
from children import SOCKET
from test_training_faults import CODES, WORDS, one_error

from glnet_tf.folders import locked

pytestmark = pytest.mark.slow

ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))"


def arguments(tool: str, run: Path, pictures: Path, out: Path) -> list[str]:
    """Flags of a tool, of which each takes some seconds."""
    street = ["--dataset=street", "--streets=1", "--street_frames=4", "--image_height=32", "--image_width=64"]
    given = {
        "train": [],
        "predict": [f"--run_dir={run}", f"--input={pictures}", "--target_parallax=0", "--refine=none"],
        "refine": [f"--run_dir={run}", *street, "--refine=none"],
        "prepare": [
            "--dataset=folder", f"--data_dir={pictures.parent}", "--image_height=32", "--image_width=64",
            "--min_parallax=0", "--jobs=1",
        ],
        "export": [f"--run_dir={run}", "--format=weights"],
    }  # fmt: skip
    return [tool, *given[tool], f"--output_dir={out}"]


def count(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def frames_in(folder: Path) -> int:
    return len([file for file in folder.glob("scene/*.jpg") if file.name[0] != "."])


def numbers(folder: Path) -> dict[str, bytes]:
    """What depends on nothing but the input; what else lies there names the time."""
    kinds = ("depth/**/*", "flow/**/*", "frames.jsonl", "trajectory*", "*/*.jpg", "*/*.txt", "manifest.json")
    found = {file for kind in kinds for file in folder.glob(kind) if file.is_file()}
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def left(folder: Path) -> list[Path]:
    return [file for file in folder.rglob(".*") if file.name != ".lock"]


@pytest.mark.parametrize("tool, kills", [("predict", 1), ("refine", 1), ("prepare", 3)])
def test_killed_at_random_times_it_goes_on_to_the_same_result(children, straight, pictures, tmp_path, tool, kills):
    whole, out, rng = tmp_path / "whole", tmp_path / "out", random.Random(1)
    done = children.run(*arguments(tool, straight, pictures, whole))
    assert done.code == 0, done.err
    for kill in range(kills):
        child = children.start(*arguments(tool, straight, pictures, out))
        frames = 4 * kill + rng.randrange(1, 4)
        child.wait_until(lambda frames=frames: max(count(out / "frames.jsonl"), frames_in(out)) >= frames)
        child.send(signal.SIGKILL)
        assert child.end().code == -signal.SIGKILL
        (out / ".a.0123abcd.part.npz").touch()  # as a process leaves it that is killed while it writes
    done = children.run(*arguments(tool, straight, pictures, out))
    assert done.code == 0, done.err
    assert len(numbers(whole)) > 4 and numbers(out) == numbers(whole)
    assert not left(out)


@pytest.mark.parametrize("tool, number", [("predict", signal.SIGTERM), ("refine", signal.SIGINT)])
def test_a_signal_during_tracing_is_one_line(children, straight, pictures, tmp_path, tool, number):
    child = children.start(*arguments(tool, straight, pictures, tmp_path / "out"))
    child.wait_until(lambda: "predicting" in child.words())
    child.send(number)
    ended = child.end()
    assert ended.code == CODES[number], ended
    assert "Traceback" not in ended.err and sum("interrupted" in line for line in ended.lines()) == 1, ended.lines()


def test_an_export_that_is_killed_or_stopped_leaves_nothing_that_stays(children, straight, pictures, tmp_path):
    call = [*arguments("export", straight, pictures, tmp_path / "out"), "--format=saved_model"]
    child = children.start(*call)
    child.wait_until(lambda: bool(left(tmp_path)))
    (killed,) = left(tmp_path)
    child.send(signal.SIGKILL)
    assert child.end().code == -signal.SIGKILL and killed.exists()
    child = children.start(*call)
    child.wait_until(lambda: bool(left(tmp_path)) and killed not in left(tmp_path))
    child.send(signal.SIGTERM)
    ended = child.end()
    assert ended.code == 143 and ended.lines()[-1] == WORDS, ended
    assert not left(tmp_path) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("tool", ["predict", "refine", "prepare", "export"])
def test_a_second_process_no_room_and_no_folder_are_one_line_each(children, straight, pictures, tmp_path, tool):
    with_lock, full, file = (tmp_path / name for name in ("locked", "full", "file"))
    with_lock.mkdir()
    with locked(with_lock):
        ended = children.run(*arguments(tool, straight, pictures, with_lock))
    one_error(ended, f"{with_lock}: another process is writing there")
    assert [entry.name for entry in with_lock.iterdir()] == [".lock"]
    file.touch()
    one_error(children.run(*arguments(tool, straight, pictures, file / "out")), f"{file}/out")
    if tool != "refine":  # its maps are too small
        ended = children.run(*arguments(tool, straight, pictures, full), before=ROOM if tool != "prepare" else SMALL)
        one_error(ended, str(full), "File too large")
        assert not left(full)


SMALL = ROOM.replace("8000", "1500")


@pytest.mark.parametrize("tool", ["predict", "export"])
def test_a_damaged_checkpoint_is_passed_over_or_named(children, straight, pictures, tmp_path, tool):
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    for number, data in enumerate(sorted(run.glob("latest/*.data-*"), key=lambda file: int(file.stem[5:]))[::-1]):
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 255
        data.write_bytes(content)
        ended = children.run(*arguments(tool, run, pictures, tmp_path / f"out{number}"))
        newest = f"{run}/latest/ckpt-12: damaged ("
        if number:
            one_error(ended, newest, "no other is whole")
        else:
            assert ended.code == 0 and ended.lines()[0].startswith(f"warning: {newest}"), ended
            assert ended.lines()[0].endswith(f"{run}/latest/ckpt-10 is taken")


def test_a_process_that_opens_a_socket_would_have_failed(children, tmp_path):
    for way in ("socket.socket()", "socket.getaddrinfo('localhost', 80)"):
        ended = children.run("train", f"--run_dir={tmp_path}/run", before=f"import socket; {way}")
        assert ended.code == SOCKET and "a socket" in ended.err
