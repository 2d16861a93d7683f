"""Masks of what both frames see: exact values, borders, and no gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from warps import BOTH

from glnet_tf.geometry.sampling import warp
from glnet_tf.geometry.visibility import depth_visible, flow_visible


def as_map(values: list, channels: int = 1, dtype: type = np.float64) -> tf.Tensor:
    return tf.constant(np.array(values, dtype).reshape(1, 1, -1, channels))


def inside(pixels: tf.Tensor, plain: bool | None = None) -> tf.Tensor:
    """Validity of a warp of an image of height 5 and width 7."""
    return warp(tf.zeros([1, 5, 7, 1], pixels.dtype), pixels, plain)[1]


@BOTH
@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0, 0), 1),
        ((6, 4), 1),
        ((3.3, 2.2), 1),
        ((-1e-6, 2), 0),
        ((6 + 1e-6, 2), 0),
        ((3, -1e-6), 0),
        ((3, 4 + 1e-6), 0),
        ((4.5, 4.5), 0),  # inside only if width and height are mixed up
        ((5.5, 2), 1),  # outside if they are
        ((np.nan, 2), 0),
        ((2, np.inf), 0),
    ],
)
def test_inside_an_image_of_height_5_and_width_7(point, expected, plain):
    assert inside(as_map([point], 2), plain) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_keep_shape_and_type(dtype):
    pixels, one = as_map([[1, 1]] * 3, 2, dtype), as_map([1] * 3, 1, dtype)
    for mask in (inside(pixels), flow_visible(pixels, -pixels, 3.0, 0.05), depth_visible(one, one, 0.1)):
        assert mask.shape == [1, 1, 3, 1] and mask.dtype == dtype
        np.testing.assert_array_equal(mask, 1)


def test_flow_visible_permits_alpha_pixels():
    flow = as_map([[4, 0]] * 4, 2)
    returned = as_map([[-4, 0], [-4, 2.9], [-4, 3.1], [4, 0]], 2)
    np.testing.assert_array_equal(tf.squeeze(flow_visible(flow, returned, 3.0, 0.05)), [1, 1, 0, 0])


def test_flow_visible_permits_a_share_of_long_flow():
    flow = as_map([[100, 0]] * 2, 2)
    returned = as_map([[-100, 4.9], [-100, 5.1]], 2)
    np.testing.assert_array_equal(tf.squeeze(flow_visible(flow, returned, 3.0, 0.05)), [1, 0])


def test_depth_visible_hides_what_is_behind_another_surface():
    """At tolerance 0.1, a surface at 10 hides points beyond 11; a point in front of it is never hidden."""
    transformed, sampled = as_map([10, 10.9, 11.1, 40, 2]), as_map([10] * 5)
    np.testing.assert_array_equal(tf.squeeze(depth_visible(transformed, sampled, 0.1)), [1, 1, 0, 0, 1])


def test_no_gradient_passes():
    flow, depth = as_map([[1, 2]], 2), as_map([3])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([flow, depth])
        masks = inside(flow), flow_visible(flow, -flow, 3.0, 0.05), depth_visible(depth, depth, 0.1)
    for mask in masks:
        assert tape.gradient(mask, [flow, depth]) == [None, None]
