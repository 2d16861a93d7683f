from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from glnet_tf.config import DataConfig
from glnet_tf.data import pipeline
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.pipeline import batches, missing_positions, read_snippet, resize, stream
from glnet_tf.data.source import snippet_index
from glnet_tf.errors import DataError
from glnet_tf.structures import Snippet

SMALL = DataConfig(image_height=32, image_width=64, batch_size=3)


def write_frames(folder: Path, count: int, height: int = 40, width: int = 100) -> list[Path]:
    """Writes JPEGs of noise, so that a truncated one is really damaged and no two are equal."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return paths


@pytest.fixture
def source(tmp_path) -> FolderSource:
    write_frames(tmp_path, 10)  # 8 snippets
    (tmp_path / "cam.txt").write_text("80 0 49.5\n0 60 29.5\n0 0 1\n")
    return FolderSource(tmp_path)


def take(dataset: tf.data.Dataset, count: int) -> list:
    return list(dataset.take(count).as_numpy_iterator())


def test_stream_shapes_and_types(source):
    dataset = stream(source, SMALL, seed=0)
    snippet, positions = dataset.element_spec
    assert snippet.images.shape.as_list() == [3, 3, 32, 64, 3] and snippet.images.dtype == tf.float32
    assert snippet.intrinsics.shape.as_list() == [3, 3, 3] and snippet.intrinsics.dtype == tf.float32
    assert (snippet.camera.dtype, snippet.index.dtype, positions.dtype) == (tf.int32, tf.int64, tf.int64)
    snippet, positions = take(dataset, 1)[0]
    assert isinstance(snippet, Snippet) and positions.tolist() == [0, 1, 2]
    assert 0 <= snippet.images.min() < 0.2 and 0.8 < snippet.images.max() <= 1


def test_a_stream_from_a_position_equals_the_rest_of_one_from_the_start_bit_for_bit(source):
    whole = take(stream(source, SMALL, seed=5), 9)
    resumed = take(stream(source, SMALL, seed=5, start=5 * 3), 4)
    for (snippet, positions), (again, positions_again) in zip(whole[5:], resumed):
        np.testing.assert_array_equal(positions, positions_again)
        for before, after in zip(snippet, again):
            np.testing.assert_array_equal(before, after)


def test_seeds_change_order_and_augmentation(source):
    first, second = (take(stream(source, SMALL, seed=seed), 4) for seed in (0, 1))
    assert [s.index.tolist() for s, _ in first] != [s.index.tolist() for s, _ in second]
    still = take(stream(source, SMALL, seed=0, augmented=False), 4)
    assert [s.index.tolist() for s, _ in first] == [s.index.tolist() for s, _ in still]
    assert any(np.abs(a.images - b.images).max() > 0.01 for (a, _), (b, _) in zip(first, still))


def test_every_epoch_has_every_snippet_once_in_an_order_of_its_own(source):
    order = np.concatenate([s.index for s, _ in take(stream(source, SMALL, seed=0), 8)]).reshape(3, 8)
    for epoch in order:
        assert sorted(epoch) == list(range(8))
    assert len({tuple(epoch) for epoch in order}) == 3
    assert order.ravel().tolist() == [int(snippet_index(p, 0, 8)) for p in range(24)]


@pytest.mark.parametrize("size", [1, 2, 3, 97])
def test_snippet_index_permutes_sources_of_any_size(size):
    assert sorted(int(snippet_index(3 * size + p, 7, size)) for p in range(size)) == list(range(size))


def test_an_image_that_spoils_later_costs_only_its_snippets_which_are_told(tmp_path):
    paths = write_frames(tmp_path, 10)
    intact = list(batches(FolderSource(tmp_path), SMALL))
    source = FolderSource(tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:-1500])
    assert len(source) == 8 and len(FolderSource(tmp_path)) == 5  # one that is opened now knows
    assert f"{paths[4]}: not an image, or damaged" in FolderSource(tmp_path).skipped
    kept = {0, 1, 5, 6, 7}  # snippets 2, 3 and 4 hold frame 4
    images = {int(i): x for batch in batches(source, SMALL) for i, x in zip(batch.index, batch.images.numpy())}
    assert set(images) == kept
    for batch in intact:
        for index, expected in zip(batch.index.numpy(), batch.images.numpy()):
            if index in kept:
                np.testing.assert_array_equal(images[int(index)], expected)
    expected_start, missing, present = 0, [], []
    for snippet, positions in take(stream(source, SMALL, seed=0), 10):
        missing += missing_positions(expected_start, positions)
        present += positions.tolist()
        expected_start = positions[-1] + 1
        assert len(positions) == 3 and set(snippet.index.tolist()) <= kept
    assert sorted(missing + present) == list(range(expected_start))
    assert {int(snippet_index(position, 0, 8)) for position in missing} == {2, 3, 4}
    assert all(str(paths[4]) in source.files(int(snippet_index(position, 0, 8))) for position in missing)


def test_missing_positions_by_hand():
    assert missing_positions(4, np.array([5, 6, 9])) == [4, 7, 8]
    assert missing_positions(4, np.array([4, 5, 6])) == []


def test_a_stream_without_one_good_snippet_is_an_error_and_no_endless_wait(tmp_path):
    paths = write_frames(tmp_path, 3)
    source = FolderSource(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-1500])
    with pytest.raises(DataError, match=r"none of its 1 snippets can be decoded.*0001.jpg.*extract them again"):
        stream(source, SMALL, seed=0)


def test_a_stream_ends_where_all_images_vanish_while_it_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "MAX_READ_AHEAD", 50)
    paths = write_frames(tmp_path, 10)
    snippets = iter(stream(FolderSource(tmp_path), SMALL, seed=0))
    for path in paths[1:7]:
        path.unlink()
    # One of eight snippets is left, and comes for ever.
    assert [7] * 3 in [batch.index.numpy().tolist() for batch, _ in (next(snippets) for _ in range(60))]
    paths[8].unlink()
    assert len(list(snippets)) < 60


def test_batches_are_in_order_and_the_last_one_is_smaller(source):
    dataset = batches(source, SMALL)
    assert [batch.index.numpy().tolist() for batch in dataset] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    chosen = list(batches(source, SMALL, [6, 1]))
    assert [batch.index.numpy().tolist() for batch in chosen] == [[6, 1]]
    np.testing.assert_array_equal(chosen[0].images[1], list(dataset)[0].images[1])
    assert not list(batches(source, SMALL, []))


def test_intrinsics_follow_the_resize_exactly(source):
    snippet = read_snippet(source, SMALL, tf.constant(0, tf.int64))
    # 100x40 to 64x32: fx 80 * 0.64, cx (49.5 + 0.5) * 0.64 - 0.5; fy 60 * 0.8, cy (29.5 + 0.5) * 0.8 - 0.5
    np.testing.assert_allclose(snippet.intrinsics, [[51.2, 0, 31.5], [0, 48, 23.5], [0, 0, 1]], rtol=1e-6)


def test_intrinsics_of_a_stream_are_resized_or_resized_and_mirrored(source):
    cx = np.concatenate([s.intrinsics[:, 0, 2] for s, _ in take(stream(source, SMALL, seed=0), 8)])
    cy = np.concatenate([s.intrinsics[:, 1, 2] for s, _ in take(stream(source, SMALL, seed=0), 8)])
    np.testing.assert_allclose(cx, 31.5, rtol=1e-6)  # in the middle, so its own mirror image
    np.testing.assert_allclose(cy, 23.5, rtol=1e-6)


def test_an_off_centre_principal_point_is_mirrored_with_its_images(tmp_path):
    write_frames(tmp_path, 5)
    (tmp_path / "cam.txt").write_text("80 0 24.5\n0 60 29.5\n0 0 1\n")  # cx = 25 * 0.64 - 0.5 = 15.5
    source = FolderSource(tmp_path)
    config = DataConfig(image_height=32, image_width=64, batch_size=1, colour=0.0)
    still = {int(b.index[0]): b.images.numpy()[0] for b in batches(source, config)}
    seen = set()
    for snippet, _ in take(stream(source, config, seed=0), 12):
        mirrored = not np.array_equal(snippet.images[0], still[int(snippet.index[0])])
        seen.add(mirrored)
        expected = still[int(snippet.index[0])]
        np.testing.assert_array_equal(snippet.images[0], expected[:, :, ::-1] if mirrored else expected)
        np.testing.assert_allclose(snippet.intrinsics[0, 0, 2], 63 - 15.5 if mirrored else 15.5, rtol=1e-6)
    assert seen == {True, False}


def test_a_zoomed_stream_shows_parts_at_the_size_of_the_others_and_keeps_rays(tmp_path):
    ramp = np.tile(np.arange(200, dtype=np.uint8)[:, np.newaxis], (80, 1, 3))
    for number in range(3):
        Image.fromarray(ramp).save(tmp_path / f"{number}.png")
    (tmp_path / "cam.txt").write_text("150 0 90\n0 140 35\n0 0 1\n")
    config = DataConfig(image_height=32, image_width=64, batch_size=1, colour=0.0, flip=False, zoom=0.5)
    focal_lengths = []
    for snippet, _ in take(stream(FolderSource(tmp_path), config, seed=0), 12):
        focal, centre = snippet.intrinsics[0, 0, 0], snippet.intrinsics[0, 0, 2]
        ray = (snippet.images[0, 0, 16, 8:56, 0] * 255 - 90) / 150
        np.testing.assert_allclose(ray, (np.arange(8, 56) - centre) / focal, atol=0.5 / 150)
        focal_lengths.append(focal / 64 * 200 / 150)
    assert 1 <= min(focal_lengths) < 1.15 and 1.35 < max(focal_lengths) < 1.52
    unchanged = next(iter(stream(FolderSource(tmp_path), config, seed=0, augmented=False)))[0]
    np.testing.assert_allclose(unchanged.intrinsics[0, 0, 0], 150 * 64 / 200)


def test_unknown_intrinsics_stay_unknown(tmp_path):
    write_frames(tmp_path, 6)
    for snippet, _ in take(stream(FolderSource(tmp_path), SMALL, seed=0), 4):
        assert not snippet.intrinsics.any()


def test_shrinking_averages_areas():
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 128, 3), np.uint8)
    expected = frames.reshape(3, 32, 2, 64, 2, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(resize(tf.constant(frames), (32, 64)), expected, atol=1e-6)


@pytest.mark.parametrize("source_size", [(64, 160), (48, 48), (20, 200), (37, 111)])
def test_resize_moves_pixels_as_the_intrinsics_do(source_size):
    """A ramp of the coordinate (x + 0.5) / W has the same values at any size, up to the border."""
    height, width = source_size
    ramp = np.round((np.arange(width) + 0.5) / width * 255)
    frames = np.broadcast_to(ramp[None, None, :, None], (3, height, width, 3)).astype(np.uint8)
    resized = resize(tf.constant(frames), (32, 96)).numpy()
    expected = (np.arange(96) + 0.5) / 96
    np.testing.assert_allclose(resized[0, 5, 4:-4, 0], expected[4:-4], atol=0.004)


def test_images_of_the_right_size_are_not_resampled():
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), np.uint8)
    np.testing.assert_array_equal(resize(tf.constant(frames), (32, 64)), frames / np.float32(255))


def operations(graph_def) -> set[str]:
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize("make", [lambda s: stream(s, SMALL, seed=0), lambda s: batches(s, SMALL)])
def test_no_python_runs_in_the_pipeline(source, make):
    graph = tf.compat.v1.GraphDef.FromString(make(source)._as_serialized_graph().numpy())
    found = operations(graph)
    assert "DecodeImage" in found  # the loader is in the graph that is searched
    assert not {op for op in found if "PyFunc" in op}
