"""Parallax: nothing for a camera that stands or only turns, much for one that drives."""

import os

import cv2
import numpy as np
import pytest
from scene_files import write_scene

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.files.calibration import Camera
from glnet_tf.data.preparation import parallax as measure
from glnet_tf.data.preparation.parallax import (
    MAX_STRIDE,
    GreyReader,
    distant_frames,
    parallax,
    scene_parallax,
    static_snippets,
)
from glnet_tf.street.street import Street

HEIGHT, WIDTH = 64, 208


@pytest.fixture(scope="module")
def street() -> Street:
    return Street(0, 3, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def grey(street) -> list[np.ndarray]:
    return [cv2.cvtColor(street.frame(number).image, cv2.COLOR_RGB2GRAY) for number in range(3)]


def turned(image: np.ndarray, intrinsics: np.ndarray, degrees: tuple[float, float, float]) -> np.ndarray:
    """What the camera sees after it turned about x, y and z: the image warped by K R K^-1."""
    rotation = cv2.Rodrigues(np.radians(degrees))[0]
    homography = intrinsics @ rotation @ np.linalg.inv(intrinsics)
    size = (image.shape[1], image.shape[0])
    return cv2.warpPerspective(image, homography, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def test_a_driving_camera(street, grey):
    known = [parallax(a, b, street.intrinsics) for a, b in zip(grey, grey[1:])]
    assert min(known) > 4
    assumed = [parallax(a, b) for a, b in zip(grey, grey[1:])]
    np.testing.assert_allclose(assumed, known, rtol=0.3)


def test_it_grows_with_the_distance(street, grey):
    near, far = (parallax(grey[0], image, street.intrinsics) for image in grey[1:])
    assert 1.4 < far / near < 2.8


def test_equal_frames(grey):
    assert parallax(grey[0], grey[0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("degrees", [(0, 2, 0), (0, -5, 0), (1, 0, 0), (0, 0, 3), (0.5, 3, -1)])
def test_a_camera_that_turns_and_does_not_move(street, grey, degrees):
    after = turned(grey[0], street.intrinsics, degrees)
    assert parallax(grey[0], after, street.intrinsics) < 0.7


def test_a_wrong_field_of_view_leaves_little_of_a_turn(street, grey):
    after = turned(grey[0], street.intrinsics, (0, 2, 0))  # more than 30 thousandths of flow
    assert parallax(grey[0], after) < 2


def test_a_standing_camera_with_noise_and_a_car_that_drives_through(grey):
    rng = np.random.default_rng(0)
    frames = []
    for left in (60, 70):
        image = grey[0].copy()
        image[20:60, left : left + 80] = grey[1][20:60, 60:140]  # a quarter of the view moves by 10 px
        frames.append(np.clip(image + rng.normal(0, 1, image.shape), 0, 255).astype(np.uint8))
    assert parallax(*frames) < 0.3


def test_frames_are_read_small_whatever_their_format(tmp_path, street):
    image = cv2.resize(street.frame(0).image, (832, 256))
    intrinsics = np.array([[800, 0, 415.5], [0, 800, 127.5], [0, 0, 1]])
    small = []
    for name in ("0.jpg", "1.png"):
        cv2.imwrite(str(tmp_path / name), image)
        reader = GreyReader([str(tmp_path / name)], Camera(intrinsics), used_rows=0.75)
        small.append(reader(str(tmp_path / name)))
        np.testing.assert_allclose(reader.intrinsics[:2], [[200, 0, 103.5], [0, 200, 31.5]])
    assert small[0].shape == small[1].shape == (48, 208)
    assert np.abs(small[0].astype(int) - small[1]).mean() < 2


def test_frames_are_read_without_their_distortion(tmp_path, street):
    """What a lens spreads, towards the edge, its coefficients take back, whatever the size at which it is read."""
    image = cv2.resize(street.frame(0).image, (832, 256))
    K, coefficients = np.array([[400, 0, 415.5], [0, 400, 127.5], [0, 0, 1]], float), np.array([0.1, 0.02, 0, 0, 0])
    y, x = np.mgrid[:256, :832].astype(np.float32)
    places = cv2.undistortPoints(np.stack([x, y], -1).reshape(-1, 1, 2), K, coefficients, None, None, K)
    distorted = cv2.remap(image, places.reshape(256, 832, 2), None, cv2.INTER_LINEAR)
    files = [str(tmp_path / name) for name in ("straight.png", "spread.png")]
    for file, content in zip(files, (image, distorted)):
        cv2.imwrite(file, content)
    straight, spread = (GreyReader(files)(file).astype(float)[8:-8, 26:-26] for file in files)
    taken_out = GreyReader(files, Camera(K, coefficients))(files[1]).astype(float)[8:-8, 26:-26]
    assert np.abs(taken_out - straight).mean() < 0.3 * np.abs(spread - straight).mean()


def write_street(folder, street, numbers=(0, 0, 0, 1, 2)):
    folder.mkdir()
    for position, number in enumerate(numbers):
        cv2.imwrite(str(folder / f"{position}.png"), street.frame(number).image[..., ::-1])
    return [str(folder / f"{position}.png") for position in range(len(numbers))]


def test_a_scene_is_measured_once(tmp_path, street, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 2)
    files = write_street(tmp_path / "a", street)
    cache = tmp_path / "cache"
    steps = scene_parallax(files, cache_dir=str(cache))
    assert steps.shape == (4,) and max(steps[:2]) < 0.1 and min(steps[2:]) > 4
    assert len(list(cache.rglob("*.npy"))) == 2
    np.testing.assert_array_equal(scene_parallax(files), steps)  # without a cache
    next(cache.rglob("*.npy")).write_bytes(b"damaged")
    np.testing.assert_array_equal(scene_parallax(files, cache_dir=str(cache)), steps)
    with monkeypatch.context() as patch:
        patch.setattr(measure, "parallax", None)  # nothing is left to measure
        np.testing.assert_array_equal(scene_parallax(files, cache_dir=str(cache)), steps)
    os.utime(files[4], ns=(0, 0))
    monkeypatch.setattr(measure, "parallax", lambda *_: 7.0)
    np.testing.assert_array_equal(scene_parallax(files, cache_dir=str(cache)), [*steps[:2], 7, 7])


def test_an_unreadable_frame_has_no_parallax(tmp_path, street):
    files = write_street(tmp_path / "a", street)
    (tmp_path / "a" / "3.png").write_bytes(b"nothing")
    assert np.isnan(scene_parallax(files)).tolist() == [False, False, True, True]
    assert scene_parallax(files[:1]).shape == scene_parallax([]).shape == (0,)


@pytest.mark.parametrize(
    ("stride", "least", "static"),
    [
        (1, 1.0, [True, True, False, False]),
        (1, 0.1, [False, False, False, False]),
        (2, 1.0, [True, False]),  # 0.9 and 2.1, then the unknown
        (2, 0.5, [False, False]),
    ],
)
def test_snippets_without_parallax_between_neighbours(stride, least, static):
    steps = np.array([0.5, 0.4, 2.0, 0.1 if stride == 2 else np.nan, np.nan])
    middle = np.arange(stride, 6 - stride)[:, np.newaxis]
    assert static_snippets(middle + stride * np.array([-1, 0, 1]), steps, least).tolist() == static


def test_distant_frames():
    steps = np.array([1, 1, 1, 4, 0, 1, np.nan, 1, 5])
    back, forth = distant_frames(steps, 3).T
    assert forth.tolist() == [3, 3, 2, 1, 5, 4, 3, 2, 1, 1]
    assert back.tolist() == [1, 1, 2, 3, 1, 2, 3, 4, 5, 1]
    assert distant_frames(np.zeros(99), 3).max() == MAX_STRIDE
    np.testing.assert_array_equal(distant_frames(np.zeros(0), 3), [[1, 1]])


def test_the_frames_of_a_snippet_are_as_far_apart_as_asked_for(tmp_path, street):
    write_street(tmp_path / "a", street, (0, 0, 0, 1, 1, 1, 2, 2, 2))
    known = parallax(*(cv2.cvtColor(street.frame(number).image, cv2.COLOR_RGB2GRAY) for number in (0, 1)))
    config = DataConfig(target_parallax=known / 2, cache_dir="")
    source = FolderSource(tmp_path / "a", part="all", config=config)
    assert [source.labels(index) for index in (2, 3)] == [
        tuple(f"a/{number}" for number in numbers) for numbers in ((2, 3, 6), (2, 4, 6))
    ]


@pytest.mark.parametrize(("part", "middles"), [("train", [1, 2]), ("all", [1, 2, 3])])
def test_static_snippets_are_left_out_of_training_and_told(tmp_path, street, part, middles):
    write_street(tmp_path / "a", street, (2, 1, 0, 0, 0) if part == "all" else (0, 1, 2, 1, 1))
    config = DataConfig(min_parallax=1.0, cache_dir=str(tmp_path / "cache"))
    source = FolderSource(tmp_path / "a", part=part, config=config)
    assert [source.label(index) for index in range(len(source))] == [f"a/{middle}" for middle in middles]
    line = "a: 1 snippets left out as static (parallax below 1 thousandth of the width)"
    assert source.skipped == ((line,) if part == "train" else ())


def test_small_images_of_one_value_have_no_parallax(tmp_path):
    files = write_scene(tmp_path / "a", [7, 7])
    assert scene_parallax(files).tolist() == [0]
