"""Folders: one process writes to each, new ones appear whole, and only what the library left is removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from glnet_tf.errors import DataError
from glnet_tf.files import write_json
from glnet_tf.folders import locked, new_folder

LEFT = (
    ".a.0123abcd.part",
    ".a.0123abcd.part.npz",
    "ckpt-7_temp",
    "ckpt-7.index.tempstate123",
    f"checkpoint.tmp{'0' * 32}",
)
OTHERS = (
    ".a.part",
    "a.0123abcd.part",
    "a.tmp",
    "a.unfinished",
    "ckpt-7.index",
    "ckpt-x_temp",
    "checkpoint",
    ".a.jpg.17.part",
)


def test_a_folder_belongs_to_one_process_until_that_ends(tmp_path):
    code = "import sys, pathlib; from glnet_tf.folders import locked\nwith locked(pathlib.Path(sys.argv[1])): input()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with locked(tmp_path):
        other = subprocess.run(command, input="", text=True, capture_output=True)
        assert "another process is writing there" in other.stderr
    other = subprocess.Popen(command, stdin=subprocess.PIPE)
    other.kill()
    other.wait()
    with locked(tmp_path):
        write_json(tmp_path / "a.json", 1)


@pytest.mark.parametrize("deep", [True, False])
def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path, deep):
    inner = tmp_path / "run" / "latest"
    inner.mkdir(parents=True)
    kept = tmp_path / "kept"
    kept.write_text("mine")
    for folder in (inner, inner.parent):
        for name in (*LEFT, *OTHERS):
            (folder / name).write_text("")
        (folder / LEFT[1]).unlink()
        (folder / LEFT[1]).symlink_to(kept)
        (folder / LEFT[2]).unlink()
        (folder / LEFT[2]).mkdir()
        (folder / LEFT[2] / "part-00000").write_text("")
    with locked(inner.parent, deep):
        left = {file.name for file in inner.parent.iterdir()}
        assert left == {*OTHERS, ".lock", "latest"}
        assert {file.name for file in inner.iterdir()} == {*OTHERS, *(() if deep else LEFT)}
    assert kept.read_text() == "mine"


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match="cannot be written"), locked(tmp_path):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "new") as part:
        (part / "half").touch()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with new_folder(tmp_path / "new") as part:
        (part / "a").touch()
        assert not (tmp_path / "new").exists()
    assert [str(file.relative_to(tmp_path)) for file in sorted(tmp_path.rglob("*"))] == ["new", "new/a"]
    with pytest.raises(DataError, match="new: cannot be written"), new_folder(tmp_path / "new"):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["new"]


CHILD = """
import pathlib, sys
from glnet_tf.folders import new_folder
with new_folder(pathlib.Path(sys.argv[1])) as part:
    print(part, flush=True)
    input()
"""


def test_a_temporary_folder_is_removed_once_its_maker_is_gone(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path / "new")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        part = Path(child.stdout.readline().strip())
        victim = tmp_path / "victim"
        victim.mkdir()
        (victim / "a").touch()
        others = [tmp_path / ".new.tmp.part", tmp_path / ".new.89abcdef.part"]
        others[0].mkdir()
        others[1].symlink_to(victim)
        with new_folder(tmp_path / "new"):
            assert part.exists()
        (tmp_path / "new").rmdir()
        child.kill()
    with new_folder(tmp_path / "new"):
        assert not part.exists()
    assert all(other.exists() for other in others) and (victim / "a").exists()
