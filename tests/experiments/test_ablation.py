"""The ablation's order, resumption and table, with trainings that are told how they end."""

from __future__ import annotations

import json

import pytest

from glnet_tf.errors import ConfigError
from glnet_tf.experiments.ablation import LEFT_OUT, as_markdown, run_all
from glnet_tf.structures import LossReport


class Told:
    seeds = 2

    def __init__(self, fails_at: int = -1):
        self.runs: list[tuple[str, int]] = []
        self._fails_at = fails_at

    def run(self, left_out: str, seed: int) -> dict:
        if len(self.runs) == self._fails_at:
            raise KeyboardInterrupt
        self.runs.append((left_out, seed))
        return {"street": {"none": {"depth_abs_rel": 0.2 + seed / 10, "flow_epe": float(len(left_out))}}}


def test_what_is_left_out_are_terms_of_the_objective():
    assert set().union(*LEFT_OUT.values()) <= set(LossReport._fields)
    assert LEFT_OUT["nothing"] == () and {"structure", "epipolar", "consistency"} <= LEFT_OUT.keys()


def test_an_interrupted_ablation_goes_on(tmp_path):
    first = Told(fails_at=3)
    with pytest.raises(KeyboardInterrupt):
        run_all(first, tmp_path, {"steps": 5})
    second = Told()
    rows = run_all(second, tmp_path, {"steps": 5})
    assert len(first.runs) == 3 and len(first.runs + second.runs) == 2 * len(LEFT_OUT)
    assert len(set(first.runs + second.runs)) == len(rows) == 2 * len(LEFT_OUT)
    kept = [json.loads(line) for line in (tmp_path / "trainings.jsonl").read_text().splitlines()[1:]]
    assert kept == rows
    with pytest.raises(ConfigError, match="was made with"):
        run_all(Told(), tmp_path, {"steps": 6})


def test_the_table_has_mean_and_spread_over_the_seeds(tmp_path):
    table = as_markdown(run_all(Told(), tmp_path, {}))
    assert "| street | none | structure | 0.250 ± 0.050 | 9.000 ± 0.000 |" in table
    assert table.count("\n") == 1 + len(LEFT_OUT)
