"""What the weights that ship know of streets they never saw, what training adds, and what refinement makes of it."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from glnet_tf.cli.flagging import adopt, config_from_flags, define, run
from glnet_tf.config import DataConfig, LossConfig, ModelConfig, TrainingConfig

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = (DataConfig, ModelConfig, LossConfig, TrainingConfig)
define(*CONFIGS)
flags.DEFINE_string("run_dir", str(ROOT / "runs" / "demo"), "folder of the run")


def main() -> None:
    from glnet_tf.experiments.demo import demonstrate
    from glnet_tf.training.weights import architecture_of_weights

    adopt(architecture_of_weights(flags.FLAGS.weights))
    demonstrate(Path(flags.FLAGS.run_dir), *map(config_from_flags, CONFIGS))


if __name__ == "__main__":
    sys.argv.insert(1, f"--flagfile={ROOT / 'configs' / 'demo.flags'}")
    run(main)
