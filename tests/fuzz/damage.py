"""Damaged files by number: an input can be made again without its being kept."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

BYTES = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\x7f",
    b"\xff" * 8,
    b"\0" * 8,
    b"\x7f",
    b"\x80",
    b"\0\0\x75\x30" * 2,
    b"\n",
    b"\r\n",
]
WORDS = [
    b"[]",
    b"{}",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1.5",
    b"32",
    b"1048576",
    b"1e999",
    b"-1e-999",
    b"NaN",
    b"Infinity",
]
WORDS += [
    b'""',
    b'"x"',
    b'".."',
    b'"../../7.jpg"',
    b'"/etc/passwd"',
    b'"a\\u0000b"',
    b'"\\ud800"',
    b"1" * 401,
    b"1" * 5000,
]
WORDS += [b"nan", b"inf", b"--noflip=3", b"\xff\xfe", b"[" * 3000, b'{"a":' * 3000, b"(" * 300, b"\xc3\xa9", b"x" * 300]
WORD = re.compile(rb'"[^"]*"|[-+.\w]+|[\[\]{}():,]')
MARK = [b"", b" ", b"\n", b",", b"\0"]


def damaged(content: bytes, others: Sequence[bytes], number: int) -> bytes:
    """Returns a content with one to four damages, some of which make no sense to its format, and some do."""
    chance = random.Random(number)
    is_text = content.isascii()
    for _ in range(chance.choice([1, 1, 1, 2, 3, 4])):
        kinds = [_overwritten, _overwritten, _flipped, _cut, _repeated, _spliced, _shortened, _zeroed]
        kinds += [_reworded] * (16 if is_text else 1)
        content = chance.choice(kinds)(content, others, chance)
    return content


def _place(content: bytes, chance: random.Random) -> int:
    """Most of what a reader believes is at the beginning, or, of an archive, at the end."""
    near = chance.choice([min(64, len(content)), len(content)])
    place = chance.randint(0, near)
    return len(content) - place if chance.random() < 0.2 else place


def _overwritten(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    start, new = _place(content, chance), chance.choice([*BYTES, chance.randbytes(chance.randint(1, 4))])
    return content[:start] + new + content[start + chance.choice([0, len(new), len(new)]) :]


def _flipped(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[min(_place(content, chance), len(changed) - 1)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    start = _place(content, chance)
    return content[:start] + content[start + chance.choice([1, 2, 4, 16, 1000]) :]


def _repeated(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    start = _place(content, chance)
    piece = content[start : start + chance.choice([1, 4, 16, 100])]
    return content[:start] + piece * chance.choice([2, 2, 10, 1000]) + content[start:]


def _spliced(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return content[: _place(content, chance)] + other[_place(other, chance) :]


def _shortened(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    return content[: chance.randint(0, len(content))]


def _zeroed(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    end = chance.randint(0, len(content))
    return content[:end] + b"\0" * (len(content) - end) + chance.choice(MARK)


def _reworded(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    words = list(WORD.finditer(content))
    if not words:
        return chance.choice(WORDS) + content
    word = chance.choice(words)
    new = chance.choice([*WORDS, *WORDS, *MARK, chance.choice(words).group()])
    return content[: word.start()] + new + content[word.end() :]
