"""GLNet: depth, optical flow, camera motion and intrinsics from monocular video, learned without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glnet_tf.models.glnet import GLNet

__version__ = "0.1.0"


def load(weights: str) -> GLNet:
    """Returns a trained model, see `glnet_tf.training.weights.load_model`: glnet_tf.load("weights.npz")."""
    from glnet_tf.training.weights import load_model  # TensorFlow takes seconds to import

    return load_model(weights)[0]
