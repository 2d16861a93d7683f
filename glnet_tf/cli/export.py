"""Exports a trained run for serving: python tools/export.py --run_dir=RUN --output_dir=DIR [--format=...]"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from glnet_tf.cli.flagging import chosen_model, config_from_flags, define, define_model
from glnet_tf.config import REFINEMENT_LOSS, LossConfig, RefinementConfig
from glnet_tf.errors import ConfigError

define(REFINEMENT_LOSS, RefinementConfig)
define_model()
flags.DEFINE_string("output_dir", "", "folder for the files; for a SavedModel it must not exist yet")
flags.DEFINE_string("licence", "", "weights: notice that is printed when the file is loaded")
flags.DEFINE_bool("free_size", False, "saved_model: images of any size in multiples of 32, not the run's own only")
flags.DEFINE_enum(
    "format",
    "saved_model",
    ("saved_model", "tflite", "onnx", "weights"),
    "saved_model: depth, flow, camera and refinement; tflite, onnx: depth alone; weights: the networks in one file, in "
    "half precision, for --weights of the other tools",
)

# What --help shows, in this order.
FIRST = ("weights", "run_dir", "output_dir", "format", "free_size", "licence")


def main() -> None:
    loss, config = config_from_flags(LossConfig), config_from_flags(RefinementConfig)
    weights = chosen_model()
    if not flags.FLAGS.output_dir:
        raise ConfigError("--output_dir=: expected a folder")
    # TensorFlow takes seconds to import: only once the flags are known to be right.
    from glnet_tf.files import make_folder
    from glnet_tf.folders import locked
    from glnet_tf.inference.export import export_onnx, export_saved_model, export_tflite
    from glnet_tf.training.weights import load_model, write_weights

    model, architecture = load_model(weights)
    folder = Path(flags.FLAGS.output_dir)
    if flags.FLAGS.format != "saved_model":
        with locked(make_folder(folder, "output_dir"), deep=False):
            if flags.FLAGS.format == "weights":
                file = folder / "weights.npz"
                digest = write_weights(model, architecture, file, flags.FLAGS.licence)
                print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}")
                return
            write = export_tflite if flags.FLAGS.format == "tflite" else export_onnx
            for exported in write(model, folder):
                size = f"{exported.size / 1e6:.2f} MB"
                print(f"{exported.file}: {size}, largest relative difference {exported.difference:.1e}")
        return
    make_folder(folder.parent, "output_dir")
    free = flags.FLAGS.free_size
    differences = export_saved_model(model, loss, config, folder, free)
    size = "any size in multiples of 32" if free else "{}x{} (height x width)".format(*model.image_size)
    print(f"{folder}: images of {size}; largest relative difference from the model:")
    for name, difference in differences.items():
        print(f"{name:24}{difference:10.1e}")
