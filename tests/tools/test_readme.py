"""The README's Python runs as it stands, and its shapes are those that it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from glnet_tf.street.street import Street
from glnet_tf.visualization.movie import Movie

pytestmark = pytest.mark.slow
README = Path(__file__).resolve().parents[2] / "README.md"
FRAMES, HEIGHT, WIDTH = 4, 96, 320


def test_the_python_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    street = Street(1000, FRAMES, HEIGHT, WIDTH)
    with Movie(tmp_path / "drive.mp4", 10) as movie:
        for number in range(FRAMES):
            movie.add(street.frame(number).image)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    # Every line that only names a field is kept, with what the README says of it.
    code = re.sub(r"^    frame\.(\w+)  # (.*)$", r"    fields.append(('\1', frame.\1, '''\2'''))", block, flags=re.M)
    fields: list[tuple[str, np.ndarray | None, str]] = []
    exec(code, {"fields": fields})
    assert len(fields) == 6 * FRAMES
    for name, value, words in fields:
        shape = json.loads(re.match(r"\[.*?\]", words).group().replace("H", str(HEIGHT)).replace("W", str(WIDTH)))
        assert (value is None and "None for the last" in words) or list(value.shape) == shape, name
