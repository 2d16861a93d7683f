"""JSON is of its shape or refused with the place, and arrays are not unpacked before their sizes are known."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from array_files import npz

from glnet_tf.errors import DataError
from glnet_tf.files import read_array, read_json, read_json_lines
from glnet_tf.parsing import Archive, is_inside, misfit, parse_json

SHAPE = {"name": str, "poses": [[float]], "time": (float, None), "scenes": {str: [int]}, "whole": bool}
VALUE = {"name": "a", "poses": [[1.5, 2]], "time": None, "scenes": {"x": [1]}, "whole": True, "more": 1}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, ""),
        ({"time": 3}, ""),
        ({"time": "3"}, "it[time] is a str"),
        ({"name": None}, "it[name] is null"),
        ({"poses": [[1], [2, True]]}, "it[poses][1][1] is a bool"),
        ({"poses": [1]}, "it[poses][0] is a int"),
        ({"scenes": {"x": [1.5]}}, "it[scenes][x][0] is a float"),
        ({"whole": 1}, "it[whole] is a int"),
    ],
)
def test_a_misfit_is_told_with_its_place(change, wrong):
    assert misfit({**VALUE, **change}, SHAPE) == wrong
    assert misfit({name: value for name, value in VALUE.items() if name != "time"}, SHAPE) == "it has no time"
    assert misfit([], SHAPE) == "it is a list"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 401, "-" + "1" * 5000, "Infinity", "[-Infinity]", "1e999", "\0", ""]
)
def test_json_that_is_none_or_no_number(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="a.json: is damaged .*: expected a note; restore it") as error:
        read_json(tmp_path / "a.json", "a note")
    assert "\n" not in str(error.value)


def test_numbers_that_the_library_writes_are_read():
    found = parse_json("[NaN, -12, 1700000000000000000, 1e-300, 2.5]")
    assert np.isnan(found[0]) and found[1:] == [-12, 1700000000000000000, 1e-300, 2.5]


@pytest.mark.parametrize(
    ("name", "inside"),
    [("a", True), ("scene/0001", True), ("..", False), ("../a", False), ("a/../../b", False), ("/a", False)]
    + [("", False), ("a//b", False), ("./a", False), ("a\0", False), ("a..b/c.jpg", True)],
)
def test_names_that_lead_outside(name, inside):
    assert is_inside(name) is inside


@pytest.mark.parametrize(
    ("content", "found", "kept"),
    [
        (b'{"a": 1}\n\n \r\n{"a": 2}\n', [1, 2], None),
        (b'{"a": 1}\n\0\0\0{"a": 2}\n', [1, 2], None),
        (b'{"a": 1}\n\0\0\0', [1], b'{"a": 1}\n'),
        (b'{"a": 1}\n{"a": 2', [1], b'{"a": 1}\n'),
        (b'{"a": 1}\n{"a": 2{"a": 3}\n', [1], b'{"a": 1}\n'),
        (b'{"a"', [], b""),
    ],
)
def test_what_an_interrupted_write_left_is_dropped_and_told(tmp_path, capsys, content, found, kept):
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    for repair in (False, True):
        assert file.read_bytes() == content
        assert [line["a"] for line in read_json_lines(file, {"a": int}, repair)] == found
    assert file.read_bytes() == (content if kept is None else kept)
    assert ("cut short" in capsys.readouterr().err) is (kept is not None)


@pytest.mark.parametrize("line", [b'{"a": 1}{"a": 2}', b"[]", b'{"b": 1}', b'{"a": "x"}', b"\xff"])
def test_another_damaged_line_is_named_and_the_file_left_alone(tmp_path, line):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    with pytest.raises(DataError, match=r"a.jsonl: line 2 is damaged \(.*\): .* remove that line"):
        read_json_lines(file, {"a": int})
    assert file.read_bytes() == b'{"a": 1}\n' + line + b'\n{"a": 3}\n'


def bomb() -> bytes:
    """A .npz of 400 kB that is honest about the 400 MB that are in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        head = io.BytesIO()
        shape = (400, 2**20)
        np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
        member.write(head.getvalue())
        for _ in range(400):
            member.write(bytes(2**20))
    return content.getvalue()


def test_shapes_are_known_before_anything_is_unpacked(tmp_path):
    content = npz(large=np.zeros((4, 10**6)), small=np.ones(2, np.int16))
    tracemalloc.start()
    archive = Archive(content)
    assert [archive.head(name).shape for name in archive.names] == [(4, 10**6), (2,)]
    assert tracemalloc.get_traced_memory()[1] < 2e6
    np.testing.assert_array_equal(archive.array("small"), [1, 1])
    tracemalloc.clear_traces()
    (tmp_path / "a.npz").write_bytes(bomb())
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match=r"a declares 419430528 bytes in a file of \d+: expected at most"):
        read_array(tmp_path / "a.npz", "a")
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
