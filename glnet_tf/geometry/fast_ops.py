"""Operations with gradients by hand: each is what its docstring says, and several times faster on a CPU that way.

Coordinates (x, y) come as one tensor, [..., 2], or as two planes, [...]: TensorFlow takes five times as long to stack
and unstack along a last axis of two as to copy; a pair of floats is also a complex number, which is put together and
taken apart at the speed of a copy. XLA has no such cast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Callable, TypeVar

import tensorflow as tf

from glnet_tf.structures import dimension, height_and_width

# Wang et al., Image Quality Assessment, 2004: (0.01 L)^2 and (0.03 L)^2 for images in [0, 1].
C1 = 0.01**2
C2 = 0.03**2
COMPLEX = {tf.float32: tf.complex64, tf.float64: tf.complex128}
# Both belong to the thread that traces, so that an export leaves the graphs of others alone.
_plain_only = ContextVar("plain_only", default=False)
_compiling = ContextVar("compiling", default=False)

Result = TypeVar("Result")


@contextlib.contextmanager
def plain_operators() -> Iterator[None]:
    """Within it, every graph is traced with operators that TensorFlow has everywhere, as an exported model needs it."""
    token = _plain_only.set(True)
    try:
        yield
    finally:
        _plain_only.reset(token)


def only_plain() -> bool:
    """Whether operators are wanted that every device and compiler has, not the fastest on a CPU."""
    return _plain_only.get() or bool(tf.config.list_logical_devices("GPU"))


@contextlib.contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Within it, XLA compiles the pieces of every graph that `compiled` marks, if that is wanted."""
    token = _compiling.set(wanted)
    try:
        yield
    finally:
        _compiling.reset(token)


def compiled(piece: Callable[[], Result]) -> Result:
    """Returns piece(), tensors of known shapes, which XLA makes by a few large kernels where that is wanted.

    That is for GPUs, whose time goes into the starting of small kernels; on a CPU it takes twice as long.
    """
    if not _compiling.get():
        return piece()
    with plain_operators():
        return tf.function(piece, jit_compile=True, autograph=False)()


def repeated(step: Callable, start: tuple[tf.Tensor, ...], times: int) -> tuple[tf.Tensor, ...]:
    """Returns step(*step(... start)), as a loop in the graph: unrolled, it would take long to trace."""
    return tf.while_loop(lambda *_: True, step, start, maximum_iterations=times)


