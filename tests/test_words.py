"""Public names are the field's words: a noun of the literature or an imperative verb, never a bare participle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "glnet_tf"
BARRED = {"said", "told", "taught", "held", "judge", "judged", "claim", "decide", "conclude", "dice", "most", "longest"}
BARRED |= {"farthest", "newest", "largest", "smallest", "least"}


def public_names(source: str) -> Iterator[str]:
    """The functions, classes, constants, fields and arguments of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            yield from (argument.arg for argument in (*node.args.args, *node.args.kwonlyargs))
        if isinstance(node, (ast.Module, ast.ClassDef)):
            for statement in node.body:
                targets = (
                    statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                )
                yield from (
                    name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)
                )


def barred(source: str) -> list[str]:
    names = [name for name in public_names(source) if not name.startswith("_")]
    return [name for name in names if BARRED & set(name.lower().replace("held_out", "").split("_"))]


def test_public_names_are_the_fields():
    wrong = {str(path.relative_to(PACKAGE)): barred(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize(
    "source",
    ["def as_judged(): ...", "class Told: ...", "MOST_FRAMES = 3", "class A:\n    held: int", "def f(said): ..."],
)
def test_a_wrong_name_is_found(source):
    assert len(barred(source)) == 1


def test_held_out_is_a_word_of_the_field():
    assert barred("held_out_frames = 3\ndef _said(held): ...") == []
