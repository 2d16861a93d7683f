"""Exports a trained run for serving: python tools/export.py --run_dir=RUN --output_dir=SAVED_MODEL"""

from __future__ import annotations

from pathlib import Path

from absl import flags
from flagging import config_from_flags, define, run

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.errors import ConfigError

define(LossConfig, RefinementConfig)
flags.DEFINE_string("run_dir", "", "folder of the training run")
flags.DEFINE_string("output_dir", "", "folder for the SavedModel; it must not exist yet")


def main() -> None:
    loss, config = config_from_flags(LossConfig), config_from_flags(RefinementConfig)
    for name in ("run_dir", "output_dir"):
        if not flags.FLAGS[name].value:
            raise ConfigError(f"--{name}=: expected a folder")
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.data.work import make_folder
    from glnet_tf.inference.export import export_saved_model
    from glnet_tf.training.checkpoints import load_model

    model, _ = load_model(flags.FLAGS.run_dir)
    folder = Path(flags.FLAGS.output_dir)
    make_folder(folder.parent, "output_dir")
    differences = export_saved_model(model, loss, config, folder)
    height, width = model.image_size
    print(f"{folder}: images of {height}x{width} (height x width); largest relative difference from the model:")
    for name, difference in differences.items():
        print(f"{name:24}{difference:10.1e}")


if __name__ == "__main__":
    run(main)
