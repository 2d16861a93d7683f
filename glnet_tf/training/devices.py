"""What a run takes of memory, and GPUs, where there are any: their memory, and batches that wait there."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import tensorflow as tf


def peak_gigabytes() -> float:
    """Returns the most memory that this process has held, 10^9 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # resource also counts what the process that started this one had held
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def prepare_gpus() -> None:
    """Lets TensorFlow take the memory of GPUs as it needs it, unless it was used before: then it has all of it; and
    multiply in single precision, not in the ten bits of TF32, in which a pixel's place would be wrong by a fraction."""
    tf.config.experimental.enable_tensor_float_32_execution(False)
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # also where GPUs would differ, which TensorFlow does not allow
            tf.config.experimental.set_memory_growth(gpu, True)


def prefetched(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset whose next elements wait on the GPU; without a GPU, the dataset itself."""
    gpus = tf.config.list_logical_devices("GPU")
    return dataset.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)) if gpus else dataset
