"""The documents say what is there: links, headings, commands, flags, and the Python interface with its examples."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from glnet_tf.cli import COMMANDS
from glnet_tf.street.street import Street
from glnet_tf.visualization.movie import Movie

ROOT = Path(__file__).resolve().parents[2]
TOOLS, DOCS = ROOT / "tools", ROOT / "docs"
API = DOCS / "api.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
# Where a newcomer enters the library: each shows how.
ENTRIES = {"load", "Predictor", "Refiner", "open_source"}

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^()\s]+)[^()]*\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
VARIABLE = re.compile(r"^(\w+)=\"([^\"]*)\"", re.MULTILINE)
COMMAND = re.compile(r"(?:^|\s)(?:tools/(\w+\.(?:py|sh))|glnet ([a-z]\w*))(?=\s|$)(.*)", re.DOTALL)
FLAG = re.compile(r"(?:^|\s)--(\w+)(?:=(\S*))?")


def links(document: Path) -> Iterator[tuple[str, Path, str]]:
    """The links of a document that stay in the project: as written, the file, and what stands behind #."""
    for target in LINK.findall(CODE.sub("", BLOCK.sub("", document.read_text(encoding="utf-8")))):
        if not re.match(r"[a-z]+:", target):
            place, _, anchor = target.partition("#")
            yield target, (document.parent / place).resolve() if place else document, anchor


def anchors(text: str) -> set[str]:
    """What # may name in a document: GitHub makes it from the headings, and numbers those that are alike."""
    found: list[str] = []
    for heading in HEADING.findall(BLOCK.sub("", text)):
        shown = re.sub(r"\]\([^)]*\)", "", heading).strip().lower()
        found.append(re.sub(r"[^\w\- ]", "", shown).replace(" ", "-"))
    counts = [found[:number].count(name) for number, name in enumerate(found)]
    return {f"{name}-{count}" if count else name for name, count in zip(found, counts)}


def broken_links(document: Path, root: Path = ROOT) -> list[str]:
    """The links of a document to a file of the project that is not there, or to no heading of it."""
    return [
        target
        for target, file, anchor in links(document)
        if not (file.exists() and root in (file, *file.parents))
        or (anchor and anchor not in anchors(file.read_text(encoding="utf-8")))
    ]


@cache
def flags_of(name: str) -> frozenset[str]:
    """The flags of a command or of a tool, of those that are true or false both forms."""
    start = ["-c", "from glnet_tf.cli import main; main()", name] if name in COMMANDS else [str(TOOLS / f"{name}.py")]
    shown = subprocess.run([sys.executable, *start, "--helpfull"], capture_output=True, text=True).stdout
    found = re.findall(r"^  (?:-.,)?--(\[no\])?(\w+)", shown, re.MULTILINE)
    return frozenset(form + flag for no, flag in found for form in (("", "no") if no else ("",)))


@cache
def all_flags() -> frozenset[str]:
    tools = [file.stem for file in TOOLS.glob("*.py") if "absl" in file.read_text(encoding="utf-8")]
    return frozenset().union(*map(flags_of, (*COMMANDS, *tools)))


def command_lines(text: str) -> Iterator[str]:
    """What a document has of command lines, each by itself, without comments: in its blocks and in its inline code."""
    for language, block in BLOCK.findall(text):
        if language in ("", "bash"):
            joined = re.sub(r"\\\n\s*", "", block)
            for name, value in VARIABLE.findall(joined):
                joined = joined.replace(f"${name} ", f"{value} ")
            for line in joined.splitlines():
                yield from re.split(r"[;|]|&&", re.sub(r"(^|\s)#.*", "", line))
    yield from (" ".join(code.split()) for code in CODE.findall(BLOCK.sub("", text)))


def wrong_commands(text: str) -> list[str]:
    """The command lines of a document that name a tool, a command, a flag or a flagfile that is none."""
    return [line.strip() for line in command_lines(text) if not is_right(line)]


