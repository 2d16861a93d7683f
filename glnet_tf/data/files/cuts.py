"""Cuts: whether neighbouring frames of a video show different places."""

from __future__ import annotations

import cv2
import numpy as np

# A cut: the local contrast of a picture and of the next one, brought back by their flow, correlate less than this (0.65
# or more between neighbours of KITTI's drives, a highway and a hand-held kitchen at 10 to 30 frames a second, less than
# 0.38 between 99 % of unrelated pictures), in videos of so many frames a second.
CUT, CUT_FPS, CUT_WIDTH, CUT_WINDOW = 0.4, 8.0, 208, 15
# Grey values of local contrast, below which a picture shows nothing but noise, and from which it does show something.
EMPTY, FULL = 4.0, 12.0


def small_grey(image: np.ndarray) -> np.ndarray:
    """Returns an image, [H, W, 3] uint8, as is_cut wants it: [h, w] grey."""
    size = CUT_WIDTH, max(round(CUT_WIDTH * image.shape[0] / image.shape[1]), 32)
    # By way of twice the size, the nearest pixels: the mean over all of them would take as long as decoding.
    near = cv2.resize(image, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(cv2.cvtColor(near, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)


def is_cut(first: np.ndarray, second: np.ndarray) -> bool:
    """Returns whether two small grey pictures, [h, w] uint8, show different places."""
    if (likeness := _likeness(first, second)) >= CUT:
        return False
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(
        first, second, np.zeros((*first.shape, 2), np.float32)
    )
    y, x = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    back = cv2.remap(second, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return max(likeness, _likeness(first, back)) < CUT


def _likeness(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation of the local contrasts of two pictures; 1 where one shows nothing, and the other hardly more."""
    a, b = (x - cv2.blur(x, (CUT_WINDOW, CUT_WINDOW)) for x in (first.astype(np.float32), second.astype(np.float32)))
    contrasts = [float(np.sqrt(np.mean(np.square(x)))) for x in (a, b)]
    if min(contrasts) < EMPTY:
        return float(max(contrasts) < FULL)
    return float(np.mean(a * b)) / (contrasts[0] * contrasts[1])