def joined(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns the coordinates, [..., 2], of two planes, [...]."""
    return _joined(x, y) if _as_complex(x) else tf.stack([x, y], axis=-1)


def separated(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the planes x and y, [...] each, of coordinates, [..., 2]."""
    return _separated(pixels) if _as_complex(pixels) else tuple(tf.unstack(pixels, 2, axis=-1))


def _as_complex(values: tf.Tensor) -> bool:
    return values.dtype in COMPLEX and not only_plain()


def squared_length(vectors: tf.Tensor) -> tf.Tensor:
    """Returns |v|^2, [..., 1], of vectors, [..., 2]."""
    x, y = separated(vectors)
    return (tf.square(x) + tf.square(y))[..., tf.newaxis]


def equal_pixels(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns 1.0 where coordinates, [..., 2], are equal, [..., 1]; NaN equals nothing."""
    if _as_complex(first):
        equal = tf.equal(*(tf.bitcast(x, COMPLEX[x.dtype]) for x in (first, second)))[..., tf.newaxis]
    else:
        equal = tf.reduce_all(tf.equal(first, second), axis=-1, keepdims=True)
    return tf.cast(equal, first.dtype)


@tf.custom_gradient
def _joined(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    return tf.bitcast(tf.complex(x, y), x.dtype), lambda upstream: _separated(upstream)


@tf.custom_gradient
def _separated(pixels: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    pairs = tf.bitcast(pixels, COMPLEX[pixels.dtype])
    return (tf.math.real(pairs), tf.math.imag(pairs)), lambda *upstream: _joined(*upstream)


def clamped_pixels(pixels: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Coordinates, [B, h, w, 2], moved into an image. Those on or beyond its border get no gradient: at the last column
    or row the resampler's would reach for a neighbour that does not exist."""
    last = tf.cast(tf.stack([width - 1, height - 1]), pixels.dtype)

    @tf.custom_gradient
    def clamped(rows: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        limit = tf.tile(last, [dimension(rows, 2) // 2])
        below = rows < limit

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return upstream * tf.cast(below & (rows >= 0), upstream.dtype)

        return tf.where(below, tf.maximum(rows, 0), limit), gradient

    # In rows of x, y, x, y: on a CPU, operations with a last axis of two, broadcast, are several times slower.
    shape = [dimension(pixels, axis) for axis in range(4)]
    moved = clamped(tf.reshape(pixels, [shape[0], shape[1], 2 * shape[2]]))
    return tf.ensure_shape(tf.reshape(moved, shape), pixels.shape)


def window_mean(image: tf.Tensor, size: int = 3) -> tf.Tensor:
    """Returns the mean of every window of size x size pixels inside an image [B, H, W, C]: [B, H - size + 1, ...].

    Sums of shifted rows, then of shifted columns, in rows of W * C values: on a CPU six times faster, forward and
    gradient, than a depthwise convolution over three channels.
    """
    channels = image.shape[-1]
    height, width = height_and_width(image)
    rows = _window_sum(tf.reshape(image, [-1, height, width * channels]), size, channels)
    return tf.reshape(rows * (1 / size**2), [-1, height - size + 1, width - size + 1, channels])


def solve_positive(matrix: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Returns X, [B, n, k], of M X = R for positive definite matrices M, [B, n, n], of a few rows, and R, [B, n, k].

    Gauss and Jordan's elimination, which needs no pivots there; TensorFlow's own solver asks the host about each.
    """
    size = matrix.shape[-1]
    system = tf.concat([matrix, right], axis=-1)
    for row in range(size):
        solved = system[:, row] * tf.math.reciprocal(system[:, row, row, tf.newaxis])
        others = system[:, :, row] - tf.one_hot(row, size, dtype=matrix.dtype)
        system -= others[..., tf.newaxis] * solved[:, tf.newaxis]
    return system[..., size:]


def surroundings_mean(maps: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the mean over the size x size pixels about every pixel of [B, H, W, C], of those inside the image.

    By columns, then by rows: for large windows that is the window's length faster.
    """
    return tf.nn.avg_pool2d(tf.nn.avg_pool2d(maps, (size, 1), 1, "SAME"), (1, size), 1, "SAME")


def _window_sum(rows: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    """Sums of windows of [B, H, W * C]. A pixel's gradient is the sum over the windows that hold it: a window again."""
    columns, lines = (size - 1) * channels, size - 1

    @tf.custom_gradient
    def window_sum(rows: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        height, width = dimension(rows, 1), dimension(rows, 2)
        tower = tf.add_n([tf.slice(rows, [0, i, 0], [-1, height - lines, -1]) for i in range(size)])
        sums = [tf.slice(tower, [0, 0, i * channels], [-1, -1, width - columns]) for i in range(size)]
        return tf.add_n(sums), lambda upstream: _window_sum(
            tf.pad(upstream, [[0, 0], [lines] * 2, [columns] * 2]), size, channels
        )

    return window_sum(rows)


@tf.custom_gradient
def channel_mean(image: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns the mean over the channels of [B, H, W, C], [B, H, W, 1]; on a CPU twice as fast as a reduction."""
    channels = image.shape[-1]
    mean = tf.add_n(tf.unstack(image, axis=-1)) / channels
    return mean[..., tf.newaxis], lambda upstream: tf.tile(upstream / channels, [1, 1, 1, channels])


@tf.custom_gradient
def row_differences(planes: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Differences of the rows of [B, C, H, W]; the gradient of slices would pass over the memory twice as often."""
    return planes[:, :, 1:] - planes[:, :, :-1], lambda g: _padded(g, 1, 0, 0, 0) - _padded(g, 0, 1, 0, 0)


@tf.custom_gradient
def column_differences(planes: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Differences of the columns of [B, C, H, W]."""
    return planes[..., 1:] - planes[..., :-1], lambda g: _padded(g, 0, 0, 1, 0) - _padded(g, 0, 0, 0, 1)


def _padded(planes: tf.Tensor, top: int, bottom: int, left: int, right: int) -> tf.Tensor:
    return tf.pad(planes, [[0, 0], [0, 0], [top, bottom], [left, right]])


@tf.custom_gradient
def similarity_of_means(
    mean_a: tf.Tensor, mean_b: tf.Tensor, mean_squares: tf.Tensor, mean_product: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Returns SSIM = (2 ma mb + C1) (2 cov + C2) / ((ma^2 + mb^2 + C1) (var a + var b + C2)), of the windows' means.

    Its gradient by hand passes over the memory half as often as TensorFlow's own.
    """
    product, squares = mean_a * mean_b, tf.square(mean_a) + tf.square(mean_b)
    luminance, structure = 2 * product + C1, 2 * (mean_product - product) + C2
    luminances, variances = squares + C1, mean_squares - squares + C2
    inverse = tf.math.reciprocal(luminances * variances)
    similarity = luminance * structure * inverse

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        numerator = 2 * upstream * inverse
        denominator = upstream * inverse * similarity
        by_variances = denominator * luminances
        crossed, direct = numerator * (structure - luminance), 2 * (by_variances - denominator * variances)
        return (
            mean_b * crossed + mean_a * direct,
            mean_a * crossed + mean_b * direct,
            -by_variances,
            numerator * luminance,
        )

    return similarity, gradient


def window_products(first: tf.Tensor, padded: tf.Tensor, window: int) -> tf.Tensor:
    """Scalar products of first, [B, H, W, C], and every window of padded, [B, H + window - 1, W + window - 1, C].

    Returns:
      [B, H, W, window^2], row by row of the window.
    """
    height, width = height_and_width(first)

    # Its own gradient: on two cores, forward and backward take a quarter of the time that TensorFlow's own takes.
    @tf.custom_gradient
    def products(first: tf.Tensor, padded: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            weights = tf.transpose(upstream, [3, 0, 1, 2])[..., tf.newaxis]

            def added(
                number: tf.Tensor, to_first: tf.Tensor, to_padded: tf.Tensor
            ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
                dy, dx = number // window, number % window
                weight, beyond = weights[number], window - 1
                seen = tf.slice(padded, [0, dy, dx, 0], [-1, height, width, -1])
                place = [[0, 0], [dy, beyond - dy], [dx, beyond - dx], [0, 0]]
                return number + 1, to_first + weight * seen, to_padded + tf.pad(weight * first, place)

            start = tf.constant(0), tf.zeros_like(first), tf.zeros_like(padded)
            return repeated(added, start, window**2)[1:]

        return _band_products(first, padded, window), gradient

    return products(first, padded)


def _band_products(first: tf.Tensor, padded: tf.Tensor, window: int, block: int = 8) -> tf.Tensor:
    """window_products, as products of matrices: of `block` neighbours in a row, and of all that their windows reach in
    another row; what belongs together lies on their diagonals."""
    count, (height, width), channels = dimension(first, 0), height_and_width(first), first.shape[-1]
    blocks = -(-width // block)
    beyond = blocks * block - width

    def rows(image: tf.Tensor, added: int | tf.Tensor) -> tf.Tensor:
        wide = tf.pad(image, [[0, 0], [0, 0], [0, added], [0, 0]])
        return tf.reshape(wide, [count, dimension(image, 1), -1, block, channels])

    of_first, of_padded = rows(first, beyond), rows(padded, beyond + block - (window - 1))
    reached = tf.concat([of_padded[:, :, :-1], of_padded[:, :, 1:, : window - 1]], axis=3)
    products = [tf.matmul(reached[:, dy : dy + height], of_first, transpose_b=True) for dy in range(window)]
    bands = tf.linalg.diag_part(tf.stack(products, axis=3), k=(1 - window, 0))
    bands = tf.transpose(tf.reshape(bands, [count, height, blocks, window**2, block]), [0, 1, 2, 4, 3])
    return tf.reshape(bands, [count, height, blocks * block, window**2])[:, :, :width]
