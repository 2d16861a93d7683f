"""Filtered texture look-up: every texture's copies reduced separately in both directions, packed into one image.

Streets are seen at grazing angles: a square mip map would blur the facades and the road far more than the pixel's
footprint asks for. The ripmap (all pairs of horizontal and vertical reductions) follows the footprint's two sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

PADDING = 1  # wrapped texels around every level, which bilinear interpolation reads


class Atlas(NamedTuple):
    """Ripmaps of several periodic textures in one image.

    Attributes:
      image: [A, B, 3] uint8 RGB.
      origin: [T, 2] float32 (x, y) of each texture's ripmap in `image`.
      size: [T, 2] float32 (width, height) of each texture, powers of two.
    """

    image: np.ndarray
    origin: np.ndarray
    size: np.ndarray


def _levels(texture: np.ndarray) -> tuple[int, int]:
    height, width = texture.shape[:2]
    return width.bit_length(), height.bit_length()


def _ripmap(texture: np.ndarray) -> np.ndarray:
    """All reductions of a texture by powers of two, each with PADDING wrapped texels around: level i is column i."""
    across, down = _levels(texture)
    rows = []
    tall = texture
    for _ in range(down):
        wide, row = tall, []
        for _ in range(across):
            row.append(cv2.copyMakeBorder(wide, PADDING, PADDING, PADDING, PADDING, cv2.BORDER_WRAP))
            if wide.shape[1] > 1:
                wide = cv2.resize(wide, (wide.shape[1] // 2, wide.shape[0]), interpolation=cv2.INTER_AREA)
        rows.append(np.concatenate(row, axis=1))
        if tall.shape[0] > 1:
            tall = cv2.resize(tall, (tall.shape[1], tall.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.concatenate(rows, axis=0)


def build_atlas(textures: Sequence[np.ndarray]) -> Atlas:
    """Packs the ripmaps of textures row by row.

    Args:
      textures: [h, w, 3] uint8 images, h and w powers of two; each is read as periodic in both directions.

    Returns:
      The atlas; textures keep their order.
    """
    maps = [_ripmap(texture) for texture in textures]
    sheet = int(1.05 * max(item.shape[1] for item in maps))
    origins = np.zeros((len(maps), 2), np.float32)
    x = y = shelf = 0
    for k in sorted(range(len(maps)), key=lambda k: -maps[k].shape[0]):
        height, width = maps[k].shape[:2]
        if x + width > sheet:
            x, y, shelf = 0, y + shelf, 0
        origins[k] = x, y
        x, shelf = x + width, max(shelf, height)
    image = np.zeros((y + shelf, sheet, 3), np.uint8)
    for item, (x0, y0) in zip(maps, origins.astype(int)):
        image[y0 : y0 + item.shape[0], x0 : x0 + item.shape[1]] = item
    sizes = np.array([[texture.shape[1], texture.shape[0]] for texture in textures], np.float32)
    return Atlas(image, origins, sizes)


def _axis(position: np.ndarray, footprint: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates within the ripmap at the two levels around a footprint, and the coarser one's weight."""
    last = np.log2(size)
    level = np.clip(np.log2(np.maximum(footprint, 1e-6)) + LEVEL_BIAS, 0, last)
    fine = np.floor(np.minimum(level, np.maximum(last - 1, 0)))
    scale = np.exp2(-fine)
    wrapped = (position - size * np.floor(position / size)) * scale
    first = 2 * size * (1 - scale) + (2 * PADDING) * fine + (PADDING - 0.5) + wrapped
    second = first + size * scale + 2 * PADDING - 0.5 * wrapped
    return first, np.where(last > 0, second, first), level - fine


# Bilinear interpolation already widens a texel, so the level whose texels equal the footprint would be too blurred.
LEVEL_BIAS = -0.4
_CHUNK = 512


def sample_atlas(atlas: Atlas, texture: np.ndarray, position: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Colours of textures averaged over footprints.

    Args:
      atlas: the textures.
      texture: [N] index of the texture.
      position: [2, N] float32 (u, v) in texels of the full-size texture, texel k covering k to k + 1; wraps around.
      footprint: [2, N] float32 extent of the pixel along u and along v, texels.

    Returns:
      [N, 3] float32 RGB, 0 to 255.
    """
    count = texture.shape[0]
    shape = -(-count // _CHUNK), _CHUNK  # remap takes pictures of coordinates, not long lists

    def picture(values: np.ndarray) -> np.ndarray:
        return np.resize(values, shape) if count % _CHUNK else values.reshape(shape)

    size, origin = atlas.size.T.copy(), atlas.origin.T.copy()
    x_fine, x_coarse, x_weight = _axis(position[0], footprint[0], size[0][texture])
    y_fine, y_coarse, y_weight = _axis(position[1], footprint[1], size[1][texture])
    x0, y0 = origin[0][texture], origin[1][texture]
    left, right, top, bottom = (picture(v) for v in (x_fine + x0, x_coarse + x0, y_fine + y0, y_coarse + y0))
    x_weight, y_weight = picture(x_weight), picture(y_weight)

    def look_up(y: np.ndarray) -> np.ndarray:
        fine = cv2.remap(atlas.image, left, y, cv2.INTER_LINEAR)
        return cv2.blendLinear(fine, cv2.remap(atlas.image, right, y, cv2.INTER_LINEAR), 1 - x_weight, x_weight)

    colour = cv2.blendLinear(look_up(top), look_up(bottom), 1 - y_weight, y_weight)
    return colour.reshape(-1, 3)[:count].astype(np.float32)
