"""Procedural textures of the synthetic street: noise at every scale, drawn structure on top, all periodic.

Every texture is [h, w, 3] uint8 RGB with sides that are powers of two. Painted surfaces are near white: each quad
multiplies its own tint.
"""

from __future__ import annotations

import enum
from typing import Callable

import cv2
import numpy as np

from glnet_tf.street.patterns import bricks, finish, grained, noise, stained

FACADES = 6
TEXELS_PER_METRE = 40  # of facades and other tiled walls: a bay and a storey of 3.2 m are 128 texels
BAY = 128
ROAD_WIDTH, ROAD_LENGTH = 20.48, 40.96  # metres covered by the road texture, 1024 x 1024 texels
LANE, PARKING, KERB = 3.2, 5.4, 5.6  # offsets of the town's markings and kerb from the centre line, metres


class Tile(enum.IntEnum):
    """Index of a texture in the list that `textures` returns; facade k is FACADE + k."""

    ROAD = 0
    VERGE = 1
    SKY = 2
    WALL = 3
    ROOF = 4
    FOLIAGE = 5
    WOOD = 6
    CAR_SIDE = 7
    CAR_FRONT = 8
    CAR_REAR = 9
    CABIN = 10
    PAINT = 11
    HORIZON = 12
    FACADE = 13


