"""Colours of a synthetic street: deferred texture look-up, haze, and the supersampled image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glnet_tf.street.atlas import Atlas, sample_atlas
from glnet_tf.street.path import Path, street_coordinates
from glnet_tf.street.render import Quads, View, cast_grid, hit_places, visible_first
from glnet_tf.street.textures import ROAD_LENGTH, ROAD_WIDTH, TEXELS_PER_METRE, Tile

GROUND = 0  # index of the ground's quad
SAMPLES = 2  # per pixel and direction, where surfaces meet
_ROAD_TEXELS = 1024.0


class Look(NamedTuple):
    """What the colours depend on, the same in every frame.

    Attributes:
      path: the street, whose coordinates the ground's texture follows.
      ground: [3, 3] the ground's quad in the world.
      quads: all quads; of `shape` nothing is used.
      atlas: the textures in the order of Tile.
      haze: [3] float32 colour of the distance.
      clarity: metres over which haze grows to 63 %.
    """

    path: Path
    ground: np.ndarray
    quads: Quads
    atlas: Atlas
    haze: np.ndarray
    clarity: float


class _Texels(NamedTuple):
    tile: np.ndarray
    position: np.ndarray
    footprint: np.ndarray


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y)  # several times as fast as np.hypot


def _sky(x: np.ndarray, y: np.ndarray, rotation: np.ndarray, intrinsics: np.ndarray, size: np.ndarray) -> _Texels:
    """Texture of the sky by the ray's direction: 360 degrees across, 40 to -5 degrees of elevation down."""
    rays = np.stack([x, y, np.ones_like(x)], axis=1) @ (rotation @ np.linalg.inv(intrinsics)).T
    azimuth = np.arctan2(rays[:, 0], rays[:, 2])
    elevation = np.rad2deg(np.arctan2(-rays[:, 1], np.hypot(rays[:, 0], rays[:, 2])))
    down = np.clip((40 - elevation) / 45 * size[1], 0.5, size[1] - 0.5)
    position = np.stack([azimuth / (2 * np.pi) * size[0], down]).astype(np.float32)
    per_pixel = 1 / intrinsics[0, 0]
    extent = np.array([[per_pixel / (2 * np.pi) * size[0]], [np.rad2deg(per_pixel) / 45 * size[1]]], np.float32)
    return _Texels(np.full(len(x), int(Tile.SKY)), position, np.repeat(extent, len(x), axis=1))


def _ground(look: Look, a: np.ndarray, b: np.ndarray, slope: tuple[np.ndarray, ...]) -> _Texels:
    """Texture of the ground: the road in street coordinates, open land beyond."""
    o, u, v = look.ground
    x, z = o[0] + a.astype(np.float64) * u[0], o[2] + b.astype(np.float64) * v[2]
    x_slope, z_slope = np.stack(slope[:2]) * np.float32(u[0]), np.stack(slope[2:]) * np.float32(v[2])
    at = street_coordinates(look.path, x, z)
    cosine, sine = np.cos(at.heading), np.sin(at.heading)
    across = _length(*(x_slope * cosine - z_slope * sine))
    along = _length(*(x_slope * sine + z_slope * cosine)) * at.stretch
    road = at.near & (np.abs(at.d) < ROAD_WIDTH / 2)
    scale = np.array([[_ROAD_TEXELS / ROAD_WIDTH], [_ROAD_TEXELS / ROAD_LENGTH]])
    position = np.where(road, np.stack([at.d + ROAD_WIDTH / 2, at.s]) * scale, np.stack([x, z]) * TEXELS_PER_METRE)
    wide = np.stack([_length(*x_slope), _length(*z_slope)]) * TEXELS_PER_METRE
    footprint = np.where(road, np.stack([across, along]) * scale, wide)
    tile = np.where(road, int(Tile.ROAD), int(Tile.VERGE))
    return _Texels(tile, position.astype(np.float32), footprint.astype(np.float32))


