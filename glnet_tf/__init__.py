"""GLNet: depth, optical flow, camera motion and intrinsics from monocular video, learned without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glnet_tf.models.glnet import GLNet

__version__ = "0.2.0"


def load(weights: str) -> GLNet:
    """Returns a trained model.

    Args:
      weights: "kitti-lite" or "street-lite", which ship; a file of `tools/export.py --format=weights`; or the folder of
        a training run, whose best checkpoint is taken.

    Returns:
      The networks: `depth_net` gives inverse depth, [B, h, w, 1] for each of four levels, of images, [B, H, W, 3] from
      0 to 1; `flow_net` flow of ordered pairs, [B, P, h, w, 2], of frames, [B, F, H, W, 3]; the model itself
      Predictions of a Snippet. H and W are multiples of 32, best about `model.image_size`.

    Raises:
      CheckpointError: there is no such model, or its file is damaged.

    Example:
      import numpy as np

      import glnet_tf

      model = glnet_tf.load("kitti-lite")
      images = np.zeros([1, *model.image_size, 3], np.float32)
      disparity = model.depth_net(images)[0]  # [1, H, W, 1]; depth is 1 / disparity, up to scale
    """
    from glnet_tf.training.weights import load_model  # TensorFlow takes seconds to import

    return load_model(weights)[0]
