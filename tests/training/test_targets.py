"""Targets of single frames: computed once, in an order that a resumed run finds again, changed with their images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import glnet_tf
from glnet_tf.config import DataConfig, StreetConfig
from glnet_tf.data.sources import open_source
from glnet_tf.errors import DataError
from glnet_tf.training import targets
from glnet_tf.training.targets import Targets, make_targets, order_of_epoch, target_batches, whole_targets

HEIGHT, WIDTH = 32, 96
DATA = DataConfig(
    dataset="street",
    street=StreetConfig(streets=1, street_frames=8),
    image_height=HEIGHT,
    image_width=WIDTH,
    batch_size=2,
    zoom=0.3,
    colour=0.2,
)
MIDDLE_FRAMES = 6


@pytest.fixture
def source():
    return open_source(DATA, "all")


@pytest.fixture
def observed(monkeypatch) -> list[int]:
    """The teacher says that inverse depth is brightness; the numbers of the snippets that it was asked about."""
    asked: list[int] = []

    def brightness(_, window, size):
        grey = tf.reduce_mean(window.images[:, 1:-1], axis=-1)
        asked.extend(first + k for first in window.index.numpy().tolist() for k in range(grey.shape[1]))
        return tf.math.log(0.1 + grey), tf.ones_like(grey), tf.fill(grey.shape[:2], 0.5)

    monkeypatch.setattr(targets, "_targets", brightness)
    monkeypatch.setattr(targets, "MAX_RUN", 2)
    monkeypatch.setattr(targets.tf, "function", lambda function, **_: function)
    return asked


def test_they_are_computed_once_and_go_on_where_they_were_stopped(source, observed, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(targets, "write_json", lambda file, value: (file.write_text(str(value)), stopped()))
        with pytest.raises(KeyboardInterrupt):
            make_targets(None, "one", source, DATA, 1.5, tmp_path)
    assert observed == [0, 1]
    (group,) = make_targets(None, "one", source, DATA, 1.5, tmp_path)
    assert observed == list(range(MIDDLE_FRAMES)) and group.images.shape == (MIDDLE_FRAMES, 64, 160, 3)
    np.testing.assert_array_equal(group.shift, 0.5)
    (again,) = make_targets(None, "one", source, DATA, 1.5, tmp_path)
    assert len(observed) == MIDDLE_FRAMES
    np.testing.assert_array_equal(again.log_disparity, group.log_disparity)
    make_targets(None, "another", source, DATA, 1.5, tmp_path)
    assert len(observed) == 2 * MIDDLE_FRAMES
    load = source.load
    monkeypatch.setattr(source, "load", lambda index: tuple(x * y for x, y in zip(load(index), (1, 2, 1))))
    make_targets(None, "one", source, DATA, 1.5, tmp_path)
    assert len(observed) == 3 * MIDDLE_FRAMES  # K is another


def test_every_epoch_has_each_frame_once_in_batches_of_one_size():
    blank = np.zeros(0)
    groups = [
        Targets(blank, blank, blank, blank, (32, 96), np.arange(7)),
        Targets(*[blank] * 4, (64, 64), np.arange(4)),
    ]
    batches = order_of_epoch(groups, 2, 0, 0)
    for number, count in ((0, 6), (1, 4)):
        frames = [frame for group, part in batches for frame in part if group == number]
        assert len(frames) == len(set(frames)) == count
    following = order_of_epoch(groups, 2, 0, 1)
    assert [part.tolist() for _, part in batches] != [part.tolist() for _, part in following]


def test_targets_follow_their_images_and_a_resumed_stream_is_the_rest_of_the_whole(source, observed, tmp_path):
    (group,) = make_targets(None, "one", source, DATA, 1.5, tmp_path)
    data = DataConfig(batch_size=2, zoom=0.3, colour=0.0)
    whole = list(target_batches([group], data, 0, 0).take(5))
    for (images, found), (rest, also) in zip(whole[2:], target_batches([group], data, 0, 2).take(3)):
        np.testing.assert_array_equal(images, rest)
        np.testing.assert_array_equal(found.log_disparity, also.log_disparity)
    zooms = set()
    for images, found in whole:
        assert images.shape == (2, HEIGHT, WIDTH, 3)
        # What is left of the teacher's rule is the shift and the zoom, the same for a whole image.
        rule = found.log_disparity - tf.math.log(0.1 + tf.reduce_mean(images, axis=-1, keepdims=True)) - 0.5
        of_image = np.median(rule, axis=(1, 2, 3))
        assert np.all((of_image > -0.02) & (of_image < np.log(1.3) + 0.02))
        assert np.mean(np.abs(rule - of_image[:, np.newaxis, np.newaxis, np.newaxis])) < 0.03
        zooms.update(of_image.round(3).tolist())
    assert len(zooms) > 5
    image, found = next(whole_targets([group], 1))
    assert image.shape == (1, HEIGHT, WIDTH, 3) and found.weight.shape == (1, HEIGHT, WIDTH, 1)


def test_too_few_frames_for_a_batch_are_named(source, observed, tmp_path):
    (group,) = make_targets(None, "one", source, DATA, 1.5, tmp_path)
    with pytest.raises(DataError, match="--batch_size=8"):
        target_batches([group], DataConfig(batch_size=8), 0, 0)


def test_rows_that_are_done_are_read_from_a_whole_file_or_not_at_all(source, observed, tmp_path):
    make_targets(None, "one", source, DATA, 1.5, tmp_path)
    (file,) = tmp_path.glob("*/*_log_disparity.npy")
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:20], b"", whole.replace(b"<f2", b"<i2")):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"{file.name}: .*; remove {file.parent}"):
            make_targets(None, "one", source, DATA, 1.5, tmp_path)


def test_runs_cover_every_snippet_and_never_leave_a_video(source):
    two = open_source(dataclasses.replace(DATA, street=StreetConfig(streets=2, street_frames=8)), "all")
    found = targets.runs(two, range(len(two)))
    assert found == [list(range(6)), list(range(6, 12))]
    assert targets.runs(source, [0, 1, 3, 4]) == [[0, 1], [3, 4]]
    long = open_source(dataclasses.replace(DATA, street=StreetConfig(streets=1, street_frames=10)), "all")
    assert targets.runs(long, range(len(long))) == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7]]


@pytest.mark.slow
def test_frames_seen_together_have_the_targets_of_snippets(tmp_path, monkeypatch):
    data = dataclasses.replace(DATA, image_height=96, image_width=320)
    source = open_source(data, "all")
    model = glnet_tf.load("street-lite")
    (together,) = make_targets(model, "one", source, data, 1.5, tmp_path / "together")
    monkeypatch.setattr(targets, "MAX_RUN", 1)
    (alone,) = make_targets(model, "one", source, data, 1.5, tmp_path / "alone")
    assert together.weight.mean() > 1
    np.testing.assert_array_equal(together.images, alone.images)
    # Batches of another size round in another way, which a few pixels feel.
    assert (np.abs(together.weight.astype(int) - alone.weight) > 2).mean() < 1e-3
    sure = alone.weight > 25
    np.testing.assert_allclose(together.log_disparity[sure], alone.log_disparity[sure], atol=0.03)
