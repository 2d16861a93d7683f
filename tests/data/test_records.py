"""Records hold what the folder holds, in an order that depends on the seed and a position alone."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scene_files import K_TEXT
from test_pipeline import operations, write_frames

from glnet_tf.config import DataConfig
from glnet_tf.data.datasets import records as record_source
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.datasets.records import RecordsSource
from glnet_tf.data.files import records
from glnet_tf.data.files.records import write_records
from glnet_tf.data.pipeline import batches, missing_positions, stream
from glnet_tf.data.sources import open_source
from glnet_tf.errors import ConfigError, DataError

SMALL = DataConfig(image_height=32, image_width=64, batch_size=3)
COUNT = 13 + 5


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "SHARD", 4)
        patch.setattr(record_source, "GROUP", 2)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of two scenes, the source of all of its snippets, and its records: 4 shards of 4 and one of 2."""
    root = tmp_path_factory.mktemp("scenes")
    write_frames(root / "a", 15)
    for file in write_frames(root / "b", 7, 36, 80):
        Image.open(file).convert("L").save(file)
    (root / "a" / "cam.txt").write_text(K_TEXT)
    folder = FolderSource(root, part="all")
    out = tmp_path_factory.mktemp("records")
    assert write_records(folder, out) == 5
    return root, folder, out


@pytest.fixture
def copied(made, tmp_path):
    """Records to be spoilt."""
    for file in made[2].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def positions_and_indices(dataset, count):
    found = [(int(loaded.position), int(loaded.index)) for loaded in dataset.take(count)]
    return [position for position, _ in found], [index for _, index in found]


def test_the_same_snippets_as_the_folder(made):
    _, folder, out = made
    source = RecordsSource(out, part="all")
    assert len(source) == len(folder) == COUNT
    assert source.cameras == folder.cameras == ("a", "b") and not source.calibrated and not source.skipped
    for index in range(COUNT):
        for mine, expected in zip(source.load(tf.constant(index, tf.int64)), folder.load(tf.constant(index, tf.int64))):
            np.testing.assert_array_equal(mine, expected)
        assert source.label(index) == folder.label(index) and source.ground_truth(index) is None
    shard = sorted(out.glob("*.tfrecord"))[0]
    assert source.files(1) == (f"{shard}: a/0001.jpg", f"{shard}: a/0002.jpg", f"{shard}: a/0003.jpg")
    for mine, expected in zip(batches(source, SMALL, [17, 2]), batches(folder, SMALL, [17, 2])):
        for one, other in zip(mine, expected):
            np.testing.assert_array_equal(one, other)


def test_every_epoch_has_every_snippet_once_in_an_order_of_its_own(made):
    source = RecordsSource(made[2], part="all")
    positions, indices = positions_and_indices(source.ordered(0, 0), 3 * COUNT)
    assert positions == list(range(3 * COUNT))
    epochs = np.reshape(indices, (3, COUNT))
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert indices[::9] == [int(source.index_at(position, 0)) for position in positions[::9]]
    assert indices == positions_and_indices(RecordsSource(made[2], part="all").ordered(0, 0), 3 * COUNT)[1]
    tf.random.set_seed(1)
    assert indices == positions_and_indices(source.ordered(0, 0), 3 * COUNT)[1]
    assert indices != positions_and_indices(source.ordered(1, 0), 3 * COUNT)[1]
    for loaded in source.ordered(0, 0).take(4):
        np.testing.assert_array_equal(loaded.images, made[1].load(loaded.index)[0])


@pytest.mark.parametrize("start", [1, 7, COUNT - 1, COUNT, 2 * COUNT + 11])
def test_it_goes_on_exactly_from_any_position(made, start):
    source = RecordsSource(made[2], part="all")
    positions, indices = positions_and_indices(source.ordered(3, 0), 3 * COUNT)
    assert positions_and_indices(source.ordered(3, start), 3 * COUNT - start) == (positions[start:], indices[start:])


def test_wanted_positions_keep_their_snippets(made):
    source = RecordsSource(made[2], part="all")
    positions, indices = positions_and_indices(source.ordered(3, 1), 2 * COUNT)
    odd = source.ordered(3, 1, lambda position: position % 2 == 1)
    assert positions_and_indices(odd, COUNT) == (positions[::2], indices[::2])


def test_a_stream_of_batches_resumes_bit_for_bit(made):
    source = RecordsSource(made[2])
    whole = list(stream(source, SMALL, seed=5).take(7))
    for (snippet, positions), (again, same) in zip(whole[4:], stream(source, SMALL, seed=5, start=12).take(3)):
        np.testing.assert_array_equal(positions, same)
        for before, after in zip(snippet, again):
            np.testing.assert_array_equal(before, after)


def test_parts_and_scenes_are_those_of_the_folder(made):
    root, _, out = made
    for settings in ({"holdout_frames": 4}, {"holdout_frames": 5, "holdout_scenes": "b"}, {"split": "b"}):
        for part in ("train", "validation") if "split" not in settings else ("train",):
            configs = [
                DataConfig(dataset=kind, data_dir=str(place), **settings)
                for kind, place in (("folder", root), ("records", out))
            ]
            folder, source = (open_source(config, part) for config in configs)
            labels = [folder.label(index) for index in range(len(folder))]
            assert [source.label(index) for index in range(len(source))] == labels
            assert {source.label(i) for i in positions_and_indices(source.ordered(0, 0), len(source))[1]} == set(labels)


