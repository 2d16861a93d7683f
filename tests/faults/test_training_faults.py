"""A training that is killed, stopped, moved, resumed otherwise or without room: nothing is lost; one line says why."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from children import LIMIT, ROOT
from conftest import STEPS

from glnet_tf.folders import locked
from glnet_tf.training.checkpoints import checkpoints_in, first_whole, step_of

pytestmark = pytest.mark.slow

# A long run, ten minutes: KILLS=40 .venv/bin/python -m pytest -s tests/faults -k killed_at_random_times_a_training
KILLS = int(os.environ.get("KILLS", 3))
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
WORDS = "interrupted; the same command goes on"


def newest_step(run_dir: Path) -> int:
    found = checkpoints_in(run_dir / "latest")
    return step_of(found[0]) if found else 0


def assert_same_run(run_dir: Path, expected: Path) -> None:
    """Checks that two run folders hold the same metrics and, bit for bit, the same state."""
    assert (run_dir / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    ours, theirs = (tf.train.load_checkpoint(first_whole(checkpoints_in(x / "latest"))) for x in (run_dir, expected))
    names = [
        name for name in theirs.get_variable_to_shape_map() if not name.startswith(("_CHECKPOINT", "save_counter"))
    ]
    assert len(names) > 100
    for name in names:
        np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(name), err_msg=name)


def one_error(ended, *expected: str) -> None:
    """Checks that a command ended with one line of an error, with these words, and its exit code."""
    assert ended.code == 2, ended
    lines = [line for line in ended.lines() if "resuming" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    assert all(words in lines[0] for words in expected), lines[0]


def in_a_save(run_dir: Path) -> bool:
    return any(run_dir.glob("latest/*_temp"))


def test_killed_at_random_times_a_training_loses_nothing(children, training, straight, tmp_path):
    run_dir, command = tmp_path / "run", ("train", *training, f"--run_dir={tmp_path}/run")
    rng = random.Random(0)
    saved, killed, saving = 0, 0, 0
    while killed < KILLS:
        child = children.start(*command)
        if killed % 2:  # in a save, or a little later: in a step
            child.wait_until(lambda: in_a_save(run_dir))
            time.sleep(rng.choice([0, rng.uniform(0, 0.03), rng.uniform(0, 0.5)]))
        else:  # while it starts, traces, steps or saves
            time.sleep(rng.uniform(0, 10) * (1 if killed else 0.1))
        saving += in_a_save(run_dir)
        child.send(signal.SIGKILL)
        ended = child.end()
        if ended.code == 0:  # all was done before
            assert_same_run(run_dir, straight)
            shutil.rmtree(run_dir)
            saved = 0
            continue
        killed += 1
        assert ended.code == -signal.SIGKILL
        if saved and "resuming" in ended.err:
            assert f"resuming at step {saved} of {STEPS}" in ended.err
        assert newest_step(run_dir) >= saved
        whole = first_whole(checkpoints_in(run_dir / "latest"))
        saved = step_of(whole) if whole else 0
        assert saved == newest_step(run_dir)
    done = children.run(*command)
    print(f"{killed} kills, {saving} of them in a save")
    assert done.code == 0, done.err
    assert_same_run(run_dir, straight)
    assert not in_a_save(run_dir) and len(list((run_dir / "latest").iterdir())) == 5  # two checkpoints and a note


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_during_imports_is_one_line(tmp_path, number):
    command = [sys.executable, str(ROOT / "tools" / "train.py"), "--dataset=street", f"--run_dir={tmp_path}/run"]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **heard) as process:
        # TensorFlow's library is being loaded.
        maps = Path(f"/proc/{process.pid}/maps")
        while process.poll() is None and "_pywrap" not in maps.read_text():
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(number)
        _, words = process.communicate(timeout=LIMIT)
    assert process.returncode == CODES[number], words
    assert [line for line in words.splitlines() if "WARNING" not in line] == [WORDS]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "moment, number", [("start", signal.SIGINT), ("start", signal.SIGTERM), ("save", signal.SIGTERM)]
)
def test_a_signal_ends_a_training_in_one_line_and_it_goes_on(children, training, straight, tmp_path, number, moment):
    run_dir, command = tmp_path / "run", ("train", *training, f"--run_dir={tmp_path}/run")
    child = children.start(*command)
    if moment == "start":
        child.wait_until(lambda: "rendering" in child.words())
    else:
        child.wait_until(lambda: in_a_save(run_dir))
    child.send(number)
    ended = child.end()
    assert ended.code == CODES[number], ended
    if moment == "start":
        assert ended.lines() == [WORDS]
        return
    step = newest_step(run_dir)
    assert 2 <= step < STEPS
    assert ended.lines() == [
        "stopping after this step; once more: at once",
        f"stopped at step {step} and saved; the same command goes on",
    ]
    assert children.run(*command).code == 0
    assert_same_run(run_dir, straight)


def test_a_second_signal_acts_at_once(children, training, tmp_path):
    child = children.start("train", *training, f"--run_dir={tmp_path}/run")
    child.wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists())  # tracing, for seconds
    child.send(signal.SIGINT)
    child.wait_until(lambda: "stopping" in child.words())
    child.send(signal.SIGINT)
    ended = child.end()
    assert ended.code == 130 and ended.lines()[-1] == WORDS, ended
    assert not newest_step(tmp_path / "run")


def test_no_room_for_a_checkpoint(children, training, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))"
    ended = children.run("train", *training, f"--run_dir={tmp_path}/run", before=limit)
    one_error(ended, f"{tmp_path}/run/latest: step 2 cannot be written", "File too large", "make room")
    assert "memory" not in ended.lines()[0] and not in_a_save(tmp_path / "run")


def test_a_full_file_system(children, training, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    command = ("train", *training, f"--run_dir={place}/run")
    try:
        (place / "other").write_bytes(bytes(3_000_000))
        ended = children.run(*command)
        one_error(ended, f"{place}/run/latest: step 4 cannot be written", "No space left on device", "make room")
        assert newest_step(place / "run") == 2 and not in_a_save(place / "run")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_where_a_folder_is_wanted(children, training, tmp_path, inside):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "run" if inside else tmp_path / "file"
    one_error(children.run("train", *training, f"--run_dir={place}"), str(place), "correct --run_dir")


def test_a_second_training_in_a_folder_is_refused_and_changes_nothing(children, training, straight, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    with locked(tmp_path / "run"):
        ended = children.run("train", *training, f"--run_dir={tmp_path}/run", "--steps=14", "--batch_size=1")
    one_error(ended, f"{tmp_path}/run: another process is writing there")
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == before


def test_a_moved_run_folder_without_its_note_goes_on_with_other_settings(children, training, straight, tmp_path):
    shutil.copytree(straight, tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    run_dir = tmp_path / "moved"
    (run_dir / "latest" / "checkpoint").write_bytes(b"\0garbage")
    data = run_dir / "latest" / f"ckpt-{STEPS}.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1000])
    others = ("--batch_size=1", "--learning_rate=0.001", "--street_seed=5")
    done = children.run("train", *training, f"--run_dir={run_dir}", *others)
    assert done.code == 0, done.err
    passed_over, resumed, changed = done.lines()
    assert passed_over.startswith(f"warning: {run_dir}/latest/ckpt-{STEPS}: damaged (")
    assert passed_over.endswith(f"{run_dir}/latest/ckpt-{STEPS - 2} is taken")
    assert resumed == f"{run_dir}: resuming at step {STEPS - 2} of {STEPS}"
    for words in ("batch_size=1 (was 2)", "learning_rate=0.001 (was 0.0002)", "street_seed=5 (was "):
        assert words in changed
    assert json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["step"] == STEPS
    assert step_of(first_whole(checkpoints_in(run_dir / "latest")) or "-0") == STEPS
    assert not (tmp_path / "first").exists()


def test_a_run_without_one_whole_checkpoint_is_not_started_over(children, training, straight, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(straight, run_dir)
    for data in run_dir.glob("latest/*.data-*"):
        data.write_bytes(b"")
    before = (run_dir / "metrics.jsonl").read_bytes()
    ended = children.run("train", *training, f"--run_dir={run_dir}")
    one_error(ended, f"{run_dir}/latest/ckpt-{STEPS}: damaged", "no other is whole; restore it")
    assert (run_dir / "metrics.jsonl").read_bytes() == before


def test_a_run_folder_that_vanishes_is_not_made_anew(children, training, tmp_path):
    run_dir = tmp_path / "run"
    child = children.start("train", *training, f"--run_dir={run_dir}")
    child.wait_until(lambda: (run_dir / "metrics.jsonl").exists())
    run_dir.rename(tmp_path / "gone")
    one_error(child.end(), f"{run_dir}: is gone")
    assert not run_dir.exists()
