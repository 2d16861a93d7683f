"""What the fault tests share: children that start at once, and runs that nothing disturbed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tiny_street
from children import Children

STEPS = 12


@pytest.fixture(scope="session")
def children(tmp_path_factory):
    with Children(tmp_path_factory.mktemp("faults")) as started:
        yield started


@pytest.fixture(scope="session")
def training():
    """Flags of a training of STEPS steps with a checkpoint after every second one; most of it trains FlowNet alone."""
    return [
        *tiny_street.FLAGS,
        "--encoder_weights=none",
        "--checkpoint_steps=2",
        f"--steps={STEPS}",
        f"--virtual_steps={STEPS}",
    ]


@pytest.fixture(scope="session")
def straight(children, training, tmp_path_factory):
    """The run folder of a training that nothing disturbed, which nobody changes."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    done = children.run("train", *training, f"--run_dir={run_dir}")
    assert done.code == 0, done.err
    return run_dir


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of twelve frames of a camera that moves sideways."""
    folder = tmp_path_factory.mktemp("pictures") / "scene"
    folder.mkdir()
    texture = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 60, 3), np.uint8), (240, 48))
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02}.png"), texture[:, 4 * number : 4 * number + 96])
    return folder
