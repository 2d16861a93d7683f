"""The camera operators of tensorflow-graphics, and plain twins of them for Pythons on which it cannot be installed.

Every module of that package asks inspect.stack() which module it is, to list its own names; searching the sources of
all frames for that took most of the seconds in which the library was imported. Here it takes a tenth of the time.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import tensorflow as tf


@contextlib.contextmanager
def _stack_without_sources() -> Iterator[None]:
    def stack(context: int = 1) -> list[tuple[FrameType]]:
        frame: Any = sys._getframe(1)
        frames = []
        while frame is not None:
            frames.append((frame,))
            frame = frame.f_back
        return frames

    complete = inspect.stack
    inspect.stack = stack  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.stack = complete


def plain_project(points: tf.Tensor, focal: tf.Tensor, principal_point: tf.Tensor) -> tf.Tensor:
    """Returns pixels, [..., 2], of points, [..., 3] in the camera's frame; K as [..., 2] each."""
    return focal * points[..., :2] / points[..., 2:] + principal_point


def plain_unproject(pixels: tf.Tensor, depth: tf.Tensor, focal: tf.Tensor, principal_point: tf.Tensor) -> tf.Tensor:
    """Returns points, [..., 3] in the camera's frame, seen at pixels, [..., 2], at depths z, [..., 1]; K as above."""
    return tf.concat([depth * (pixels - principal_point) / focal, depth], axis=-1)


def plain_rotation(axis: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Returns rotation matrices, [..., 3, 3], about unit axes, [..., 3], by angles, [..., 1]: Rodrigues' formula."""
    (x, y, z), cos, sin = tf.unstack(axis, 3, axis=-1), tf.cos(angle[..., 0]), tf.sin(angle[..., 0])
    rest = 1 - cos
    rows = (
        (cos + rest * x * x, rest * x * y - sin * z, rest * x * z + sin * y),
        (rest * x * y + sin * z, cos + rest * y * y, rest * y * z - sin * x),
        (rest * x * z - sin * y, rest * y * z + sin * x, cos + rest * z * z),
    )
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


try:
    with _stack_without_sources():
        from tensorflow_graphics.geometry.transformation import rotation_matrix_3d
        from tensorflow_graphics.rendering.camera import perspective

    project, unproject, rotation = perspective.project, perspective.unproject, rotation_matrix_3d.from_axis_angle
except ImportError:
    project, unproject, rotation = plain_project, plain_unproject, plain_rotation
