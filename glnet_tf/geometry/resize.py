"""Maps of one image at another size, in NumPy: inverse depth, flow with its vectors, masks."""

from __future__ import annotations

import cv2
import numpy as np


def resize_disparity(disparity: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Returns inverse depth, [h, w], at another size, [H, W], interpolated as it is: that is exact on planes."""
    return cv2.resize(disparity, size[::-1])


def resize_flow(flow: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Returns flow, [h, w, 2] in its own pixels, at another size, [H, W, 2] in the pixels of that."""
    scale = np.array([size[1] / flow.shape[1], size[0] / flow.shape[0]], np.float32)
    return cv2.resize(flow, size[::-1]) * scale


def resize_mask(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Returns a mask, [h, w], at another size, [H, W] bool, by the nearest pixel."""
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0
