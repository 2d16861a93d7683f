"""Videos as devices write them: mirrored, in HDR, interlaced, cut, joined, of changing sizes, with their own delays."""

from __future__ import annotations

import gc
import subprocess
from pathlib import Path

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from glnet_tf.data.datasets.video import extract_frames
from glnet_tf.data.files.cuts import is_cut
from glnet_tf.data.files.image_names import image_files
from glnet_tf.data.files.video import Video
from glnet_tf.data.frames import Frames
from glnet_tf.street.street import Street

SIZE = (48, 64)


def texture(seed: int, size: tuple[int, int] = SIZE, grain: int = 8) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (size[0] // grain, size[1] // grain, 3)).astype(np.float32)
    return np.uint8(np.clip(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC), 0, 255))


def write(file: Path, images: list[np.ndarray], rate: int = 25, codec: str = "mpeg4", pixels: str = "yuv420p", **set_):
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=set_.pop("options", None))
        first = images[0]
        stream.height, stream.width = (
            (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
        )
        stream.pix_fmt, stream.bit_rate = pixels, 4_000_000
        for name, value in set_.items():
            setattr(stream.codec_context, name, value)
        for image in images:
            frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def ffmpeg(*arguments: object) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


def read(file: Path) -> list:
    with Video(file) as video:
        return list(video)


@pytest.mark.parametrize(
    "options, upright",
    [
        (["-display_rotation", "0", "-display_hflip"], lambda x: x[:, ::-1]),
        (["-display_rotation", "0", "-display_vflip"], lambda x: x[::-1]),
        (["-display_rotation", "90"], np.rot90),
    ],
)
def test_mirrored_videos_are_shown_as_they_say(tmp_path, options, upright):
    image = texture(0)
    write(tmp_path / "a.mp4", [image] * 3)
    ffmpeg(*options, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    for frame in read(tmp_path / "b.mp4"):
        assert np.abs(frame.image.astype(int) - upright(image)).mean() < 12


def test_interlaced_frames_lose_their_combs(tmp_path):
    """A bar that moves by 8 columns between the two moments whose rows a frame weaves."""
    woven = []
    for step in range(6):
        moments = [np.full((64, 96, 3), 30, np.uint8) for _ in range(2)]
        for moment, picture in enumerate(moments):
            picture[:, 10 + 12 * step + 6 * moment :][:, :10] = 220
        frame = moments[0]
        frame[1::2] = moments[1][1::2]
        woven.append(frame)

    def combs(image: np.ndarray) -> float:
        grey = image[..., 0].astype(int)
        between = np.minimum(grey[:-2] - grey[1:-1], grey[2:] - grey[1:-1])
        return float((np.abs(between) > 60).mean())

    flags = ["-flags", "+ildct+ilme", "-field_order", "tt"]
    write(tmp_path / "a.mkv", woven, codec="ffv1", pixels="bgr0")
    ffmpeg("-i", tmp_path / "a.mkv", "-vf", "setfield=tff", "-c:v", "mpeg2video", "-q:v", 1, *flags, tmp_path / "b.ts")
    found = read(tmp_path / "b.ts")
    assert len(found) == 6 and combs(woven[2]) > 0.02
    assert max(combs(frame.image) for frame in found) < 0.25 * combs(woven[2])
    assert np.all(np.diff([frame.time for frame in found]) > 0.03)
    ffmpeg("-i", tmp_path / "a.mkv", "-c:v", "mpeg2video", "-q:v", 1, tmp_path / "progressive.ts")
    assert combs(read(tmp_path / "progressive.ts")[2].image) > 0.5 * combs(woven[2])


def test_hdr_becomes_ordinary_colours(tmp_path):
    """Grey of HLG's signal 0.75, the white of ordinary pictures there, is white, and half of that no half."""
    for name, transfer in (("hlg", 18), ("sdr", 1)):
        images = []
        for level in (0.75, 0.75, 0.375, 0.375):
            plane = np.full((48 * 3 // 2, 64), 512, np.uint16)
            plane[:48] = round(64 + level * 876)
            frame = av.VideoFrame.from_ndarray(plane, format="yuv420p10le")
            frame.color_trc, frame.color_primaries, frame.colorspace = transfer, 9, 9
            images.append(frame)
        write(
            tmp_path / f"{name}.mkv", images, codec="ffv1", pixels="yuv420p10le", color_trc=transfer,
            color_primaries=9, colorspace=9,
        )  # fmt: skip
    hlg, sdr = ([frame.image.mean() for frame in read(tmp_path / f"{name}.mkv")] for name in ("hlg", "sdr"))
    np.testing.assert_allclose(sdr, [191, 191, 96, 96], atol=2)
    assert len(hlg) == 4 and min(hlg[:2]) > 210 and 90 < max(hlg[2:]) < min(hlg[:2]) - 40


def test_a_cut_ends_a_path_and_driving_flicker_and_black_do_not(tmp_path):
    street = Street(0, 6, 96, 160)
    drive = [street.frame(number).image for number in range(6)]
    other = [Street(5, 4, 96, 160, style="country").frame(number).image for number in range(4)]
    flicker = [np.uint8(np.clip(image * factor, 0, 255)) for image, factor in zip(drive, (1, 0.7, 1, 1.2, 0.6, 1))]
    black = [np.zeros((96, 160, 3), np.uint8)] * 4
    write(tmp_path / "a.mp4", [*black, *flicker, *other], rate=10)
    frames = Frames(str(tmp_path / "a.mp4"))
    assert [frame.scene for frame in frames] == [0] * 4 + [1] * 6 + [2] * 4
    assert frames.remarks == [
        f"a cut before {place}: another path begins" for place in ("000004 (0.40 s)", "000010 (1.00 s)")
    ]
    note = extract_frames(tmp_path / "a.mp4", tmp_path / "kept")
    assert note.holes == ["a cut before 0.40 s", "a cut before 1.00 s"]
    names = [Path(file).stem for file in image_files(tmp_path / "kept")]
    assert names[3:6] == ["000003", "000005", "000006"] and len(names) == 14


def test_cuts_are_not_looked_for_in_time_lapses(tmp_path):
    write(tmp_path / "a.mp4", [texture(number) for number in range(5)], rate=2)
    assert [frame.gap for frame in read(tmp_path / "a.mp4")] == [""] * 5


def test_joined_videos_whose_clock_starts_again(tmp_path):
    write(tmp_path / "a.ts", [texture(0)] * 6, codec="mpeg2video")
    (tmp_path / "b.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    found = read(tmp_path / "b.ts")
    assert [frame.gap for frame in found] == [""] * 6 + ["the clock starts again"] + [""] * 5
    np.testing.assert_allclose([frame.time for frame in found], np.arange(12) / 25, atol=1e-3)


def test_a_change_of_size_begins_another_path(tmp_path):
    for name, size in (("a", SIZE), ("b", SIZE[::-1])):
        write(tmp_path / f"{name}.ts", [texture(0, size)] * 4, codec="mpeg2video")
    (tmp_path / "c.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    frames = Frames(str(tmp_path / "c.ts"))
    found = [(frame.scene, frame.image.shape[:2]) for frame in frames]
    assert set(found[:3]) == {(0, SIZE)} and set(found[-3:]) == {(1, SIZE[::-1])} and len(set(found)) == 2
    assert any("on frames are 48x64: another path begins" in remark for remark in frames.remarks)
    note = extract_frames(tmp_path / "c.ts", tmp_path / "kept")
    assert note.frames in (3, 4) and note.holes[-1] == "4 frames are not 64x48 as the first one"


def test_delays_of_a_gif_are_its_own(tmp_path):
    images = [Image.fromarray(texture(number)) for number in range(4)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[40, 2000, 40, 40])
    found = read(tmp_path / "a.gif")
    assert not any(frame.gap for frame in found) and found[2].time > 2


def test_what_has_an_unusual_suffix_or_no_pictures(tmp_path):
    write(tmp_path / "a.mkv", [texture(0)] * 3)
    (tmp_path / "a.mkv").rename(tmp_path / "a.rec")
    assert len(list(Frames(str(tmp_path / "a.rec")))) == 3
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nwords\n")
    with pytest.raises(Exception, match=r"a.srt: holds no pictures: expected a video"):
        Frames(str(tmp_path / "a.srt"))


@pytest.mark.parametrize(
    "names, scenes, times",
    [
        (["cam_20251127_115930", "cam_20251127_120000", "cam_20251127_120030"], [0, 0, 0], [0, 30, 60]),
        (["IMG_20251127_101158", "IMG_20251127_101200", "IMG_20251127_101203"], [0, 0, 0], [0, 2, 5]),
        (["20251127_101158", "20251127_101200", "20251127_101202", "20251127_111202"], [0, 0, 0, 1], [0, 2, 4, 3604]),
        (["20251127_101112_001", "20251127_101112_002", "20251127_101112_004"], [0, 0, 1], [0, 0.1, 0.2]),
    ],
)
def test_names_with_a_clock(tmp_path, names, scenes, times):
    for name in names:
        Image.fromarray(texture(0)).save(tmp_path / f"{name}.png")
    frames = Frames(str(tmp_path))
    found = list(frames)
    assert [frame.scene for frame in found] == scenes
    np.testing.assert_allclose([frame.time for frame in found], times)
    assert bool(frames.remarks) == bool(scenes[-1]) and all("a gap in the numbers before" in x for x in frames.remarks)


def test_is_cut_knows_a_turn_from_a_cut():
    place = cv2.cvtColor(texture(3, (96, 640), grain=3), cv2.COLOR_RGB2GRAY)
    before, turned, elsewhere = (np.ascontiguousarray(place[:, start : start + 208]) for start in (100, 112, 400))
    assert not is_cut(before, turned) and is_cut(before, elsewhere)


def test_frames_are_freed_as_they_are_read(tmp_path):
    write(tmp_path / "a.mp4", [texture(0)] * 40)
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    gc.collect()
    gc.disable()
    try:
        with Video(tmp_path / "b.mp4") as video:
            assert sum(1 for _ in video) == 40
            assert sum(isinstance(x, av.VideoFrame) for x in gc.get_objects()) < 10
    finally:
        gc.enable()
