"""Memory of GPUs is shared where TensorFlow still can."""

from __future__ import annotations

import tensorflow as tf

from glnet_tf.training.devices import share_memory


def test_gpus_that_are_in_use_already_stay_as_they_are(monkeypatch):
    asked = []

    def set_memory_growth(gpu, enable):
        asked.append(gpu)
        if gpu == "used":
            raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["used", "fresh"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_memory_growth)
    share_memory()
    assert asked == ["used", "fresh"]
