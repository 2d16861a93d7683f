"""A signal ends a command at once while a module is imported that would catch what is raised there."""

from __future__ import annotations

import subprocess
import sys

import pytest
from children import ROOT
from test_training_faults import CODES, WORDS

MODULE = """
import os
try:
    os.kill(os.getpid(), {number})
    for _ in range(1000):
        pass
except BaseException:
    print("caught")
"""


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_an_import_cannot_catch_a_signal(tmp_path, number):
    (tmp_path / "module.py").write_text(MODULE.format(number=int(number)))
    (tmp_path / "main.py").write_text("from glnet_tf.cli.signals import hear_signals\nhear_signals()\nimport module\n")
    command = [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); import main"]
    # SIGINT is ignored where the tests run unattended.
    done = subprocess.run(
        [sys.executable, "-c", HEARD, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (CODES[number], "", f"{WORDS}\n")


HEARD = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
