"""Exact ray casting of textured parallelograms.

A quad holds the points o + a u + b v with 0 <= a, b <= 1. With M = [u v o] in camera coordinates, a pixel's ray
r = K^-1 (x, y, 1) meets its plane where q = M^-1 r = (a, b, 1) / z. So q is affine in the pixel's position: casting
needs no division, and the nearest surface is the one with the largest q_3 = 1 / z.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEAR = 0.1  # metres; nothing is nearer to the camera


class Quads(NamedTuple):
    """Textured parallelograms; seen only from the side to which u x v points away from.

    Attributes:
      shape: [N, 3, 3] float64 rows o, u, v: a corner and the two edges, metres. Seen from outside, u runs to the right
        and v downwards.
      tile: [N] int64 texture.
      texels: [N, 4] float32 texture coordinates of the corner and their growth along u and v: (u0, v0, du, dv).
      gain: [N, 3] float32 tint and lighting.
    """

    shape: np.ndarray
    tile: np.ndarray
    texels: np.ndarray
    gain: np.ndarray


class View(NamedTuple):
    """The quads that may be visible in one frame, nearest first.

    Attributes:
      matrix: [N, 3, 3] float64 pixel (x, y, 1) to q for every quad (not only visible ones).
      order: [V] int32 index of the quads that may be visible.
      box: [V, 4] float64 their bounds in the image (x0, x1, y0, y1), pixels.
      nearest: [V] float64 an upper bound of their 1 / z.
    """

    matrix: np.ndarray
    order: np.ndarray
    box: np.ndarray
    nearest: np.ndarray


def transform_quads(shape: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Quads [N, 3, 3] (rows o, u, v) moved by a rigid transform [4, 4]."""
    moved = shape @ pose[:3, :3].T
    moved[:, 0] += pose[:3, 3]
    return moved


