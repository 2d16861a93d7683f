"""The configurations of configs/paper.flags: GLNet as published."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from glnet_tf.config import LossConfig, ModelConfig, TrainingConfig

FLAGFILE = Path(__file__).resolve().parents[2] / "configs" / "paper.flags"


def configuration(kind: Any) -> Any:
    lines = [line[2:].partition("=") for line in FLAGFILE.read_text().splitlines() if line.startswith("--")]
    given = {name: text if equals else "True" for name, equals, text in lines}
    made = {"str": str, "int": int, "float": float, "bool": lambda text: text == "True"}
    return kind(**{x.name: made[x.type](given[x.name]) for x in dataclasses.fields(kind) if x.name in given})


PAPER_LOSS: LossConfig = configuration(LossConfig)
PAPER_MODEL: ModelConfig = configuration(ModelConfig)
PAPER_TRAINING: TrainingConfig = configuration(TrainingConfig)