def test_joined_with_others(made):
    root, folder, out = made
    source = open_source(DataConfig(dataset="records,folder", data_dir=f"{out},{root}", split="b"), "train")
    assert len(source) == 10 and len({int(loaded.index) for loaded in source.ordered(0, 0).take(10)}) == 10


def test_no_python_runs_in_the_pipeline(made):
    dataset = stream(RecordsSource(made[2]), SMALL, seed=0)
    found = operations(tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy()))
    assert "DecodeImage" in found and "TFRecordDataset" in {name.removesuffix("V2") for name in found}
    assert not {op for op in found if "PyFunc" in op}


def test_shards_are_written_once_and_again_where_frames_change(made, tmp_path):
    root, _, _ = made
    copy = tmp_path / "scenes"
    write_frames(copy / "a", 15)
    out = tmp_path / "out"
    assert write_records(FolderSource(copy, part="all"), out) == 4
    index, names = (out / "index.json").read_bytes(), sorted(file.name for file in out.iterdir())
    assert write_records(FolderSource(copy, part="all"), out) == 0
    assert ((out / "index.json").read_bytes(), sorted(file.name for file in out.iterdir())) == (index, names)
    (out / names[1]).unlink()
    assert write_records(FolderSource(copy, part="all"), out) == 1
    assert sorted(file.name for file in out.iterdir()) == names
    (copy / "a" / "0014.jpg").write_bytes((root / "a" / "0000.jpg").read_bytes() + b" ")
    assert write_records(FolderSource(copy, part="all"), out) == 1
    assert len(list(out.iterdir())) == 5 and len(RecordsSource(out)) == 13


def test_a_damaged_shard_costs_its_snippets_which_are_told(copied):
    shard = sorted(copied.glob("*.tfrecord"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255  # in the third of four records
    shard.write_bytes(content)
    source = RecordsSource(copied, part="all")
    expected_start, missing, seen = 0, [], []
    for snippet, positions in stream(source, SMALL, seed=0).take(10):
        missing += missing_positions(expected_start, positions.numpy())
        expected_start = int(positions[-1]) + 1
        seen += snippet.index.numpy().tolist()
    lost = {int(source.index_at(position, 0)) for position in missing}
    assert lost == {6, 7} and set(seen) == set(range(COUNT)) - lost
    assert all(source.files(index)[1].startswith(f"{shard}: ") for index in lost)
    assert {6}.isdisjoint(int(i) for batch in batches(source, SMALL) for i in batch.index)


def spoil_index(out, change):
    index = json.loads((out / "index.json").read_text())
    change(index)
    (out / "index.json").write_text(json.dumps(index))


def move_shard(out):
    """A whole shard, but one that lies elsewhere."""
    shard = sorted(out.glob("*.tfrecord"))[0]
    shard.rename(out.parent / shard.name)
    return lambda index: index["shards"][0].__setitem__(0, f"../{shard.name}")


def truncate(out):
    shard = sorted(out.glob("*.tfrecord"))[2]
    shard.write_bytes(shard.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, r"00002-.*tfrecord: has \d+ bytes: expected \d+; remove it, and run tools/prepare.py again"),
        (lambda out: sorted(out.glob("*.tfrecord"))[2].unlink(), r"00002-.*tfrecord: has 0 bytes: expected"),
        (lambda out: (out / "index.json").unlink(), r"has no index.json: expected a folder of records"),
        (lambda out: (out / "index.json").write_text("{"), r"index.json: is damaged .*: expected the index"),
        (lambda out: spoil_index(out, lambda index: index["snippets"].pop()), r"index.json: is damaged"),
        (lambda out: spoil_index(out, lambda index: index.pop("cameras")), r"index.json: is damaged"),
        (lambda out: spoil_index(out, lambda index: index["snippets"][0].append(5)), r"index.json: is damaged"),
        (lambda out: spoil_index(out, lambda index: index["snippets"][0].__setitem__(3, 99)), r"is damaged"),
        (lambda out: spoil_index(out, lambda index: index["snippets"][0].__setitem__(0, -1)), r"is damaged"),
        (lambda out: spoil_index(out, move_shard(out)), r"index.json: is damaged"),
        (lambda out: spoil_index(out, lambda index: index["scenes"].update({"../x": []})), r"is damaged"),
        (lambda out: spoil_index(out, lambda index: index["scenes"]["a"].append("../../x.jpg")), r"is damaged"),
        (lambda out: (out / "index.json").write_text("[" * 100_000), r"index.json: is damaged"),
    ],
)
def test_bad_records(copied, spoil, message):
    spoil(copied)
    with pytest.raises(DataError, match=message) as error:
        RecordsSource(copied)
    assert "\n" not in str(error.value)


def test_what_records_cannot_give(made):
    with pytest.raises(ConfigError, match=r"holds snippets of three frames 1 apart: expected --stride=1"):
        RecordsSource(made[2], config=DataConfig(stride=2))
    with pytest.raises(ConfigError, match=r"no single frames; use the folder"):
        RecordsSource(made[2], part="frames")
    with pytest.raises(DataError, match=r"no snippet for train \(holdout_frames 50\)"):
        RecordsSource(made[2], config=DataConfig(holdout_frames=50))
