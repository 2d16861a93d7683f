"""Frames are chosen by how far the camera has moved since the last chosen one, and no gap is bridged."""

import numpy as np
import pytest
from PIL import Image

from glnet_tf.data.datasets.scenes import Scene
from glnet_tf.data.files.image_names import uninterrupted_runs
from glnet_tf.data.preparation import parallax, selection
from glnet_tf.data.preparation.parallax import GreyReader
from glnet_tf.data.preparation.selection import choose_frames, number_frames


def choose(monkeypatch, tmp_path, places, least=1.0, target=0.0, runs=None):
    """Chooses from frames whose grey value is the camera's place, in thousandths of parallax."""
    tmp_path.mkdir(exist_ok=True)
    files = tuple(str(tmp_path / f"{number}.png") for number in range(len(places)))
    for file, place in zip(files, places):
        Image.fromarray(np.full((4, 4), place, np.uint8)).save(file)
    for module in (selection, parallax):
        monkeypatch.setattr(module, "parallax", lambda a, b, _: abs(float(a[0, 0]) - float(b[0, 0])))
    reasons, chosen = choose_frames(Scene("a", files, "a"), np.array(runs or [0] * len(files)), least, target)
    return [reason.split(":")[0] for reason in reasons], chosen.tolist()


def test_static_frames_and_those_of_a_high_rate_are_left_out(monkeypatch, tmp_path):
    reasons, runs = choose(monkeypatch, tmp_path, [0, 0, 0, 2, 4, 6, 9, 9, 20], least=1, target=5)
    assert reasons == ["", "static", "static", "sub-sampled", "sub-sampled", "", "sub-sampled", "sub-sampled", ""]
    assert runs == [0, -1, -1, -1, -1, 0, -1, -1, 0]


def test_slow_motion_adds_up_and_noise_does_not(monkeypatch, tmp_path):
    reasons, _ = choose(monkeypatch, tmp_path / "slow", [0, 1, 2, 3, 4, 5, 6], least=3)
    assert reasons == ["", "static", "static", "", "static", "static", ""]
    reasons, _ = choose(monkeypatch, tmp_path / "noise", [0, 1, 0, 1, 0, 1, 0], least=2)
    assert reasons == [""] + ["static"] * 6


def test_all_frames_are_kept_without_a_threshold(monkeypatch, tmp_path):
    assert choose(monkeypatch, tmp_path, [0, 0, 0], least=0) == (["", "", ""], [0, 0, 0])


def test_a_new_run_begins_with_a_frame(monkeypatch, tmp_path):
    reasons, runs = choose(monkeypatch, tmp_path, [0, 5, 5, 9, 9], runs=[0, 0, 1, 1, -1])
    assert reasons == ["", "", "", "", "unreadable"] and runs == [0, 0, 1, 1, -1]


def test_an_image_that_cannot_be_decoded_ends_a_run(monkeypatch, tmp_path):
    monkeypatch.setattr(GreyReader, "__call__", lambda self, file, read=GreyReader.__call__: decoded(read(self, file)))
    reasons, runs = choose(monkeypatch, tmp_path, [0, 5, 255, 15, 20])
    assert reasons == ["", "", "unreadable", "", ""] and runs == [0, 0, -1, 1, 1]


def decoded(image):
    return None if image[0, 0] == 255 else image


def test_a_long_stop_is_a_gap(monkeypatch, tmp_path):
    monkeypatch.setattr(selection, "MAX_STRIDE", 3)
    _, runs = choose(monkeypatch, tmp_path, [0, 2, 2, 2, 4, 4, 4, 4, 8])
    assert runs == [0, 0, -1, -1, 0, -1, -1, -1, 1]


@pytest.mark.parametrize(
    ("runs", "numbers"),
    [
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([0, -1, 0, 0], [0, -1, 1, 2]),
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 4, 5, 6]),
        ([0, 0, 1, 2, 2, 2], [-1, -1, -1, 0, 1, 2]),
        ([-1, 0, 1], [-1, -1, -1]),
        ([], []),
    ],
)
def test_numbers_leave_gaps_where_runs_end(runs, numbers):
    assert number_frames(runs) == numbers
    kept = [number for number in numbers if number >= 0]
    found = uninterrupted_runs([f"{number:06d}.jpg" for number in kept], np.ones(len(kept), bool))
    expected = [run for run, number in zip(runs, numbers) if number >= 0]
    np.testing.assert_array_equal(np.diff(found) > 0, np.diff(expected) > 0)
