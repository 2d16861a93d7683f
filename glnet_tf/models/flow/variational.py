"""Variational flow: the displacement that explains two images, smooth where they say nothing; nothing is learned."""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.fast_ops import compiled, joined, repeated, separated, window_mean
from glnet_tf.geometry.sampling import warp
from glnet_tf.structures import height_and_width

LINEARISATIONS = 3
SWEEPS = 5
# Brightness differences, after normalisation, above about this count as outliers.
OUTLIER = 0.5
SMOOTHNESS = 0.5
# Neighbours whose grey values, 0 to 1, differ by this much are coupled 1 / e as strongly.
EDGE = 0.1
NORMALISED_WINDOW = 9
DATA_WINDOW = 5
# Of the local variance, so that noise in a sky is not amplified to texture.
VARIANCE_FLOOR = 3e-4
# Linearised, the images speak for about this many pixels around.
MAX_STEP = 2.0


def normalised(grey: tf.Tensor) -> tf.Tensor:
    """Returns grey images, [N, H, W, 1] in [0, 1], with local mean 0 and deviation 1: lighting no longer matters."""
    mean, square = _box(grey, NORMALISED_WINDOW), _box(tf.square(grey), NORMALISED_WINDOW)
    return (grey - mean) * tf.math.rsqrt(tf.maximum(square - tf.square(mean), 0) + VARIANCE_FLOOR)


def refined_flow(flow: tf.Tensor, first: tf.Tensor, second: tf.Tensor, edges: tf.Tensor) -> tf.Tensor:
    """Returns a flow near the given one with a smaller energy; the gradient passes as if it were the given flow.

    Energy: sum over windows of |I_b(p + F) - I_a(p)| + SMOOTHNESS * |F - its neighbours' mean|^2, neighbours across an
    edge of the image counting less. Each linearisation is minimised by Jacobi sweeps.

    Args:
      flow: [N, h, w, 2] pixels.
      first, second: [N, h, w, 1] frames a and b, see normalised.
      edges: [N, h, w, 1] grey values of frame a in [0, 1].

    Source: Horn and Schunck, 1981; the data term of Lucas and Kanade in it, Bruhn et al., IJCV 2005; warping, Brox et
    al., ECCV 2004. The use inside a network is ours.
    """
    grid = pixel_grid(*height_and_width(flow), flow.dtype)
    grey = edges[..., 0]
    likeness = [tf.exp(-tf.abs(neighbour - grey) / EDGE) for neighbour in _neighbours(grey)]
    total = tf.add_n(likeness)
    coupling = [weight / total for weight in likeness]
    gradient = _gradient(first[..., 0])

    def linearised(at: tf.Tensor) -> tuple[tf.Tensor]:
        return (compiled(partial(_minimise, at, first, second, grid + at, gradient, coupling)),)

    (refined,) = repeated(linearised, (tf.stop_gradient(flow),), LINEARISATIONS)
    return flow + tf.stop_gradient(refined - flow)


# Below, maps are [N, h, w]: on a CPU, concatenating along a last axis of one costs more than all the arithmetic.


def _minimise(
    flow: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    pixels: tf.Tensor,
    gradient: tuple[tf.Tensor, tf.Tensor],
    coupling: list[tf.Tensor],
) -> tf.Tensor:
    """The minimum, about, of the energy linearised at a flow."""
    warped, valid = warp(second, pixels)
    x, y = ((a + b) / 2 for a, b in zip(gradient, _gradient(warped[..., 0])))
    difference = (warped - first)[..., 0]
    weight = valid[..., 0] * tf.math.rsqrt(tf.square(difference) + OUTLIER**2)
    products = [weight * p for p in (x * x, x * y, y * y, x * difference, y * difference)]
    windows = _box(tf.concat(products, axis=0)[..., tf.newaxis], DATA_WINDOW)
    xx, xy, yy, xd, yd = tf.split(windows[..., 0], 5, axis=0)
    # The inverse of the data's matrix and the identity, times SMOOTHNESS.
    stiff_x, stiff_y = xx + SMOOTHNESS, yy + SMOOTHNESS
    scale = SMOOTHNESS / (stiff_x * stiff_y - tf.square(xy))
    a, b, d = stiff_x * scale, xy * scale, stiff_y * scale

    def mean(field: tf.Tensor) -> tf.Tensor:
        return tf.add_n([weight * value for weight, value in zip(coupling, _neighbours(field))])

    def solved(right_u: tf.Tensor, right_v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return d * right_u - b * right_v, a * right_v - b * right_u

    # What is sought is the change of the flow: where all neighbours stay, and what they add.
    u0, v0 = separated(flow)
    still = solved(mean(u0) - u0 - xd * (1 / SMOOTHNESS), mean(v0) - v0 - yd * (1 / SMOOTHNESS))

    def swept(*change: tf.Tensor) -> tuple[tf.Tensor, ...]:
        added = solved(*map(mean, change))
        return tuple(tf.clip_by_value(x + y, -MAX_STEP, MAX_STEP) for x, y in zip(still, added))

    u, v = repeated(swept, (tf.zeros_like(u0), tf.zeros_like(v0)), SWEEPS)
    return flow + joined(u, v)


def _box(image: tf.Tensor, size: int) -> tf.Tensor:
    """Means over windows about every pixel of [N, h, w, C]; beyond the border the image is continued."""
    for _ in range(size // 2):
        image = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    return window_mean(image, size)


def _neighbours(image: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """The values right, left, below and above of every pixel of [N, h, w]."""
    p = tf.pad(image, [[0, 0], [1, 1], [1, 1]], mode="SYMMETRIC")
    return p[:, 1:-1, 2:], p[:, 1:-1, :-2], p[:, 2:, 1:-1], p[:, :-2, 1:-1]


def _gradient(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Central differences along x and y of [N, h, w]."""
    right, left, below, above = _neighbours(image)
    return (right - left) / 2, (below - above) / 2
