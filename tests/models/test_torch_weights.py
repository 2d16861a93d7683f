from __future__ import annotations

import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from torch_files import Global, Reduce, contiguous, legacy_file, pickled, tensor, zip_file

from glnet_tf.errors import CheckpointError
from glnet_tf.models.encoders.torch_weights import read_torch_state_dict

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "half": np.array([0.5, -2.0], np.float16),
    "double": np.array([[1e300]], np.float64),
    "bn.num_batches_tracked": np.array(7, np.int64),
}
NUMBERS = np.arange(12, dtype=np.float32)
MAGIC = pickled(0x1950A86A20F9469CFC6C) + pickled(1001)


def write(tmp_path, content: bytes) -> str:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return str(path)


def write_pickle(tmp_path, value, storages=None) -> str:
    return write(tmp_path, zip_file(pickled(value), storages or {}))


def refuse(path: str, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_torch_state_dict(path)
    message = str(caught.value)
    assert message.startswith(path) and "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("parameter", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats_give_the_arrays(tmp_path, legacy, parameter):
    calls, storages = contiguous(ARRAYS, parameter)
    counts = {str(number): array.size for number, array in enumerate(ARRAYS.values())}
    content = legacy_file(pickled(calls), storages, counts) if legacy else zip_file(pickled(calls), storages)
    state = read_torch_state_dict(write(tmp_path, content))
    assert list(state) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert state[name].dtype == array.dtype and state[name].shape == array.shape
        np.testing.assert_array_equal(state[name], array)


def test_views_of_one_storage_follow_offset_and_stride(tmp_path):
    calls = {"transposed": tensor("0", 12, (4, 3), (1, 4)), "part": tensor("0", 12, (2, 2), (4, 1), offset=5)}
    state = read_torch_state_dict(write_pickle(tmp_path, calls, {"0": NUMBERS.tobytes()}))
    np.testing.assert_array_equal(state["transposed"], NUMBERS.reshape(3, 4).T)
    np.testing.assert_array_equal(state["part"], [[5, 6], [9, 10]])


def test_an_ordered_dictionary_with_metadata_is_a_state_dict(tmp_path):
    calls, storages = contiguous({"a": NUMBERS})
    # OrderedDict() + SETITEMS + BUILD with {"_metadata": {}}, as Module.state_dict() is pickled.
    content = pickled(Reduce(Global("collections", "OrderedDict"), ()))[:-1] + b"("
    content += pickled("a")[2:-1] + pickled(calls["a"])[2:-1] + b"u" + pickled({"_metadata": {}})[2:-1] + b"b."
    state = read_torch_state_dict(write(tmp_path, zip_file(content, storages)))
    np.testing.assert_array_equal(state["a"], NUMBERS)


class Attack:
    """Pickled by Python itself: runs a command when unpickled."""

    def __init__(self, function, arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_crafted_file_runs_nothing(tmp_path, protocol, legacy):
    witness = tmp_path / "witness"
    for attack in (
        Attack(os.system, (f"touch {witness}",)),
        Attack(eval, (f"open({str(witness)!r}, 'w')",)),
        Attack(exec, (f"open({str(witness)!r}, 'w')",)),
    ):
        content = pickle.dumps({"weight": attack}, protocol)
        path = write(tmp_path, legacy_file(content, {}, {}) if legacy else zip_file(content, {}))
        refuse(path, "pickle")
        # Even as the very first pickle of a legacy file.
        refuse(write(tmp_path, content), "pickle")
    assert not witness.exists()


GETATTR = Reduce(Global("builtins", "getattr"), (Global("collections", "OrderedDict"), "fromkeys"))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Reduce(GETATTR, ((),)), "builtins.getattr"),
        (Reduce(Global("posix", "system"), ("true",)), "posix.system"),
        (Reduce(Global("collections", "deque"), ()), "collections.deque"),
        (Reduce(Global("torch._utils", "_rebuild_tensor_v2.__globals__"), ()), "__globals__"),
        (Reduce(Global("torch.storage", "_load_from_bytes"), ("",)), "_load_from_bytes"),
        (Reduce(Global("numpy", "load"), ("x",)), "numpy.load"),
    ],
)
def test_other_names_are_refused_by_name(tmp_path, value, name):
    refuse(write_pickle(tmp_path, {"weight": value}), name)


@pytest.mark.parametrize(
    "content",
    [
        pickled({})[:-1] + b"\x82\x01.",  # the extension registry
        b"\x80\x02(ios\nsystem\n.",  # a class by the old opcode
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85\x81.",  # NEWOBJ
        b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".",  # a terabyte announced
    ],
)
def test_opcodes_beyond_data_are_refused(tmp_path, content):
    refuse(write(tmp_path, zip_file(content, {})))


