"""Files are whole or not there, nobody's link is followed, and damage is one line that names the file."""

from __future__ import annotations

import os

import pytest

from glnet_tf.errors import ConfigError, DataError
from glnet_tf.files import (
    append_json_line,
    check_settings,
    read_json,
    read_json_lines,
    replacement,
    write_bytes,
)


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "a.bin"
    write_bytes(file, b"old")
    for error, expected in ((OSError(28, "No space left on device"), DataError), (KeyboardInterrupt(), BaseException)):
        with pytest.raises(expected), replacement(file) as part:
            part.write_bytes(b"half")
            raise error
        assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
    with replacement(file) as part:
        part.write_bytes(b"new")
        assert file.read_bytes() == b"old" and part.suffix == ".bin"
    assert file.read_bytes() == b"new" and list(tmp_path.iterdir()) == [file]


def test_a_link_in_place_of_a_temporary_file_is_not_followed(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda _: "0")
    (tmp_path / ".a.0.part.bin").symlink_to(other)
    with pytest.raises(DataError, match=r"a.bin: cannot be written \(File exists\)"):
        write_bytes(tmp_path / "a.bin", b"theirs")
    assert other.read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"other", ".a.0.part.bin"}


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_bytes(tmp_path / "ours", b"")
    assert os.stat(tmp_path / "ours").st_mode == os.stat(tmp_path / "plain").st_mode


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a.json: is damaged .*: expected a note"):
        read_json(tmp_path / "a.json", "a note")


def test_a_line_that_was_cut_short_is_dropped_and_any_other_damage_is_not(tmp_path, capsys):
    file = tmp_path / "a.jsonl"
    assert read_json_lines(file) == []
    append_json_line(file, {"a": 1})
    append_json_line(file, {"a": 2})
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"a": 3')
    assert read_json_lines(file) == [{"a": 1}, {"a": 2}] and file.read_bytes() != whole
    assert read_json_lines(file, repair=True) == [{"a": 1}, {"a": 2}] and "cut short" in capsys.readouterr().err
    assert file.read_bytes() == whole
    file.write_bytes(b"{\n" + whole)
    with pytest.raises(DataError, match=r"a.jsonl: line 1 is damaged"):
        read_json_lines(file)


def test_other_settings_are_refused_by_name(tmp_path):
    check_settings(tmp_path, {"a": 1, "b": [2]}, {"b": [2], "a": 1})
    for found, given in (({"a": 1}, {"a": 2}), ({"a": 1}, {}), ({}, {"a": 2})):
        with pytest.raises(ConfigError, match=r"was made with a=(1|None), not (2|None).*--run_dir"):
            check_settings(tmp_path, found, given, "run_dir")
