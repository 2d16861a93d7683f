"""tools/train.py with a small encoder and only the finest level of the objective, which is traced in seconds.

SIGNAL_BEFORE="NUMBER STEP" in the environment has the process send itself a signal before that step of its own;
CPUS=N gives it so many logical CPU devices.
"""

import os
import runpy
import sys
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from glnet_tf.losses import objective
from glnet_tf.models.encoders import build
from glnet_tf.training import trainer


class SmallEncoder(keras.Model):
    """Features at the strides of the real encoders, each after a batch normalisation."""

    channels = (4, 4, 8, 8, 8)

    def __init__(self, frames=1):
        super().__init__()
        self.convolutions = [keras.layers.Conv2D(width, 3, 2, "same") for width in self.channels]
        self.norms = [keras.layers.BatchNormalization(momentum=0.9) for _ in self.channels]

    def call(self, images, training=None):
        features = [images]
        for convolution, norm in zip(self.convolutions, self.norms):
            features.append(tf.nn.elu(norm(convolution(features[-1]), training=training)))
        return tuple(features[1:])


def signalled(make_train_step, number, last):
    """make_train_step, but the step sends the process a signal when it is called for the time `last`."""

    def make(*arguments):
        step, calls = make_train_step(*arguments), []

        def counted(snippet):
            calls.append(snippet.index)
            if len(calls) == last:
                os.kill(os.getpid(), number)
            return step(snippet)

        return counted

    return make


def shrink():
    """Has the library build networks and objectives that are traced in seconds."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    # Of the choices of --encoder; "imagenet" leaves the statistics as they are, "none" learns them.
    build.ENCODERS["efficientnet_lite0"] = (SmallEncoder, lambda encoder, weights: None)
    objective.SCALES = 1


if __name__ == "__main__":
    shrink()
    if "SIGNAL_BEFORE" in os.environ:
        trainer.make_train_step = signalled(trainer.make_train_step, *map(int, os.environ["SIGNAL_BEFORE"].split()))
    devices = [tf.config.LogicalDeviceConfiguration()] * int(os.environ.get("CPUS", 1))
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    tools = Path(__file__).resolve().parents[2] / "tools"
    sys.path.insert(0, str(tools))
    runpy.run_path(str(tools / "train.py"), run_name="__main__")
