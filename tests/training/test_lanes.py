"""What the library makes on one TensorFlow is read on the other with the same numbers, and trains on.

The other lane's Python is GLNET_OTHER_PYTHON, which .ci/run sets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

OTHER = os.environ.get("GLNET_OTHER_PYTHON", "")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not OTHER, reason="GLNET_OTHER_PYTHON is not set")]


@pytest.mark.parametrize("here_first", [True, False])
def test_weights_runs_and_exports_of_one_lane_serve_the_other(tmp_path, here_first):
    pythons = [sys.executable, OTHER]
    versions = set()
    for python, what in zip(*((pythons, ("serve", "read")) if here_first else (pythons[::-1], ("make", "read")))):
        command = [python, str(ROOT / "tests/helpers/lane.py"), what, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, done.stderr[-3000:]
        asked = [python, "-c", "import tensorflow; print(tensorflow.__version__)"]
        versions.add(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert len(versions) == 2
    made, read = (np.load(tmp_path / f"{name}.npz") for name in ("answers", "answers_read"))
    assert int(read["step"]) == 3 and ("served" in made.files) == here_first
    for name in made.files:
        assert np.std(np.log(made[name])) > 1e-4, f"{name} says nothing"
        np.testing.assert_allclose(read[name], made[name], rtol=1e-4, err_msg=name)