def is_right(line: str) -> bool:
    found = COMMAND.search(line)
    if not found:
        # Flags by themselves are some tool's; another program's are not ours to judge.
        return not re.match(r"(… )?--\w", line) or {flag for flag, _ in FLAG.findall(line)} <= all_flags()
    tool, command, rest = found.groups()
    if not (TOOLS / tool).exists() if tool else command not in COMMANDS:
        return False
    given = [] if tool and tool.endswith(".sh") else FLAG.findall(rest)
    flagfiles = [value for flag, value in given if flag == "flagfile" and value.startswith("configs/")]
    known = flags_of(command or Path(tool).stem) if given else frozenset()
    return {flag for flag, _ in given} <= known and all((ROOT / file).exists() for file in flagfiles)


def examples() -> dict[str, str]:
    """The examples of the reference, by the name of what they show."""
    sections = re.split(r"^### ", API.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = ((section.partition("\n")[0], BLOCK.findall(section)) for section in sections)
    return {name: block for name, blocks in found for language, block in blocks if language == "python"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_commands(document):
    assert broken_links(document) == []
    assert wrong_commands(document.read_text(encoding="utf-8")) == []


def test_every_file_is_reached_from_the_index():
    reached, todo = set(), [DOCS / "index.md"]
    while todo:
        file = todo.pop()
        if file not in reached:
            reached.add(file)
            todo += [linked for _, linked, _ in links(file)] if file.suffix == ".md" else []
    assert {file for file in DOCS.rglob("*") if file.is_file()} <= reached


def test_a_broken_link_is_found(tmp_path):
    text = "# One (1): `a_b`, *c*\n## Two\n## Two\n[a](#one-1-a_b-c) ![b](a.md#two-1) [c](https://a.b/c) `[d](no.md)`\n"
    document = tmp_path / "a.md"
    document.write_text(text)
    assert broken_links(document, tmp_path) == [] and broken_links(document, tmp_path / "inside") != []
    document.write_text(text + "[a](#two-2) [b](b.md), ![c\nd](c.png), [e](https://a.b) [f](a.md#Two)")
    assert broken_links(document, tmp_path) == ["#two-2", "b.md", "c.png", "a.md#Two"]


def test_a_wrong_command_is_found():
    right = [
        "python tools/evaluate.py --task=depth  # --any",
        ".venv/bin/python tools/predict.py --weights= && tools/test.sh --all",
        "glnet train --noflip \\\n  --flip; ls --any",
        'E="python tools/evaluate.py"\n$E --task=flow',
        "tools/ablate.py --flagfile=configs/ablation.flags --seeds=2",
    ]
    wrong = [
        "python tools/judge.py",
        "glnet judge",
        "tools/tests.sh",
        "glnet train --data_dir=A --flop",
        "glnet predict \\\n  --task=depth",
        'D="--any=3"  # of\nglnet predict $D --input=A',
        "python tools/train.py --flagfile=configs/none.flags",
    ]
    assert [wrong_commands(f"```bash\n{line}\n```\n") for line in right] == [[]] * len(right)
    assert [len(wrong_commands(f"```bash\n{line}\n```\n")) for line in wrong] == [1] * len(wrong)
    assert wrong_commands("`--task`, `--task=flow --noflip`, `ls --any`, `glnet train --flip`, `… --split=00`") == []
    assert wrong_commands("`--tsk`, `glnet\ntrain --task`, `tools/judge.py`, `… --splits=00`") == [
        "--tsk", "glnet train --task", "tools/judge.py", "… --splits=00",
    ]  # fmt: skip


def test_the_reference_is_what_the_docstrings_say():
    text = API.read_text(encoding="utf-8")
    equal = runpy.run_path(str(TOOLS / "make_api.py"))["rewritten"](text) == text
    assert equal, "python tools/make_api.py brings docs/api.md up to date"
    assert examples().keys() >= ENTRIES


@pytest.mark.slow
@pytest.mark.parametrize("name", examples())
def test_the_examples_of_the_reference(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # of the cache
    street = Street(1000, frames := 4, 96, 320)
    with Movie(tmp_path / "drive.mp4", 10) as movie:
        for number in range(frames):
            movie.add(street.frame(number).image)
    exec(examples()[name], {})
