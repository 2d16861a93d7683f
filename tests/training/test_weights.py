"""Weights as files: written, read, started from, refused."""

import dataclasses
import hashlib
import json
import zipfile

import cv2
import numpy as np
import pytest
import tensorflow as tf

import glnet_tf
from glnet_tf.config import ModelConfig
from glnet_tf.errors import CheckpointError, DataError
from glnet_tf.training import weights
from glnet_tf.training.checkpoints import Architecture
from glnet_tf.training.weights import (
    architecture_of_weights,
    load_model,
    named_variables,
    start_from,
    write_weights,
)

CONFIG = ModelConfig(
    encoder="efficientnet_lite0", encoder_weights="none", flow_net="matching", camera_net="solved", intrinsics="learned"
)
ARCHITECTURE = Architecture(CONFIG, 32, 96, ("a", "b"), (3.0, 2.0))


def build(architecture=ARCHITECTURE):
    model = architecture.build()
    model.build_variables()
    return model


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def file(tmp_path_factory, model):
    file = tmp_path_factory.mktemp("weights") / "net.npz"
    digest = write_weights(model, ARCHITECTURE, file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    return file


def test_a_file_reads_back_in_half_precision(file, model):
    found, architecture = load_model(file)
    assert architecture == ARCHITECTURE and file.stat().st_size < 20e6
    theirs = named_variables(found)
    assert len(theirs) == len(model.variables)
    for name, variable in named_variables(model).items():
        tolerance = {"rtol": 1e-3, "atol": 1e-7} if "kernel" in name else {"rtol": 0}
        np.testing.assert_allclose(theirs[name], variable, **tolerance, err_msg=name)
    with zipfile.ZipFile(file) as archive:  # nothing in it wants unpickling
        assert all(name.endswith(".npy") for name in archive.namelist())
    np.load(file, allow_pickle=False)["architecture"]


def test_other_networks_start_from_it_and_keep_their_own_cameras(file, model):
    other = dataclasses.replace(ARCHITECTURE, cameras=("x",), shapes=(3.0,), image_width=64)
    started = build(other)
    started.camera_parameters.assign_add(tf.ones([1, 4]))
    before = started.camera_parameters.numpy()
    start_from(started, other, file)
    np.testing.assert_array_equal(started.camera_parameters, before)
    np.testing.assert_allclose(started.depth_net.variables[0], model.depth_net.variables[0], rtol=1e-3, atol=1e-7)
    stacked = dataclasses.replace(other, model=dataclasses.replace(CONFIG, flow_net="stacked"))
    with pytest.raises(CheckpointError, match="flow_net=matching, not stacked; give --flow_net=matching"):
        start_from(started, stacked, file)
    predicted = dataclasses.replace(other, model=dataclasses.replace(CONFIG, intrinsics="predicted"))
    with pytest.raises(CheckpointError, match="intrinsics=learned, not predicted"):
        start_from(started, predicted, file)


def test_weights_that_ship_are_found_by_name_and_checked(tmp_path, file, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match=r"street-lite: not a run folder.*weights that ship \(none\)"):
        load_model("street-lite")
    content = file.read_bytes()
    (tmp_path / "street-lite.npz").write_bytes(content)
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  street-lite.npz\n")
    assert glnet_tf.load("street-lite").image_size == (32, 96)
    (tmp_path / "street-lite.npz").write_bytes(content[:-9] + b"x" + content[-8:])
    for place in ("street-lite", tmp_path / "street-lite.npz"):
        with pytest.raises(CheckpointError, match="street-lite.npz: damaged: its SHA-256.*install glnet_tf again"):
            load_model(place)


# Log inverse depth of some pixels of an image of noise, at the time when the documents' figures were measured.
MEASURED = {
    "street-lite": [0.631, 0.5783, 0.5215, 0.6479, 1.1312, 0.7664],
    "kitti-lite": [-0.6768, 0.0288, -0.0787, -0.1249, -0.0051, -0.0381],
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_ships_is_what_was_measured(name, capsys):
    net = glnet_tf.load(name)
    assert (weights.SHIPPED / f"{name}.npz").stat().st_size < 25e6
    assert ("non-commercial" in capsys.readouterr().err) == (name == "kitti-lite")
    image = tf.image.resize(tf.random.stateless_uniform([1, 6, 20, 3], (0, 0)), net.image_size)
    logarithm = np.log(net.depth_net(image)[0])[0, ::40, ::100, 0].ravel()
    np.testing.assert_allclose(logarithm[: len(MEASURED[name])], MEASURED[name], atol=1e-3)


def test_damaged_files_are_refused(tmp_path, file):
    damaged = tmp_path / "net.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    for content in (b"", b"no archive", file.read_bytes()[:5000]):
        damaged.write_bytes(content)
        with pytest.raises(CheckpointError, match="net.npz: damaged or no weights"):
            load_model(damaged)
    for changed, expected in (
        ({"architecture": np.frombuffer(b"{}", np.uint8)}, "damaged or no weights"),
        ({"architecture": np.array([{}])}, "damaged or no weights"),
        ({"depth_net/000/kernel": np.zeros([1, 2])}, "not those of the networks.*first: shapes"),
        ({"depth_net/999/kernel": np.zeros(1)}, "first: depth_net/999/kernel"),
    ):
        np.savez(damaged, **{**arrays, **changed})
        with pytest.raises(CheckpointError, match=expected):
            load_model(damaged)


@pytest.mark.parametrize("name", ["kitti-lite", "street-lite"])
def test_flow_that_ships_recovers_a_known_shift(name):
    """Of a smooth random texture, by whole and by half pixels, there and back: not by a wrong axis, sign or scale."""
    flow_net = load_model(name)[0].flow_net
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.uniform(0, 1, (176, 344, 3)).astype(np.float32), (0, 0), 2)
    texture = 0.5 + (texture - texture.mean()) / texture.std() / 6
    for shift in ((4.0, 0.0), (-2.5, 1.5), (9.0, -6.0)):
        moved = cv2.warpAffine(texture, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), (344, 176))
        images = np.stack([texture, moved])[:, 24:-24, 12:-12]
        flow = flow_net(tf.constant(images[np.newaxis]))[0][0, :, 16:-16, 16:-16].numpy()
        for found, expected in zip(flow, (shift, (-shift[0], -shift[1]))):
            assert np.median(np.linalg.norm(found - expected, axis=-1)) < 0.25


