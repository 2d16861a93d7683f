"""GPUs, where there are any: their memory, and batches that are there before they are asked for."""

from __future__ import annotations

import tensorflow as tf


def share_memory() -> None:
    """Lets TensorFlow take the memory of GPUs as it needs it, instead of all of it at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        if not tf.config.experimental.get_memory_growth(gpu):
            tf.config.experimental.set_memory_growth(gpu, True)


def prefetched(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset whose next elements wait on the GPU; without a GPU, the dataset itself."""
    gpus = tf.config.list_logical_devices("GPU")
    return dataset.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)) if gpus else dataset
