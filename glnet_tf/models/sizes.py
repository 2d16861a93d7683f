"""The sizes at which the networks see images of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

Size = tuple[int, int]

STRIDE = 32  # of the encoders
# Cameras whose shapes (width over height) differ by less than this factor are seen at one size.
SAME_SHAPE = 1.1


def depth_size(trained: Size, shapes: Sequence[float]) -> Size:
    """Returns (h, w) at which DepthNet sees images: about as many pixels as in training, in the images' own shape.

    Seen squeezed into the shape of its training, an indoor image of 4:3 gives a much worse depth.

    Args:
      trained: (H, W) of the training.
      shapes: width over height of the images' cameras; where they differ, the images keep the shape of the training.
    """
    if max(shapes) > SAME_SHAPE * min(shapes):
        return trained
    pixels = trained[0] * trained[1]
    shape = math.sqrt(max(shapes) * min(shapes))
    if max(shape, trained[1] / trained[0]) < SAME_SHAPE * min(shape, trained[1] / trained[0]):
        return trained
    return _multiple(math.sqrt(pixels / shape)), _multiple(math.sqrt(pixels * shape))


def flow_size(size: Size, scale: float) -> Size:
    """Returns (H, W) at which flow is found: `scale` times DepthNet's size, where it is more exact."""
    return _multiple(scale * size[0]), _multiple(scale * size[1])


def _multiple(pixels: float) -> int:
    return max(STRIDE, STRIDE * math.floor(pixels / STRIDE + 0.5))
