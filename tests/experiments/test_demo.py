"""The demonstration's page and table, of results that the commands would have left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from glnet_tf.experiments import demo
from glnet_tf.inference.result_folder import ResultFolder
from glnet_tf.structures import FramePrediction

METRICS = {"abs_rel": 0.15, "abs_rel_constant": 0.42, "abs_rel_rows": 0.38}
STAGES = {"none": {"depth_abs_rel": 0.12}, "fusion": {"depth_abs_rel": 0.09}}


def leave(folder: Path, reason: str = "") -> None:
    """Two frames of a camera that moves ahead; of the second one more is proved."""
    with ResultFolder(folder, {}) as results:
        for number in range(2):
            ones, pose = np.ones((8, 12)), np.eye(4)
            pose[2, 3] = number
            image = np.full((8, 12, 3), 100 * number, np.uint8)
            frame = FramePrediction(image, ones, ones * number, None, None, None, pose, np.eye(3), reason)
            results.add(f"{number:06}", frame._replace(initial=frame))


def test_four_acts_make_a_page_and_a_table(tmp_path, monkeypatch, capsys):
    played = []

    def call_once(done: Path, name: str, *given: str) -> None:
        played.append((done.name, name))
        if name == "train":
            (tmp_path / "run").mkdir()
            losses = [{"step": k, "evidence": 0.2 - 0.01 * k} for k in range(1, 11)]
            (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in losses))
        elif name == "evaluate":
            (tmp_path / "shipped.json").write_text(json.dumps({"metrics": METRICS}))
        else:
            leave(tmp_path / done.stem, "no texture: 0" if done.stem == "refined" else "")
            (tmp_path / done.stem / "table.json").write_text(json.dumps(STAGES))

    monkeypatch.setattr(demo, "call_once", call_once)
    demo.demonstrate(tmp_path, Path("clip.mp4"), 10)
    assert played == [
        ("predicted.done", "predict"),
        ("refined.done", "predict"),
        ("run.done", "train"),
        ("shipped.json.done", "evaluate"),
        ("evaluated.done", "refine"),
    ]
    spoken = capsys.readouterr()
    assert "0 of 2 frames corrected, 2 left as predicted" in spoken.err and "0.190, in the end 0.100" in spoken.err
    rows = [line.split() for line in spoken.out.splitlines()]
    assert [row[-1] for row in rows[1:6]] == ["0.420", "0.380", "0.150", "0.120", "0.090"]
    page = (tmp_path / "report.html").read_text()
    assert 'value="1" aria-label="frame"' in page and "evaluated: 000001" in page and "after training, refined" in page
    assert json.loads((tmp_path / "metrics.json").read_text())["after training, refined"] == 0.09
