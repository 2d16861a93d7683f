"""The sizes at which images of any shape are seen."""

import pytest

from glnet_tf.models.sizes import depth_size, flow_size


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([1242 / 375], (128, 416)),  # as trained
        ([4 / 3], (192, 256)),
        ([16 / 9], (160, 320)),
        ([9 / 16], (320, 160)),
        ([1.0, 3.3], (128, 416)),  # of several shapes, no one fits
        ([10.0], (64, 736)),
    ],
)
def test_images_keep_their_shape_and_the_pixels_of_the_training(shapes, expected):
    assert depth_size((128, 416), shapes) == expected
    assert 0.7 < expected[0] * expected[1] / (128 * 416) < 1.4


def test_flow_is_found_at_a_multiple_of_the_stride():
    assert flow_size((128, 416), 1.5) == (192, 640)
    assert flow_size((96, 320), 1.0) == (96, 320)
    assert flow_size((32, 32), 1.4) == (32, 32)
