"""Weights in one file: networks in half precision and the architecture that they fit; some ship with the library."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from glnet_tf.errors import CheckpointError, DataError, GLNetError
from glnet_tf.files import read_bytes, write_bytes
from glnet_tf.models.glnet import GLNet
from glnet_tf.parsing import Archive, parse_json
from glnet_tf.training.checkpoints import Architecture, architecture_of, load_run, read_architecture
from glnet_tf.training.devices import prepare_gpus

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
SUMS = "SHA256SUMS"  # as sha256sum writes it
SUM = re.compile(r"([0-9a-f]{64}) [ *](\S+)\.npz")
SUFFIX = ".npz"
ARCHITECTURE = "architecture"
LICENCE = "licence"
MAX_TEXT = 2**20  # bytes of these two
CAMERAS = "camera_parameters"
NETWORKS = ("depth_net", "flow_net", "camera_net")


def shipped() -> dict[str, str]:
    """Returns the names of the weights that ship with the library, and the SHA-256 of each one's file.

    Raises:
      DataError: the list of them is damaged.
    """
    sums, found = SHIPPED / SUMS, {}
    for line in read_bytes(sums).decode(errors="replace").splitlines() if sums.exists() else ():
        known = SUM.fullmatch(line)
        if known is None:
            raise DataError(f"{sums}: {line[:80]!r}: expected a SHA-256 and a file; install glnet_tf again")
        found[known[2]] = known[1]
    return found


def load_model(place: str | Path, which: str = "best") -> tuple[GLNet, Architecture]:
    """Returns a trained model, and what its networks are.

    Args:
      place: name of weights that ship, a file that `write_weights` wrote, or the folder of a training run.
      which: of a run: "best" or "latest"; one without a best checkpoint gives its latest.

    Returns:
      The model, as from `glnet_tf.load`, and its architecture: the networks, the size of their images in training, and
      the cameras that have a learned K.

    Raises:
      CheckpointError: there is no such model, or its file is damaged.
    """
    prepare_gpus()
    if Path(place).is_dir() and not _ships(place):
        return load_run(Path(place), which)
    return _read(*_opened(place))


def architecture_of_weights(place: str | Path) -> Architecture:
    """Returns the architecture of a trained model, see load_model, without its variables."""
    if Path(place).is_dir() and not _ships(place):
        return read_architecture(Path(place))
    return _opened(place)[2]


def start_from(model: GLNet, architecture: Architecture, place: str | Path) -> None:
    """Sets the networks of a model to those of another; a learned K, and a DepthNet of another backbone, stay.

    Raises:
      CheckpointError: there is no such model, or its networks are others.
    """
    other, found = load_model(place)
    for name in ("encoder", "flow_net", "camera_net", "intrinsics"):
        have, want = getattr(found.model, name), getattr(architecture.model, name)
        # Of the ways to K, only its prediction is a part of the networks.
        if have != want and (name != "intrinsics" or "predicted" in (have, want)):
            raise CheckpointError(f"{place}: these weights are of {name}={have}, not {want}; give --{name}={have}")
    theirs, own = named_variables(other), [CAMERAS]
    have, want = found.model.encoder_of_depth, architecture.model.encoder_of_depth
    if have != want:
        own.append(NETWORKS[0])
        print(f"{place}: its DepthNet is on {have}: the one on {want} starts without it", file=sys.stderr)
    for name, variable in named_variables(model).items():
        if name.partition("/")[0] not in own:
            variable.assign(theirs[name])


def write_weights(model: GLNet, architecture: Architecture, file: Path, licence: str = "") -> str:
    """Writes a model to a file, kernels in half precision; returns the file's SHA-256.

    Args:
      model, architecture: what is written.
      file: an .npz file.
      licence: what is printed when it is loaded; empty: nothing.

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
    """Returns what names a model's variables and the way that it comes to K: the first 16 digits of their SHA-256."""
    digest = hashlib.sha256(f"{model.source_of_intrinsics} {model.field_of_view}".encode())
    for name, variable in named_variables(model).items():
        digest.update(name.encode() + variable.numpy().tobytes())
    return digest.hexdigest()[:16]


def _ships(place: str | Path) -> bool:
    """Whether a place is the name of weights that ship; no other place needs their list to be intact."""
    return Path(place).name == str(place) and (SHIPPED / f"{place}{SUFFIX}").exists()


def _opened(place: str | Path) -> tuple[Path, Archive, Architecture]:
    """The file of weights that ship, or of a user's own, its arrays, still packed, and the architecture they fit."""
    file = SHIPPED / f"{place}{SUFFIX}" if _ships(place) else Path(place)
    if file.suffix != SUFFIX:
        names = ", ".join(sorted(found.stem for found in SHIPPED.glob(f"*{SUFFIX}"))) or "none"
        raise CheckpointError(
            f"{place}: not a run folder, a file of weights (*{SUFFIX}) or the name of weights that ship ({names}); "
            "give one"
        )
    content = read_bytes(file)
    digest = shipped().get(file.stem, "none") if file.resolve().parent == SHIPPED.resolve() else ""
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(f"{file}: damaged: its SHA-256 is not that of {SUMS} beside it; install glnet_tf again")
    try:
        archive = Archive(content)
        return file, archive, architecture_of(parse_json(_text(archive, ARCHITECTURE)))
    except GLNetError as error:
        raise _not_weights(file, error) from None


def _text(archive: Archive, name: str) -> str:
    if name not in archive.names or archive.head(name).shape > (MAX_TEXT,):
        raise DataError(f"it has no {name}, or a longer one than {MAX_TEXT} bytes")
    return archive.array(name).tobytes().decode(errors="replace")


def _not_weights(file: Path, reason: object) -> CheckpointError:
    return CheckpointError(
        f"{file}: damaged or no weights ({reason}); expected a file of tools/export.py --format=weights"
    )


def _read(file: Path, archive: Archive, architecture: Architecture) -> tuple[GLNet, Architecture]:
    """The model of a file."""
    model = architecture.build(weights=False)
    model.build_variables()
    variables = named_variables(model)
    try:
        licence = _text(archive, LICENCE)
        shapes = {name: archive.head(name).shape for name in archive.names if name not in (ARCHITECTURE, LICENCE)}
        if {name: tuple(variable.shape) for name, variable in variables.items()} != shapes:
            odd = sorted(set(variables) ^ set(shapes)) or ["shapes"]
            raise CheckpointError(
                f"{file}: its arrays are not those of the networks that it names (the first: {odd[0]}); expected "
                "weights of this version; export them again"
            )
        for name, variable in variables.items():
            with np.errstate(over="ignore"):
                array = archive.array(name).astype(np.float32)
            if not np.isfinite(array).all():
                raise DataError(f"{name} has values that are not finite")
            variable.assign(array)
    except DataError as error:
        raise _not_weights(file, error) from None
    if licence:
        print(f"{file.stem}: {licence}", file=sys.stderr)
    return model, architecture
