"""The noise and the patterns of which the synthetic street's textures are made; all periodic but for the stains."""

from __future__ import annotations

import cv2
import numpy as np


def noise(
    rng: np.random.Generator, height: int, width: int, coarse: int, fine: int = 1, fall: float = 0.8
) -> np.ndarray:
    """Periodic noise of several octaves.

    Args:
      rng: source.
      height, width: size, multiples of `coarse`.
      coarse, fine: cell sizes of the coarsest and finest octave, texels; powers of two.
      fall: amplitude of an octave relative to the next coarser one.

    Returns:
      [height, width] float32 of zero mean and unit variance.
    """
    total = np.zeros((height, width), np.float32)
    cell, amplitude = coarse, 1.0
    while cell >= fine:
        grid = rng.standard_normal((max(height // cell, 1), max(width // cell, 1))).astype(np.float32)
        grid = np.pad(grid, 2, mode="wrap")
        size = (grid.shape[1] * cell, grid.shape[0] * cell)
        octave = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
        total += amplitude * octave[2 * cell : 2 * cell + height, 2 * cell : 2 * cell + width]
        cell, amplitude = cell // 2, amplitude * fall
    return (total - total.mean()) / total.std()


def finish(image: np.ndarray) -> np.ndarray:
    """An image of any values as uint8, rounded and clipped."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def grained(rng: np.random.Generator, height: int, width: int, colour: np.ndarray, contrast: float) -> np.ndarray:
    """A surface of one colour with multiplicative noise and a little drift of hue."""
    light = 1 + contrast * noise(rng, height, width, 128)
    hue = np.stack([noise(rng, height, width, 128, 16) for _ in range(3)], axis=-1)
    return np.asarray(colour, np.float32) * np.maximum(light, 0.1)[..., None] * (1 + 0.18 * contrast * hue)


def bricks(rng: np.random.Generator, image: np.ndarray, height: int, width: int, contrast: float) -> None:
    """Gives courses of bricks (texels) their own brightness and a pale joint."""
    rows, columns = image.shape[0] // height, image.shape[1] // width
    tone = 1 + contrast * rng.standard_normal((rows, columns)).astype(np.float32)
    for row in range(rows):
        line = np.repeat(tone[row], width)
        line[::width] = 1 + 1.5 * contrast
        band = image[row * height : (row + 1) * height]
        band *= np.roll(line, (row % 2) * width // 2)[None, :, None]
        band[0] *= 1 + contrast


def stained(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Streaks that run down a wall, and grime near the ground."""
    height, width = image.shape[:2]
    streaks = cv2.blur(noise(rng, height, width, 32), (1, 101), borderType=cv2.BORDER_REFLECT)
    grime = np.linspace(1.04, 0.93, height, dtype=np.float32)[:, None]
    return image * ((1 + 0.25 * streaks) * grime)[..., None]
