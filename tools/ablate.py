"""Leaves out each part of the objective in turn: tools/ablate.py --flagfile=configs/ablation.flags --output_dir=DIR"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from glnet_tf.cli.flagging import config_from_flags, define, run
from glnet_tf.config import DataConfig, LossConfig, ModelConfig, RefinementConfig, TrainingConfig
from glnet_tf.errors import ConfigError

CONFIGS = (DataConfig, ModelConfig, LossConfig, TrainingConfig, RefinementConfig)
# The streets of the test, which no training sees.
TEST_SEED, TEST_STREETS = 1000, 4

define(*CONFIGS)
flags.DEFINE_string("output_dir", "", "folder for the results; the same command goes on where it was interrupted")
flags.DEFINE_multi_string("test", ["street"], "KIND or KIND=DIR: data with a truth to evaluate on; may be repeated")
flags.DEFINE_integer("test_snippets", 8, "snippets of each test", lower_bound=1)
flags.DEFINE_integer("seeds", 3, "trainings of each kind", lower_bound=1)


def main() -> None:
    configs = [config_from_flags(config) for config in CONFIGS]
    data = configs[0]
    if not flags.FLAGS.output_dir:
        raise ConfigError("--output_dir=: expected a folder")
    from glnet_tf.data.sources import open_source
    from glnet_tf.experiments.ablation import Ablation, as_markdown, run_all
    from glnet_tf.files import make_folder, write_json
    from glnet_tf.folders import locked

    unseen = dataclasses.replace(
        data,
        split="",
        holdout_frames=0,
        street=dataclasses.replace(data.street, street_seed=TEST_SEED, streets=TEST_STREETS),
    )
    tests = {}
    for entry in flags.FLAGS.test:
        kind, _, folder = entry.partition("=")
        tests[entry] = open_source(dataclasses.replace(unseen, dataset=kind, data_dir=folder), "all")
    folder = make_folder(Path(flags.FLAGS.output_dir), "output_dir")
    count, seeds = flags.FLAGS.test_snippets, flags.FLAGS.seeds
    ablation = Ablation(open_source(data, "train"), tests, count, seeds, *configs)
    settings = {name: value for config in configs for name, value in dataclasses.asdict(config).items()}
    with locked(folder):
        rows = run_all(ablation, folder, {**settings, "tests": list(tests), "test_snippets": count})
        write_json(folder / "ablation.json", rows)
    print(as_markdown(rows))


if __name__ == "__main__":
    run(main)