def _glass(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A pane: dark with a reflection from above and now and then a curtain."""
    shade = np.linspace(rng.uniform(70, 150), rng.uniform(25, 60), height, dtype=np.float32)[:, None, None]
    blot = cv2.resize(rng.standard_normal((4, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    pane = shade * np.array([0.85, 0.95, 1.1], np.float32) * (1 + 0.25 * blot)[..., None]
    if rng.random() < 0.45:
        drawn = int(width * rng.uniform(0.15, 0.5))
        cloth = np.array(rng.uniform(0.6, 1, 3), np.float32) * rng.uniform(110, 190)
        folds = 1 + 0.12 * np.sin(np.arange(drawn) * 0.9 + rng.uniform(0, 6))[None, :, None]
        pane[:, :drawn] = cloth * folds
    return pane


def _window(rng: np.random.Generator, image: np.ndarray, box: tuple[int, int, int, int], style: dict) -> None:
    """Draws a window into box (x0, y0, x1, y1): surround, panes, bars, sill."""
    x0, y0, x1, y1 = box
    edge = style["edge"]
    image[y0 - edge - 3 : y1 + edge, x0 - edge : x1 + edge] *= style["surround"]
    image[y0:y1, x0:x1] = _glass(rng, y1 - y0, x1 - x0)
    for k in range(style["bars"] + 2):
        x = x0 + (x1 - x0 - 3) * k // (style["bars"] + 1)
        image[y0:y1, x : x + 3] = style["frame"]
    for y in (y0, y0 + (y1 - y0) // 3, y1 - 3):
        image[y : y + 3, x0:x1] = style["frame"]
    image[y1 : y1 + 5, x0 - edge - 3 : x1 + edge + 3] = style["frame"] * 0.8
    image[y1 + 5 : y1 + 8, x0 - edge : x1 + edge] *= 0.6


def _door(rng: np.random.Generator, image: np.ndarray, left: int, bottom: int) -> None:
    """A door or a shop window in the bay that starts at `left`."""
    image[bottom - 104 : bottom, left + 14 : left + 114] *= 0.75
    if rng.random() < 0.5:
        image[bottom - 92 : bottom - 14, left + 18 : left + 110] = _glass(rng, 78, 92)
        sign = np.array(rng.uniform(40, 220, 3), np.float32)
        letters = (cv2.resize(rng.random((2, 20)).astype(np.float32), (92, 12)) > 0.55)[..., None]
        image[bottom - 106 : bottom - 94, left + 18 : left + 110] = np.where(letters, 245 - 0.7 * sign, sign)
    else:
        image[bottom - 92 : bottom, left + 40 : left + 84] = np.array(rng.uniform(30, 140, 3), np.float32)
        image[bottom - 84 : bottom - 50, left + 46 : left + 78] *= 1.35
        image[bottom - 42 : bottom - 8, left + 46 : left + 78] *= 0.7


def _facade(rng: np.random.Generator) -> np.ndarray:
    """Four storeys of four bays; the street door's storey is the lowest."""
    palette = np.array(
        [[176, 92, 70], [196, 168, 128], [205, 200, 188], [150, 128, 110], [208, 178, 96], [150, 165, 172]]
    )
    colour = palette[rng.integers(len(palette))] * rng.uniform(0.75, 1.1) * rng.uniform(0.93, 1.07, 3)
    image = grained(rng, 512, 512, colour, rng.uniform(0.08, 0.14))
    if rng.random() < 0.6:
        bricks(rng, image, *((4, 8) if rng.random() < 0.6 else (16, 32)), rng.uniform(0.06, 0.12))
    width, height = int(rng.uniform(40, 84)) // 2, int(rng.uniform(56, 84))
    style = {
        "edge": int(rng.integers(3, 9)),
        "surround": rng.uniform(0.6, 1.3),
        "frame": np.array([1.0, 0.98, 0.94]) * rng.choice([60, 150, 225]),
        "bars": int(rng.integers(1, 3)),
    }
    for storey in range(4):
        image[storey * BAY : storey * BAY + 6] *= rng.uniform(0.65, 1.3)
        for bay in range(4):
            centre, bottom = bay * BAY + BAY // 2, storey * BAY + 110
            if storey == 3 and rng.random() < 0.6:
                _door(rng, image, bay * BAY, 512)
            elif rng.random() < 0.92:
                _window(rng, image, (centre - width, bottom - height, centre + width, bottom), style)
    return finish(stained(rng, image) * (1 + 0.04 * noise(rng, 512, 512, 16))[..., None])


def _road(rng: np.random.Generator, style: str) -> np.ndarray:
    """The street from side to side (columns, 2 cm) along 41 m (rows, 4 cm): carriageway, marks, pavement or grass."""
    offset = np.abs(np.arange(1024) + 0.5 - 512) / 1024 * ROAD_WIDTH
    along = (np.arange(1024) + 0.5) / 1024 * ROAD_LENGTH
    tone = rng.uniform(80, 125)
    colour = tone * rng.uniform(0.95, 1.05, 3)
    image = (
        np.tile(np.float32(colour), (1024, 1024, 1)) if style == "highway" else grained(rng, 1024, 1024, colour, 0.13)
    )
    wear = np.exp(-(((offset - 0.9) / 0.3) ** 2)) + np.exp(-(((offset - 2.4) / 0.3) ** 2))
    image *= (1 - 0.12 * wear)[None, :, None]
    if style != "highway":
        _patch(rng, image)
    sides = _pavement(rng) if style == "town" else _grass(rng)
    beyond = offset > (KERB if style == "town" else LANE + 0.5)
    image[:, beyond] = sides[:, beyond]
    worn = 1.0 if style == "highway" else 1 - 0.35 * np.clip(noise(rng, 1024, 1024, 32), 0, 1)[..., None]
    paint = np.array([222, 220, 210], np.float32) * worn
    dashes = along % 10.24 < 4.2 if style == "town" else along % 5.12 < (6 if style == "highway" else 2)
    lines = (offset < 0.07)[None] & dashes[:, None]
    if style == "town":
        lines |= ((offset > LANE) & (offset < LANE + 0.1))[None] & (along % 1.28 < 0.9)[:, None]
        stone = (offset > KERB - 0.2) & (offset < KERB)
        image[:, stone] = 165 * (1 + 0.1 * noise(rng, 1024, 1024, 64)[:, stone, None])
        image[::26, stone] *= 0.6
        image[:, (offset > KERB - 0.28) & (offset <= KERB - 0.2)] *= 0.55
    else:
        lines |= ((offset > LANE) & (offset < LANE + 0.12))[None] & np.ones((1024, 1), bool)
    return finish(np.where(lines[..., None], paint, image))


def _patch(rng: np.random.Generator, image: np.ndarray) -> None:
    """Repairs, cracks and manholes."""
    for _ in range(16):
        x, y = rng.integers(200, 780), rng.integers(0, 960)
        w, h = rng.integers(12, 110), rng.integers(12, 200)
        image[y : y + h, x : x + w] *= rng.uniform(0.68, 1.25)
    for _ in range(14):
        steps = np.cumsum(rng.normal(0, 6, (30, 2)) + rng.normal(0, 5, 2), axis=0) + rng.uniform(150, 870, 2)
        cv2.polylines(image, [steps.astype(np.int32)], False, (45, 45, 45), 1)
    for _ in range(5):
        centre = (int(rng.integers(360, 660)), int(rng.integers(30, 990)))
        cv2.ellipse(image, centre, (16, 8), 0, 0, 360, (48, 46, 44), -1)
        cv2.ellipse(image, centre, (12, 6), 0, 0, 360, (92, 90, 86), 2)


def _pavement(rng: np.random.Generator) -> np.ndarray:
    slabs = grained(rng, 1024, 1024, np.array([150, 146, 138]) * rng.uniform(0.8, 1.15), 0.09)
    bricks(rng, slabs, 16, 32, 0.08)
    slabs[::16] *= 0.75
    return slabs


def _grass(rng: np.random.Generator) -> np.ndarray:
    return grained(rng, 1024, 1024, np.array([104, 118, 54]) * rng.uniform(0.7, 1.1), 0.28)


def _sky(rng: np.random.Generator, style: str) -> np.ndarray:
    """Azimuth (columns, 360 degrees) by elevation (rows, 40 degrees down to -5): gradient and clouds."""
    top, bottom = (np.array([84, 136, 206]), np.array([196, 214, 230]))
    if style == "country":
        top, bottom = (np.array([120, 128, 150]), np.array([238, 212, 176]))
    rise = np.linspace(1, 0, 256)[:, None, None] ** 0.8
    image = (bottom + (top - bottom) * rise) * rng.uniform(0.9, 1.06, 3)
    clouds = noise(rng, 512, 1024, 128, 4, 0.62)[:256]
    cover = 1 / (1 + np.exp(-2.5 * (clouds - rng.uniform(-0.5, 0.9))))[..., None]
    white = np.array([244, 243, 240]) * (0.88 + 0.08 * noise(rng, 256, 1024, 64, 4))[..., None]
    return finish(image * (1 - 0.85 * cover) + white * 0.85 * cover)


def _foliage(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    leaves = noise(rng, 256, 256, 64, 2, 1.0)
    image = np.asarray(colour) * np.exp(0.34 * leaves)[..., None]
    return finish(image * (1 + 0.08 * np.stack([noise(rng, 256, 256, 32) for _ in range(3)], axis=-1)))


def _horizon(rng: np.random.Generator, style: str) -> np.ndarray:
    """A distant row of woods or of blocks with rows of windows."""
    if style == "country":
        return finish(grained(rng, 256, 256, np.array([92, 104, 86]), 0.3))
    image = grained(rng, 256, 256, np.array([150, 146, 142]), 0.12)
    for x in range(0, 256, 16):
        for y in range(0, 256, 16):
            image[y + 4 : y + 12, x + 4 : x + 11] *= rng.uniform(0.45, 0.85)
    return finish(image)


def _paint(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Near-white paint with soft reflections."""
    bands = np.interp(np.arange(height) / height, [0, 0.3, 0.45, 1], [1.12, 1.0, 0.86, 0.7])[:, None]
    blot = noise(rng, height, width, 32, 2, 0.7)
    return np.array([210, 212, 215], np.float32) * (bands * (1 + 0.1 * blot))[..., None]


def _car_side(rng: np.random.Generator) -> np.ndarray:
    """The lower body from the side: wheels, sill, door lines; 256 texels for the length, 64 for the height."""
    image = _paint(rng, 64, 256)
    image[52:] *= 0.22
    for x in (48, 206):
        cv2.ellipse(image, (x, 44), (26, 25), 0, 0, 360, (24, 24, 26), -1)
        cv2.ellipse(image, (x, 45), (14, 13), 0, 0, 360, (150, 150, 154), -1)
        cv2.ellipse(image, (x, 45), (5, 5), 0, 0, 360, (50, 50, 54), -1)
    for x in (92, 136, 176):
        image[4:50, x : x + 2] *= 0.5
    image[14:17, 104:116] = image[14:17, 148:160] = 60
    return finish(image)


def _car_end(rng: np.random.Generator, rear: bool) -> np.ndarray:
    """The lower body from the front or the rear: lamps, plate, bumper; 128 x 64 texels."""
    image = _paint(rng, 64, 128)
    image[50:] *= 0.25
    image[34:50] *= 0.7
    lamp = (205, 30, 28) if rear else (250, 246, 225)
    for x in (6, 100):
        image[12:26, x : x + 22] = lamp
        image[15:19, x + 3 : x + 19] = np.minimum(np.array(lamp) * 1.4, 255)
    if not rear:
        image[16:32, 36:92] = 38
        image[18:32:4, 36:92] = 110
    image[36:45, 46:82] = (235, 232, 205)
    image[38:43, 49:79] *= (rng.random((1, 30, 1)) > 0.5) * 0.7 + 0.3
    return finish(image)


def _cabin(rng: np.random.Generator) -> np.ndarray:
    """Windows between pillars under a strip of roof; 128 x 64 texels."""
    image = _paint(rng, 64, 128)
    for x0, x1 in ((6, 60), (66, 122)):
        image[10:58, x0:x1] = _glass(rng, 48, x1 - x0)
    return finish(image)


def textures(rng: np.random.Generator, style: str) -> list[np.ndarray]:
    """All textures of a street.

    Args:
      rng: source.
      style: "town", "country" or "highway".

    Returns:
      [h, w, 3] uint8 images in the order of Tile, then the further facades (town only).
    """
    leaf = np.array([70, 92, 44]) if style == "town" else np.array([112, 92, 46])
    earth = np.array([128, 122, 110]) if style == "town" else np.array([150, 136, 66])
    draw: list[Callable[[], np.ndarray]] = [
        lambda: _road(rng, style),
        lambda: finish(grained(rng, 512, 512, earth * rng.uniform(0.85, 1.1, 3), 0.22)),
        lambda: _sky(rng, style),
        lambda: finish(stained(rng, grained(rng, 256, 256, np.array([178, 166, 152]), 0.13))),
        lambda: _roof(rng),
        lambda: _foliage(rng, leaf * rng.uniform(0.8, 1.25, 3)),
        lambda: finish(grained(rng, 128, 128, np.array([112, 92, 74]), 0.25)),
        lambda: _car_side(rng),
        lambda: _car_end(rng, rear=False),
        lambda: _car_end(rng, rear=True),
        lambda: _cabin(rng),
        lambda: finish(_paint(rng, 64, 128)),
        lambda: _horizon(rng, style),
    ]
    facades = FACADES if style == "town" else 0
    return [make() for make in draw] + [_facade(rng) for _ in range(facades)]


def _roof(rng: np.random.Generator) -> np.ndarray:
    image = grained(rng, 256, 256, np.array([120, 82, 70]) * rng.uniform(0.75, 1.1, 3), 0.15)
    bricks(rng, image, 8, 8, 0.12)
    return finish(image)
