"""Memory of GPUs is shared where TensorFlow still can; coordinates keep their precision."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.training.devices import prepare_gpus


def test_gpus_that_are_in_use_already_stay_as_they_are(monkeypatch):
    asked = []

    def set_memory_growth(gpu, enable):
        asked.append(gpu)
        if gpu == "used":
            raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["used", "fresh"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_memory_growth)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    prepare_gpus()
    assert asked == ["used", "fresh"]
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