def prepare_view(shape: np.ndarray, intrinsics: np.ndarray, width: int, height: int) -> View:
    """Selects the quads that face the camera and reach into its image.

    Args:
      shape: [N, 3, 3] quads (rows o, u, v) in camera coordinates, metres.
      intrinsics: [3, 3] K, pixels.
      width, height: size of the image, pixels; half a pixel beyond its outermost centres belongs to it.

    Returns:
      The view.
    """
    o, u, v = shape[:, 0], shape[:, 1], shape[:, 2]
    volume = np.einsum("ni,ni->n", o, np.cross(u, v))
    facing = volume > 1e-9
    rows = np.stack([np.cross(v, o), np.cross(o, u), np.cross(u, v)], axis=1)
    matrix = rows / np.where(facing, volume, 1.0)[:, None, None] @ np.linalg.inv(intrinsics)
    corners = np.stack([o, o + u, o + u + v, o + v], axis=1)
    following = np.roll(corners, -1, axis=1)
    z0, z1 = corners[..., 2], following[..., 2]
    crosses = (z0 > NEAR) != (z1 > NEAR)
    share = np.where(crosses, (NEAR - z0) / np.where(crosses, z1 - z0, 1.0), 0.0)
    points = np.concatenate([corners, corners + share[..., None] * (following - corners)], axis=1)
    kept = np.concatenate([z0 > NEAR, crosses], axis=1)
    depth = np.where(kept, points[..., 2], 1.0)
    x = intrinsics[0, 0] * points[..., 0] / depth + intrinsics[0, 2]
    y = intrinsics[1, 1] * points[..., 1] / depth + intrinsics[1, 2]

    def bounds(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.where(kept, value, np.inf).min(axis=1), np.where(kept, value, -np.inf).max(axis=1)
        return low - 1e-6, high + 1e-6

    (x0, x1), (y0, y1) = bounds(x), bounds(y)
    inside = facing & (x1 >= -0.5) & (x0 <= width - 0.5) & (y1 >= -0.5) & (y0 <= height - 0.5)
    chosen = np.flatnonzero(inside).astype(np.int32)
    mean = np.where(kept, points[..., 2], 0).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
    chosen = chosen[np.argsort(mean[chosen], kind="stable")]
    closest = np.where(kept, 1 / depth, 0).max(axis=1) * (1 + 1e-6)
    return View(matrix, chosen, np.stack([x0, x1, y0, y1], axis=1)[chosen], closest[chosen])


def cast_grid(view: View, x: np.ndarray, y: np.ndarray, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Nearest surfaces on a grid of image positions.

    Args:
      view: the prepared quads.
      x, y: [w], [h] ascending positions, pixels.
      dtype: precision of the casting.

    Returns:
      surface [h, w] int32 (-1: none) and inverse depth [h, w] (0: none), 1 / metres.
    """
    surface = np.full((len(y), len(x)), -1, np.int32)
    inverse: np.ndarray = np.zeros((len(y), len(x)), dtype)
    (first, last), (top, bottom) = (
        (np.searchsorted(v, view.box[:, k]), np.searchsorted(v, view.box[:, k + 1], "right"))
        for v, k in ((x, 0), (y, 2))
    )
    k = np.flatnonzero((last > first) & (bottom > top))
    matrix = view.matrix[view.order[k]].astype(dtype)
    by_x, by_y, constant = (np.ascontiguousarray(matrix[:, :, i : i + 1]) for i in range(3))
    x, y, by_y = x.astype(dtype), y.astype(dtype)[:, None], by_y[..., None]
    # Plain lists: the loop runs over hundreds of small windows, where every call of NumPy counts.
    table = np.stack([first[k], last[k], top[k], bottom[k], view.order[k]]).T.tolist()
    for n, ((x0, x1, y0, y1, index), nearest) in enumerate(zip(table, view.nearest[k].tolist())):
        behind = inverse[y0:y1, x0:x1]
        if behind.min() >= nearest:
            continue
        q1, q2, q3 = (by_x[n] * x[x0:x1] + constant[n])[:, None] + by_y[n] * y[y0:y1]
        hit = q3 > behind
        hit &= np.minimum(q1, q2) >= 0
        hit &= np.maximum(q1, q2) <= q3
        np.copyto(behind, q3, where=hit)
        np.copyto(surface[y0:y1, x0:x1], index, where=hit)
    return surface, inverse


def visible_first(view: View, surface: np.ndarray) -> View:
    """The view with the quads in `surface` ahead of the others, so that casting rejects most of those at once."""
    shown = np.zeros(len(view.matrix) + 1, bool)
    shown[surface] = True
    rank = np.argsort(~shown[view.order], kind="stable")
    return View(view.matrix, view.order[rank], view.box[rank], view.nearest[rank])


def cast_points(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest surfaces at any image positions.

    Args:
      view: the prepared quads.
      points: [N, 2] float64 (x, y), pixels.

    Returns:
      surface [N] int32 (-1: none) and inverse depth [N] float64 (0: none), 1 / metres.
    """
    order = np.argsort(points[:, 0], kind="stable")
    x, y = points[order].T
    surface, inverse = np.full(len(x), -1, np.int32), np.zeros(len(x))
    first, last = np.searchsorted(x, view.box[:, 0]), np.searchsorted(x, view.box[:, 1], "right")
    for k, index in enumerate(view.order):
        window = slice(first[k], last[k])
        reached = (y[window] >= view.box[k, 2]) & (y[window] <= view.box[k, 3]) & (inverse[window] < view.nearest[k])
        at = np.flatnonzero(reached) + first[k]
        if not at.size:
            continue
        m = view.matrix[index]
        q1, q2, q3 = (m[i, 0] * x[at] + m[i, 1] * y[at] + m[i, 2] for i in range(3))
        hit = (q3 > inverse[at]) & (q1 >= 0) & (q2 >= 0) & (q1 <= q3) & (q2 <= q3)
        inverse[at[hit]], surface[at[hit]] = q3[hit], index
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return surface[back], inverse[back]


class Hits(NamedTuple):
    """Places on quads: a, b [N], slope (da/dx, da/dy, db/dx, db/dy) [N] per pixel, inverse depth [N]; float32."""

    a: np.ndarray
    b: np.ndarray
    slope: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    inverse: np.ndarray


def hit_places(view: View, surface: np.ndarray, x: np.ndarray, y: np.ndarray) -> Hits:
    """Where rays meet given quads, and how fast that place moves over the image.

    Args:
      view: the prepared quads.
      surface: [N] index of the quad.
      x, y: [N] image position, pixels.

    Returns:
      The places.
    """
    m = view.matrix.reshape(-1, 9).astype(np.float32)[surface].T
    x, y = x.astype(np.float32), y.astype(np.float32)
    q1, q2, q3 = (m[3 * i] * x + m[3 * i + 1] * y + m[3 * i + 2] for i in range(3))
    z = 1 / q3
    a, b = q1 * z, q2 * z
    slope = ((m[0] - a * m[6]) * z, (m[1] - a * m[7]) * z, (m[3] - b * m[6]) * z, (m[4] - b * m[7]) * z)
    return Hits(a, b, slope, q3)