def shade(
    look: Look, view: View, pose: np.ndarray, intrinsics: np.ndarray, surface: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Colours of given surfaces at given image positions, filtered over a pixel.

    Args:
      look: textures and lighting.
      view: the frame's quads.
      pose: [4, 4] camera to world.
      intrinsics: [3, 3] K, pixels.
      surface: [N] index of the visible quad, -1 for the sky.
      x, y: [N] image position, pixels.

    Returns:
      [N, 3] float32 RGB, 0 to 255.
    """
    count = len(surface)
    kind = (surface > GROUND).astype(np.int8) + np.int8(2) * (surface < 0)
    order = np.argsort(kind, kind="stable")
    surface, x, y = surface[order], x[order], y[order]
    grounds, solids = int((surface == GROUND).sum()), int((surface >= 0).sum())
    hit = hit_places(view, surface[:solids], x[:solids], y[:solids])
    road = _ground(look, hit.a[:grounds], hit.b[:grounds], tuple(item[:grounds] for item in hit.slope))
    sky = _sky(x[solids:], y[solids:], pose[:3, :3], intrinsics, look.atlas.size[Tile.SKY])
    solid = slice(grounds, solids)
    index = surface[solid]
    texels = look.quads.texels[index].T
    a_x, a_y, b_x, b_y = (item[solid] for item in hit.slope)
    position = np.stack([texels[0] + hit.a[solid] * texels[2], texels[1] + hit.b[solid] * texels[3]])
    footprint = np.stack([texels[2] * _length(a_x, a_y), texels[3] * _length(b_x, b_y)])
    parts = (road, _Texels(look.quads.tile[index], position, footprint), sky)
    tile, position, footprint = (np.concatenate(items, axis=-1) for items in zip(*parts))
    colour = sample_atlas(look.atlas, tile, position, footprint)
    clear = np.exp(-1 / (look.clarity * hit.inverse))[:, None]
    colour[:solids] = (colour[:solids] * look.quads.gain[surface[:solids]] - look.haze) * clear + look.haze
    result = np.empty((count, 3), np.float32)
    result[order] = colour
    return result


def render_image(look: Look, view: View, pose: np.ndarray, intrinsics: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """The anti-aliased picture of a frame.

    Args:
      look: textures and lighting.
      view: the frame's quads.
      pose: [4, 4] camera to world.
      intrinsics: [3, 3] K, pixels.
      surface: [H, W] surfaces at the pixel centres.

    Returns:
      [H, W, 3] uint8 RGB.
    """
    height, width = surface.shape
    shift = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    x, y = ((np.arange(n)[:, None] + shift).ravel() for n in (width, height))
    fine, _ = cast_grid(visible_first(view, surface), x, y, np.float32)
    samples = fine.reshape(height, SAMPLES, width, SAMPLES).transpose(0, 2, 1, 3).reshape(height, width, -1)
    edge = (samples != surface[..., None]).any(axis=-1)
    inner_y, inner_x = np.nonzero(~edge)
    edge_y, edge_x = np.nonzero(edge)
    pixel, seen, share, across, down = _shares(samples[edge])
    at_x, at_y = np.concatenate([inner_x, edge_x[pixel] + across]), np.concatenate([inner_y, edge_y[pixel] + down])
    colour = shade(look, view, pose, intrinsics, np.concatenate([surface[~edge], seen]), at_x, at_y)
    image = np.empty((height, width, 3), np.float32)
    image[~edge] = colour[: len(inner_x)]
    mixed = colour[len(inner_x) :] * share[:, None]
    image[edge] = np.stack([np.bincount(pixel, mixed[:, k], len(edge_x)) for k in range(3)], axis=-1)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _shares(samples: np.ndarray) -> tuple[np.ndarray, ...]:
    """The different surfaces among each pixel's samples [N, SAMPLES^2], each to be shaded once.

    Returns:
      For every pair of a pixel and a surface: the pixel's index, the surface, its share of the samples, and the mean of
      their positions relative to the pixel's centre (across, down).
    """
    same = samples[:, :, None] == samples[:, None, :]
    first = ~(same & np.tri(SAMPLES**2, k=-1, dtype=bool)).any(axis=2)
    pixel, sample = np.nonzero(first)
    members = same[pixel, sample].astype(np.float64)
    count = members.sum(axis=1)
    shift = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    across, down = members @ np.tile(shift, SAMPLES) / count, members @ np.repeat(shift, SAMPLES) / count
    return pixel, samples[pixel, sample], count / SAMPLES**2, across, down
