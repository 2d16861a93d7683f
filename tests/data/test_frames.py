"""Frames of images, folders and videos, and of what is damaged, missing or of an uncommon type."""

from __future__ import annotations

import subprocess
from fractions import Fraction

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from glnet_tf.data.files.images import as_rgb, read_image
from glnet_tf.data.frames import Frames, Selection
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
    found = {frame.name: frame.image for frame in frames}
    assert list(found) == ["1", "2", "10"] and found["10"].mean() == 10 and frames.count == 5
    assert "30.png" in frames.remarks[-2] and "40: not 7x6 as the first image: left out" in frames.remarks[-1]
    assert [frame.name for frame in Frames(str(tmp_path), Selection(max_frames=2))] == ["1", "2"]


def test_a_video_and_one_that_ends_early(tmp_path):
    video(tmp_path / "a.mp4", 9)
    frames = Frames(str(tmp_path / "a.mp4"))
    images = [frame.image for frame in frames]
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
    with pytest.raises(DataError, match="no such file"):
        Frames(str(tmp_path / "missing.mp4") + "x")
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no image or video that can be read"):
        Frames(str(tmp_path / "broken.mp4"))
    (tmp_path / "one.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"one\.png: cannot be decoded"):
        list(Frames(str(tmp_path / "one.png")))


def timed_video(file, times: list[float]) -> None:
    """Grey frames, each as bright as its number, shown at some times."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(100 * time), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def turned(file, out, *options: str) -> None:
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *options, "-i", file, *["-c", "copy"], out], check=True
    )


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_is_turned_upright_as_it_says(tmp_path, degrees):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:20, :20] = 255
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    turned(tmp_path / "a.mp4", tmp_path / "b.mp4", "-display_rotation", str(degrees))
    frames = Frames(str(tmp_path / "b.mp4"))
    seen = next(iter(frames)).image
    assert frames.size == seen.shape[:2]
    np.testing.assert_allclose(seen, np.rot90(image, degrees // 90), atol=40)


def test_pixels_of_a_video_become_square(tmp_path):
    video(tmp_path / "a.mp4", 3)
    turned(tmp_path / "a.mp4", tmp_path / "b.mkv")
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", tmp_path / "a.mp4", "-aspect", "8:3", "-c", "copy",
         tmp_path / "wide.mp4"], check=True,
    )  # fmt: skip
    assert next(iter(Frames(str(tmp_path / "wide.mp4")))).image.shape == (48, 128, 3)
    assert next(iter(Frames(str(tmp_path / "b.mkv")))).image.shape == (48, 64, 3)


def test_a_hole_in_a_video_ends_a_scene_and_other_steps_do_not(tmp_path):
    steps = [0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.7, 0.1, 0.1]
    timed_video(tmp_path / "a.mkv", [0.0, *np.cumsum(steps)])
    frames = Frames(str(tmp_path / "a.mkv"))
    found = list(frames)
    np.testing.assert_allclose([frame.time for frame in found], [0.0, *np.cumsum(steps)], atol=2e-3)
    assert [frame.scene for frame in found] == [0] * 7 + [1] * 3
    assert [frame.name for frame in found[5:9]] == ["000005", "000006", "000013", "000014"]
    assert frames.remarks == ["no frame for 0.70 s before 000013 (1.40 s): another path begins"]


def test_a_part_of_a_video_is_chosen(tmp_path):
    video(tmp_path / "a.mp4", 24)
    place = str(tmp_path / "a.mp4")

    def names(**chosen) -> list[int]:
        frames = Frames(place, Selection(**chosen))
        found = [int(frame.name) for frame in frames]
        assert abs(frames.count - len(found)) <= 1
        return found

    assert names(start=1.0) == list(range(12, 24)) and names(end=0.5) == list(range(7))
    assert names(fps=6.0) == list(range(0, 24, 2)) and names(fps=6.0, stride=3) == [0, 6, 12, 18]
    assert names(fps=4.0, start=1.0) == [12, 15, 18, 21] and names(stride=5, max_frames=3) == [0, 5, 10]
    assert Frames(place, Selection(fps=6.0, stride=3)).fps == 2.0


def test_a_part_of_a_folder_keeps_its_times(tmp_path):
    for number in range(12):
        for name in (f"numbers/{number:02}.png", f"seconds/{number / 30:.6f}.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name), np.zeros((6, 7, 3), np.uint8))

    def times(folder, **chosen) -> list[float]:
        frames = Frames(str(tmp_path / folder), Selection(**chosen))
        found = [frame.time for frame in frames]
        assert abs(frames.count - len(found)) <= 1
        return found

    np.testing.assert_allclose(times("numbers", stride=3), [0.0, 0.3, 0.6, 0.9])
    np.testing.assert_allclose(times("numbers", fps=5.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(times("numbers", start=0.5, end=0.7), [0.5, 0.6, 0.7])
    np.testing.assert_allclose(times("seconds", fps=10.0), [0.0, 0.1, 0.2, 0.3], atol=1e-5)
    assert Frames(str(tmp_path / "seconds")).fps == pytest.approx(30, rel=1e-4)


def test_names_are_numbers_and_those_with_a_fraction_are_seconds(tmp_path):
    for name in ("1.0", "1.25", "1.5", "2.0", "10.5"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((6, 7, 3), np.uint8))
    found = list(Frames(str(tmp_path)))
    assert [frame.name for frame in found] == ["1.0", "1.25", "1.5", "2.0", "10.5"]
    assert [frame.time for frame in found] == [0, 0.25, 0.5, 1, 9.5]
    assert [frame.scene for frame in found] == [0, 0, 0, 1, 2]
    (tmp_path / "two").mkdir()
    for name in ("5.1", "5.01"):
        cv2.imwrite(str(tmp_path / f"two/{name}.png"), np.zeros((6, 7, 3), np.uint8))
    assert [frame.name for frame in Frames(str(tmp_path / "two"))] == ["5.01", "5.1"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright_as_exif_says(tmp_path, orientation):
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :16] = 255
    # How the eight orientations are stored, by the definition of the tag.
    stored = {
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1], 5: image.transpose(1, 0, 2),
        6: np.rot90(image, 1), 7: np.rot90(image, 2).transpose(1, 0, 2), 8: np.rot90(image, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), image, atol=40)
    assert Frames(str(tmp_path)).size == (32, 48)


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tiff", "ppm", "jpeg", "png"])
def test_a_folder_of_any_type(tmp_path, suffix):
    for number in range(2):
        Image.fromarray(np.full((6, 7, 3), 100 * number, np.uint8)).save(tmp_path / f"{number}.{suffix}")
    assert [round(frame.image.mean()) for frame in Frames(str(tmp_path))] == [0, 100]


def test_half_an_image_is_damaged_and_ends_a_scene(tmp_path):
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), RNG.integers(0, 256, (64, 64, 3), np.uint8))
    content = (tmp_path / "2.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(content[: len(content) // 2])
    frames = Frames(str(tmp_path))
    assert [(frame.name, frame.scene) for frame in frames] == [("0", 0), ("1", 0), ("3", 1)]
    assert len(frames.remarks) == 1 and "2.jpg: cannot be decoded" in frames.remarks[0]


def test_images_of_twelve_bits_are_stretched_and_it_is_said(tmp_path):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((6, 7), 2047, np.uint16) + np.uint16(np.eye(6, 7)))
    frames = Frames(str(tmp_path))
    assert all(round(frame.image.mean()) in (127, 128) for frame in frames)
    assert frames.remarks == ["0.png uses 12 of its 16 bits: stretched, like those that follow"]


@pytest.mark.parametrize("values", [[0, 255.0], [-1, 1.0], [0, np.nan]])
def test_floats_of_another_range_are_refused(values):
    with pytest.raises(DataError, match="expected 0 to 1"):
        as_rgb(np.full((4, 5, 3), 0.5) * np.resize(values, (4, 5, 1)) * 2)


def test_a_folder_says_what_it_holds(tmp_path):
    for make, expected in (
        (lambda: None, "holds no image: it is empty: expected .png"),
        (lambda: (tmp_path / "a.txt").touch(), r"it has 1 files \(.txt\)"),
        (lambda: (tmp_path / "drive").mkdir(), "it has 1 folders: give one of them, or a .txt file"),
        (lambda: video(tmp_path / "a.mp4", 2), "it has 1 videos: give one of them, or a .txt file"),
    ):
        make()
        with pytest.raises(DataError, match=expected):
            Frames(str(tmp_path))
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((6, 7, 3), np.uint8))
    with pytest.raises(DataError, match="a.png: has the name of a.jpg"):
        Frames(str(tmp_path))
    with pytest.raises(DataError, match="is an address: expected a file; download"):
        Frames("https://example.com/drive.webm?x")
