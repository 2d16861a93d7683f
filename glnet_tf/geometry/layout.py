"""Coordinates (x, y) as one tensor, [..., 2], or as two planes, [...].

On a CPU TensorFlow takes five times as long to stack and unstack along a last axis of two as to copy; a pair of floats
is also a complex number, which is put together and taken apart at the speed of a copy. XLA has no such cast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

import tensorflow as tf

COMPLEX = {tf.float32: tf.complex64, tf.float64: tf.complex128}


_plain_only = False


@contextlib.contextmanager
def plain_operators() -> Iterator[None]:
    """Within it, every graph is traced with operators that TensorFlow has everywhere, as an exported model needs it."""
    global _plain_only
    before, _plain_only = _plain_only, True
    try:
        yield
    finally:
        _plain_only = before


def only_plain() -> bool:
    """Whether operators are wanted that every device and compiler has, not the fastest on a CPU."""
    return _plain_only or bool(tf.config.list_logical_devices("GPU"))


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


@tf.custom_gradient
def _joined(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    return tf.bitcast(tf.complex(x, y), x.dtype), lambda upstream: _separated(upstream)


@tf.custom_gradient
def _separated(pixels: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    pairs = tf.bitcast(pixels, COMPLEX[pixels.dtype])
    return (tf.math.real(pairs), tf.math.imag(pairs)), lambda *upstream: _joined(*upstream)