def changed(file, target, **arrays):
    """A copy of a file of weights with other arrays."""
    np.savez(target, **{**np.load(file, allow_pickle=False), **arrays})
    return target


def noted(**fields) -> np.ndarray:
    text = json.dumps({**dataclasses.asdict(ARCHITECTURE), **fields})
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_height": 1048576}, "its images are 1048576x96"),
        ({"image_height": "32"}, r"it\[image_height\] is a str"),
        ({"image_width": 33}, "its images are 32x33"),
        ({"cameras": []}, "it has no camera"),
        ({"cameras": [1]}, r"it\[cameras\]\[0\] is a int"),
        ({"shapes": [3.0]}, "of 2 cameras"),
        ({"shapes": [3.0, -1]}, "of 2 cameras"),
        ({"model": []}, r"it\[model\] is a list"),
        ({"model": {"encoder": "vgg"}}, "--encoder=vgg: expected one of"),
        ({"model": {"no": "such"}}, "unexpected keyword argument"),
    ],
)
def test_an_architecture_that_is_none_is_refused_before_it_is_built(file, tmp_path, monkeypatch, fields, message):
    monkeypatch.setattr(Architecture, "build", None)
    with pytest.raises(CheckpointError, match=f"a.npz: damaged or no weights .*{message}") as error:
        load_model(changed(file, tmp_path / "a.npz", architecture=noted(**fields)))
    assert "\n" not in str(error.value)
    (tmp_path / "architecture.json").write_bytes(noted(**fields).tobytes())
    with pytest.raises(CheckpointError, match=f"architecture.json: damaged .*{message}"):
        architecture_of_weights(tmp_path)


def test_arrays_of_other_shapes_or_without_values_are_refused(file, tmp_path):
    name = "depth_net/000/kernel"
    kernel = np.load(file, allow_pickle=False)[name]
    for array, message in (
        (kernel[:1], "not those of the networks .*shapes"),
        (np.full_like(kernel, np.nan), f"{name} has values that are not finite"),
        (np.full(kernel.shape, 1e300), f"{name} has values that are not finite"),
    ):
        with pytest.raises(CheckpointError, match=f"a.npz: .*{message}"):
            load_model(changed(file, tmp_path / "a.npz", **{name: array}))


def test_a_damaged_list_of_sums_stops_only_what_needs_it(file, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    (tmp_path / "net.npz").write_bytes(file.read_bytes())
    (tmp_path / "SHA256SUMS").write_bytes(b"abc\xff\n\n")
    with pytest.raises(DataError, match="SHA256SUMS: 'abc.*': expected a SHA-256 and a file; install glnet_tf again"):
        architecture_of_weights("net")
    (tmp_path / "architecture.json").write_bytes(noted().tobytes())
    assert architecture_of_weights(file) == architecture_of_weights(tmp_path) == ARCHITECTURE
