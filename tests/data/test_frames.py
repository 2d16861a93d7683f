"""Frames of images, folders and videos, and of what is damaged, missing or of an uncommon type."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from glnet_tf.data.frames import Frames, as_rgb, read_image
from glnet_tf.errors import DataError

RNG = np.random.default_rng(0)


def video(file, count: int, size=(64, 48)) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 12.0, size)
    for level in range(count):
        writer.write(np.full((size[1], size[0], 3), 10 * level, np.uint8))
    writer.release()


def test_images_of_every_type_become_rgb():
    image = RNG.integers(0, 256, (4, 5, 3), np.uint8)
    np.testing.assert_array_equal(as_rgb(image), image)
    np.testing.assert_array_equal(as_rgb(np.uint16(image) * 257), image)
    np.testing.assert_array_equal(as_rgb(image / 255), image)
    np.testing.assert_array_equal(as_rgb(np.concatenate([image, image[..., :1]], axis=2)), image)
    for grey in (image[..., 0], image[..., :1]):
        np.testing.assert_array_equal(as_rgb(grey), np.repeat(image[..., :1], 3, axis=2))


@pytest.mark.parametrize("image", [np.zeros((4, 5, 2), np.uint8), np.zeros(3, np.uint8), np.zeros((4, 5), np.int32)])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(DataError, match="an image has (shape|type)"):
        as_rgb(image)


def test_files_of_16_bits_grey_and_with_transparency(tmp_path):
    colour = RNG.integers(0, 256, (6, 7, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "deep.png"), np.uint16(colour) * 257)
    cv2.imwrite(str(tmp_path / "grey.png"), colour[..., 0])
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([colour, colour[..., 0]]))
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), colour[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png"), colour[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(colour[..., :1], 3, axis=2))


def test_a_folder_in_natural_order_without_what_is_damaged_or_of_another_size(tmp_path):
    for number in (10, 2, 1, 30, 40):
        shape = (8, 9, 3) if number == 40 else (6, 7, 3)
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full(shape, number, np.uint8))
    (tmp_path / "30.png").write_bytes(b"no image")
    frames = Frames(str(tmp_path))
    found = {name: image for name, image in frames}
    assert list(found) == ["1", "2", "10"] and found["10"].mean() == 10 and frames.count == 5
    assert len(frames.remarks) == 2 and "30.png" in frames.remarks[0] and "40: is 9x8" in frames.remarks[1]
    assert [name for name, _ in Frames(str(tmp_path), max_frames=2)] == ["1", "2"]


def test_a_video_and_one_that_ends_early(tmp_path):
    video(tmp_path / "a.mp4", 9)
    frames = Frames(str(tmp_path / "a.mp4"))
    images = [image for _, image in frames]
    assert (frames.count, frames.fps, len(images), images[0].shape) == (9, 12.0, 9, (48, 64, 3))
    assert abs(images[5].mean() - 50) < 4 and not frames.remarks
    content = (tmp_path / "a.mp4").read_bytes()
    start = content.index(b"mdat") + 4
    damaged = bytearray(content)
    middle = start + (content.index(b"moov") - start) // 2
    damaged[middle : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - middle)
    (tmp_path / "cut.mp4").write_bytes(bytes(damaged))
    cut = Frames(str(tmp_path / "cut.mp4"))
    assert 0 < len(list(cut)) <= 9


def test_what_is_not_there_or_empty(tmp_path):
    with pytest.raises(DataError, match="not found"):
        Frames(str(tmp_path / "missing.mp4") + "x")
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a video"):
        Frames(str(tmp_path / "broken.mp4"))
    (tmp_path / "one.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"one\.png: cannot be decoded"):
        list(Frames(str(tmp_path / "one.png")))