def test_a_pickle_cannot_alter_what_it_is_handed(tmp_path):
    function = Global("torch._utils", "_rebuild_tensor_v2")
    altered = pickled({})[:-1] + b"0" + pickled(function)[2:-1] + pickled({"leak": 1})[2:-1] + b"b0}."
    refuse(write(tmp_path, zip_file(altered, {})))
    altered = pickled([function])[:-2].replace(b"](", b"") + pickled({"leak": 1})[2:-1] + b"b."
    refuse(write(tmp_path, zip_file(altered, {})), "for a dict that is none")
    calls, storages = contiguous(ARRAYS)
    assert len(read_torch_state_dict(write_pickle(tmp_path, calls, storages))) == len(ARRAYS)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((13,), (1,), 0),
        ((3, 4), (4, 2), 0),
        ((2,), (11,), 1),
        ((12,), (1,), 1),
        ((12,), (1,), -1),
        ((2,), (-1,), 5),
        ((-2, -6), (1, 1), 0),
        ((1 << 40,), (0,), 0),
        ((1 << 62, 4), (1, 1), 0),
        ((12,), (1 << 62,), 0),
        ((12,), (), 0),
        ((12.0,), (1,), 0),
        ([12], [1], 0),
        ((12,), (1,), "0"),
        ((12,), (True,), 0),
        ((1,) * 9, (1,) * 9, 0),
        ((1 << 70,), (1,), 0),
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path, size, stride, offset):
    refuse(write_pickle(tmp_path, {"w": tensor("0", 12, size, stride, offset)}, {"0": NUMBERS.tobytes()}), "'w'")


@pytest.mark.parametrize("count", [11, 13, 1 << 50, -12, 12.0])
def test_sizes_that_are_not_the_files_are_refused_before_allocation(tmp_path, count):
    calls = {"w": tensor("0", count, (1,), (1,))}
    refuse(write_pickle(tmp_path, calls, {"0": NUMBERS.tobytes()}), "storage")
    if type(count) is int and count > 0:
        refuse(write(tmp_path, legacy_file(pickled(calls), {"0": NUMBERS.tobytes()}, {"0": count})), "storage", "bytes")


def test_a_compressed_archive_is_refused(tmp_path):
    calls = {"w": tensor("0", 1 << 20, (1 << 20,), (1,))}
    content = zip_file(pickled(calls), {"0": bytes(4 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(content) < 1 << 14
    refuse(write(tmp_path, content), "compressed")


def test_a_high_place_in_the_memo_claims_no_memory(tmp_path):
    tracemalloc.start()
    assert read_torch_state_dict(write(tmp_path, zip_file(b"\x80\x02}r\xff\xff\xff\x7f.", {}))) == {}
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02}N" + b"\x85" * 1_000_000 + b"Ns.", "steps"),
        (b"\x80\x02}N" + b"\x85" * 50_000 + b"Ns.", "key"),  # hash() would recurse
        (b"\x80\x02})" + b"q\x01h\x01\x86" * 60 + b"Ns.", "key"),  # and here never end
        (b"\x80\x02](" + b"K\x00" * 100_000 + b"e.", "steps"),
        (pickled(Reduce(Global("collections", "OrderedDict"), ([("a", 1)],))), "call"),
        (pickled(Reduce(Global("collections", "OrderedDict"), ())).replace(b"(t", b"N"), "call"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_little_that_would_cost_much_is_refused(tmp_path, content, words, legacy):
    refuse(write(tmp_path, legacy_file(content, {}, {}) if legacy else zip_file(content, {})), words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02N" + b"\x85" * 50_000 + b".", "magic number"),
        (pickled([0x1950A86A20F9469CFC6C]), "magic number"),
        (MAGIC + pickled([1]), "big-endian"),
        (MAGIC + pickled({"little_endian": True}) + pickled({}) + pickled([1]), "storages"),
        (MAGIC + pickled({"little_endian": True}) + pickled({}) + pickled({}), "storages"),
    ],
)
def test_what_an_old_file_begins_with_is_of_its_type(tmp_path, content, words):
    refuse(write(tmp_path, content), words)


def test_a_storage_declared_twice_differently_is_refused(tmp_path):
    calls = {"a": tensor("0", 12, (12,), (1,)), "b": tensor("0", 6, (6,), (1,), storage="DoubleStorage")}
    refuse(write_pickle(tmp_path, calls, {"0": NUMBERS.tobytes()}), "declared twice")


def test_what_is_no_state_dict_is_refused(tmp_path):
    calls, storages = contiguous({"w": NUMBERS})
    refuse(write_pickle(tmp_path, {"state_dict": calls}, storages), "not a tensor")
    refuse(write_pickle(tmp_path, {3: calls["w"]}, storages), "not a name")
    refuse(write_pickle(tmp_path, [1, 2]), "no dictionary")
    refuse(write_pickle(tmp_path, calls), "missing")
    refuse(write(tmp_path, zip_file(pickled(calls), storages, byteorder=b"big")), "big-endian")
    refuse(write_pickle(tmp_path, {"w": tensor("0", 12, (12,), (1,), storage="ComplexFloatStorage")}), "ComplexFloat")
    refuse(str(tmp_path / "absent.pth"), "No such file")


def test_every_truncation_is_refused(tmp_path):
    calls, storages = contiguous(ARRAYS)
    counts = {str(number): array.size for number, array in enumerate(ARRAYS.values())}
    for content in (zip_file(pickled(calls), storages), legacy_file(pickled(calls), storages, counts)):
        for length in range(0, len(content), 7):
            refuse(write(tmp_path, content[:length]))


def test_arrays_share_the_files_bytes_and_cannot_be_written(tmp_path):
    calls, storages = contiguous({"w": NUMBERS})
    state = read_torch_state_dict(write_pickle(tmp_path, calls, storages))
    with pytest.raises(ValueError, match="read-only"):
        state["w"][0] = 1.0
