"""Weights in one file: networks in half precision and the architecture that they fit; some ship with the library."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from glnet_tf.errors import CheckpointError
from glnet_tf.files import read_bytes, write_bytes
from glnet_tf.models.glnet import GLNet
from glnet_tf.training.checkpoints import Architecture, architecture_of, load_run, read_architecture
from glnet_tf.training.devices import share_memory

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
SUMS = "SHA256SUMS"  # as sha256sum writes it
SUFFIX = ".npz"
ARCHITECTURE = "architecture"
LICENCE = "licence"
CAMERAS = "camera_parameters"
NETWORKS = ("depth_net", "flow_net", "camera_net")


def shipped() -> dict[str, str]:
    """Returns the names of the weights that ship with the library, and the SHA-256 of each one's file."""
    sums = SHIPPED / SUMS
    lines = sums.read_text().splitlines() if sums.exists() else []
    return {file.removesuffix(SUFFIX): digest for digest, file in map(str.split, lines)}


def load_model(place: str | Path, which: str = "best") -> tuple[GLNet, Architecture]:
    """Returns a trained model.

    Args:
      place: name of weights that ship, a file that `write_weights` wrote, or the folder of a training run.
      which: of a run: "best" or "latest"; one without a best checkpoint gives its latest.

    Raises:
      CheckpointError: there is no such model, or its file is damaged.
    """
    share_memory()
    if Path(place).is_dir() and str(place) not in shipped():
        return load_run(Path(place), which)
    return _read(*_place(place))


def architecture_of_weights(place: str | Path) -> Architecture:
    """Returns the architecture of a trained model, see load_model, without its variables."""
    if Path(place).is_dir() and str(place) not in shipped():
        return read_architecture(Path(place))
    return _parsed(*_place(place))[0]


def start_from(model: GLNet, architecture: Architecture, place: str | Path) -> None:
    """Sets the networks of a model to those of another; a learned K stays as it is.

    Raises:
      CheckpointError: there is no such model, or its networks are others.
    """
    other, found = load_model(place)
    for name in ("encoder", "flow_net", "camera_net", "intrinsics"):
        have, want = getattr(found.model, name), getattr(architecture.model, name)
        # Of the ways to K, only its prediction is a part of the networks.
        if have != want and (name != "intrinsics" or "predicted" in (have, want)):
            raise CheckpointError(f"{place}: these weights are of {name}={have}, not {want}; give --{name}={have}")
    theirs = named_variables(other)
    for name, variable in named_variables(model).items():
        if name != CAMERAS:
            variable.assign(theirs[name])


def write_weights(model: GLNet, architecture: Architecture, file: Path, licence: str = "") -> str:
    """Writes a model to a file, kernels in half precision; returns the file's SHA-256.

    Args:
      model, architecture: what is written.
      file: an .npz file.
      licence: what users are told when they load it; empty: nothing.

    Raises:
      DataError: it cannot be written.
    """
    arrays = {name: variable.numpy() for name, variable in named_variables(model).items()}
    arrays = {name: value.astype(np.float16) if "kernel" in name else value for name, value in arrays.items()}
    for name, text in ((ARCHITECTURE, json.dumps(dataclasses.asdict(architecture))), (LICENCE, licence)):
        arrays[name] = np.frombuffer(text.encode(), np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(file, content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()


def named_variables(model: GLNet) -> dict[str, tf.Variable]:
    """Returns a model's variables by network, place in the network, and kind: depth_net/000/kernel and so on."""
    found = {
        f"{network}/{number:03}/{variable.name.rpartition('/')[2].partition(':')[0]}": variable
        for network in NETWORKS
        for number, variable in enumerate(getattr(model, network).variables)
    }
    return found if model.camera_parameters is None else {**found, CAMERAS: model.camera_parameters}


def weights_digest(model: GLNet) -> str:
    """Returns what names the values of a model's variables: the first 16 digits of their SHA-256."""
    digest = hashlib.sha256()
    for name, variable in named_variables(model).items():
        digest.update(name.encode() + variable.numpy().tobytes())
    return digest.hexdigest()[:16]


def _place(name: str | Path) -> tuple[Path, str]:
    """The file of weights that ship, or of a user's own, and the SHA-256 that it is to have; empty: any."""
    known = shipped()
    if str(name) in known:
        return SHIPPED / f"{name}{SUFFIX}", known[str(name)]
    if Path(name).suffix == SUFFIX:
        return Path(name), ""
    names = ", ".join(known) or "none"
    raise CheckpointError(
        f"{name}: not a run folder, a file of weights (*{SUFFIX}) or the name of weights that ship ({names}); give one"
    )


def _parsed(file: Path, digest: str) -> tuple[Architecture, str, dict[str, np.ndarray]]:
    """The architecture, licence and arrays of a file."""
    content = read_bytes(file)
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(f"{file}: damaged: its SHA-256 is not that of {SUMS} beside it; install glnet_tf again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
        architecture = architecture_of(json.loads(arrays.pop(ARCHITECTURE).tobytes()))
        licence = arrays.pop(LICENCE).tobytes().decode()
    except (ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{file}: damaged or no weights ({error}); expected a file of tools/export.py --format=weights"
        ) from None
    return architecture, licence, arrays


def _read(file: Path, digest: str) -> tuple[GLNet, Architecture]:
    """The model of a file."""
    architecture, licence, arrays = _parsed(file, digest)
    model = architecture.build(weights=False)
    model.build_variables()
    variables = named_variables(model)
    if {name: tuple(v.shape) for name, v in variables.items()} != {name: v.shape for name, v in arrays.items()}:
        odd = sorted(set(variables) ^ set(arrays)) or ["shapes"]
        raise CheckpointError(
            f"{file}: its arrays are not those of the networks that it names (the first: {odd[0]}); expected weights "
            "of this version; export them again"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name].astype(np.float32))
    if licence:
        print(f"{file.stem}: {licence}", file=sys.stderr)
    return model, architecture
