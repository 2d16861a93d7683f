"""Writes docs/api.md anew: below every `from MODULE import NAME` there, what the docstrings say; tools/make_api.py"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from glnet_tf.cli.quiet import quiet_tensorflow
from glnet_tf.files import write_bytes

FILE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
OBJECT = re.compile(r"^```py\nfrom (\S+) import (\w+)\n.*?(?=^#{2,3} |\Z)", re.MULTILINE | re.DOTALL)
PART, ENTRY = re.compile(r"([A-Z][a-z]+):"), re.compile(r"^  (\w+(?:, \w+)*):(?= )")


def rewritten(text: str) -> str:
    """Returns the reference with what the docstrings say now."""
    return OBJECT.sub(lambda found: reference(found[1], found[2]) + "\n\n", text).rstrip() + "\n"


def reference(module: str, name: str) -> str:
    """Returns how an object is imported and called, and what it and its public methods say of themselves."""
    found = getattr(importlib.import_module(module), name)
    fields = getattr(found, "__dataclass_fields__", {}).values()
    made = not inspect.isclass(found) or not fields and {"__init__", "_fields"} & vars(found).keys()
    call = f"\n{called(name, found)}\n" if made else ""
    rows = [(f"- `{x.name}: {x.type}", x.default, x.metadata.get("help")) for x in fields]
    settings = "\n".join(f"{start} = {value!r}`: {text}" if text else f"{start}`" for start, value, text in rows)
    blocks = [f"```py\nfrom {module} import {name}\n{call}```", described(found), settings]
    for method, value in vars(found).items() if inspect.isclass(found) else ():
        function = value.fget if isinstance(value, property) else value
        if inspect.isfunction(function) and function.__doc__ and (method == "__call__" or method[0] != "_"):
            blocks += [f"#### {name}.{method}", f"```py\n{called(method, value)}\n```", described(function)]
    return "\n\n".join(filter(None, blocks))


def called(name: str, found: Any) -> str:
    """Returns a signature, on one line if it fits; annotations as they are written, whatever Python makes of them."""
    if isinstance(found, property):
        return f"{name}: {found.fget.__annotations__['return']}"
    given = [parameter(x) for x in inspect.signature(found).parameters.values() if x.name != "self"]
    end = ")" if inspect.isclass(found) else f") -> {found.__annotations__['return']}"
    line = f"{name}({', '.join(given)}{end}"
    return line if len(line) <= 100 else "\n".join([f"{name}(", *(f"    {x}," for x in given), end])


def parameter(found: inspect.Parameter) -> str:
    """Returns name, type and default, of a configuration only what differs from its own defaults."""
    value, kind = found.default, getattr(found.annotation, "__forward_arg__", found.annotation)
    names = getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", ())
    own = (f"{x}={getattr(value, x)!r}" for x in names if getattr(value, x) != getattr(type(value)(), x))
    shown = f"{type(value).__name__}({', '.join(own)})" if names else repr(value)
    return f"{found.name}: {kind}" + ("" if value is found.empty else f" = {shown}")


def described(found: Any) -> str:
    """Returns a docstring as Markdown: its parts as lists, its example as a block."""
    part, start, lines = "", "", []
    for line in (inspect.getdoc(found) or "").splitlines():
        if PART.fullmatch(line):
            part, start = line[:-1], "- "
            lines += ["```python"] if part == "Example" else [f"**{part}**", ""]
        elif part in ("", "Example") or not line:
            lines.append(line[2:] if part else line)
        else:
            lines.append(ENTRY.sub(r"- `\1`:", line) if ENTRY.match(line) else start + line.strip())
            start = "  "
    return "\n".join(lines + ["```"] * (part == "Example"))


if __name__ == "__main__":
    quiet_tensorflow()
    write_bytes(FILE, rewritten(FILE.read_text(encoding="utf-8")).encode())
