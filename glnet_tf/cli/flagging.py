"""Flags from the library's configuration, and one way for every tool to start and to fail."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from absl import app, flags

from glnet_tf.cli.quiet import quiet_tensorflow
from glnet_tf.cli.signals import WORDS, end_by_signals, exit_code, hear_signals, received
from glnet_tf.config import DataConfig
from glnet_tf.errors import ConfigError, GLNetError, reason_of
from glnet_tf.inference.outputs import DEFAULT_OUTPUTS, OF_ALL, OF_FRAMES

if TYPE_CHECKING:
    from glnet_tf.training.checkpoints import Architecture

quiet_tensorflow()

Config = TypeVar("Config")
ADVICE = (
    "memory grows with the batch and the pixels: lower --batch_size, --image_height and --image_width, or --window, or "
    "allow more by --max_memory"
)
# glibc's numbers, and: no block by itself, nothing given back, one pool for all threads.
MALLOC = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_ARENA_MAX": (-8, 1)}
OFFLINE = "GLNET_OFFLINE"  # see models.encoders.pretrained
# The words of TensorFlow, which takes them for want of memory, and Python for a full disk.
FULL = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))
NO_MEMORY = "Operation received an exception:Status: 1,"  # oneDNN's number for want of memory
DEFINE: dict[type, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
}


def define(*configs: Any, values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for every field of configurations, or of their classes; a field that two share gets one flag."""
    for config in configs:
        for field in dataclasses.fields(config):
            if "nested" in field.metadata:
                define(field.metadata["nested"], values=values)
            elif field.name not in values:
                default = getattr(config, field.name)
                DEFINE[type(default)](field.name, default, field.metadata["help"], flag_values=values)


def define_model(default: str = "") -> None:
    """Defines the flags that name a trained model; `default` are the weights where none is named."""
    flags.DEFINE_string("run_dir", "", "folder of the training run")
    flags.DEFINE_string(
        "weights",
        default,
        "instead of --run_dir: street-lite or kitti-lite, which ship, or a file of tools/export.py --format=weights",
    )


def define_outputs() -> None:
    """Defines the flag that says what is written."""
    flags.DEFINE_list(
        "outputs",
        ",".join(DEFAULT_OUTPUTS),
        f"what is written, and what that is made from: some of {', '.join((*OF_FRAMES, *OF_ALL))}; or all",
    )


def chosen_model() -> str:
    """Returns the model that the flags name, see training.weights.load_model: a name, or an absolute path."""
    run_dir, weights = flags.FLAGS.run_dir, flags.FLAGS.weights
    if run_dir and flags.FLAGS["weights"].using_default_value:
        weights = ""
    if bool(run_dir) == bool(weights):
        raise ConfigError(f"--run_dir={run_dir} --weights={weights}: expected one of the two")
    model = run_dir or weights
    return str(Path(model).resolve()) if Path(model).exists() else model


def config_from_flags(config: type[Config], values: flags.FlagValues = flags.FLAGS) -> Config:
    """Returns a configuration with the values of the flags; raises ConfigError for a value out of range."""
    given = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        kind = field.metadata.get("nested")
        given[field.name] = config_from_flags(kind, values=values) if kind else getattr(values, field.name)
    return config(**given)


def check_data(data: DataConfig) -> None:
    """Checks that the places of the data are there, before TensorFlow, which reads them, is imported.

    Raises:
      ConfigError: one is not.
    """
    for place in data.data_dir.split(","):
        if "://" in place:
            raise ConfigError(f"--data_dir={place}: is an address: expected a folder or file; download it first")
        if data.dataset != "street" and not Path(place.strip()).expanduser().exists():
            raise ConfigError(f"{place.strip()}: is not a folder, nor a file: expected the data; correct --data_dir")


def adopt(architecture: Architecture) -> None:
    """Lets weights bring their networks and their size along, where no flag says otherwise."""
    known = {"image_height": architecture.image_height, "image_width": architecture.image_width}
    networks = ("encoder", "depth_encoder", "flow_net", "camera_net")
    known |= {name: getattr(architecture.model, name) for name in networks}
    for name, value in known.items():
        if flags.FLAGS[name].using_default_value:
            flags.FLAGS.set_default(name, value)


def keep_memory() -> None:
    """Lets the C library keep freed memory for the next tensors; given back and fetched anew, page by page, it costs a
    sixth of a training step."""
    with contextlib.suppress(OSError, AttributeError):  # of glibc only
        libc = ctypes.CDLL(None)
        for parameter, value in MALLOC.values():
            libc.mallopt(parameter, value)


def limit_memory(gigabytes: float) -> None:
    """Goes on in a child process whose allocations beyond a size fail; if that kills it, ends with advice."""
    import resource

    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 1e9), resource.RLIM_INFINITY))
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child too
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        print(f"error: ended by {name}, probably for want of memory; {ADVICE}", file=sys.stderr)
        os._exit(2)
    os._exit(os.WEXITSTATUS(status))


def first_flags(doc: str, names: Sequence[str]) -> str:
    """Returns what --help shows: what a command does, and the flags that matter first."""
    lines = [doc.strip(), ""]
    for name in names:
        flag = flags.FLAGS[name]
        shown = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        default = "" if shown in ("", None) else f" ({shown})"
        text = textwrap.wrap(f"{flag.help}{default}", 88)
        lines += (
            [f"  --{name}", *(f"      {line}" for line in text)]
            if len(name) > 16
            else [f"  --{name:18}{text[0]}", *(f"{'':22}{line}" for line in text[1:])]
        )
    return "\n".join([*lines, "", "--helpfull shows all flags."])


def in_one_line(error: Exception) -> str:
    """Returns the line for an error that a user can mend; empty for any other."""
    if isinstance(error, (GLNetError, flags.Error)):
        return " ".join(str(error).split())
    reason = reason_of(error)
    if any(words in str(error) for words in FULL):
        return f"no space left on the disk ({reason}); make room, or choose a folder on another one"
    if isinstance(error, OSError):
        return f"{reason}: expected a file or folder that can be read and written; see to it, or give another one"
    # By its name: TensorFlow, which defines it, takes seconds to import.
    if type(error).__name__ in ("MemoryError", "ResourceExhaustedError") or NO_MEMORY in str(error):
        return f"no memory left ({reason}); {ADVICE}"
    return ""


def parse(arguments: Sequence[str]) -> list[str]:
    """Sets the flags from a command line, and returns what is no flag in it, its first word before.

    Raises:
      ConfigError, flags.Error: it, or a flagfile in it, is not made of flags.
    """
    try:
        return flags.FLAGS(list(arguments))
    # --noflip=3, a flagfile that is no text, or one that names itself.
    except (ValueError, RecursionError) as error:
        where = " ".join(word for word in arguments if "flagfile" in word) or "flags"
        raise ConfigError(f"{where}: {error}: expected --NAME=VALUE, a flagfile in UTF-8; see --help") from None


def run(main: Callable[[], int | None], doc: str = "", first: Sequence[str] = ()) -> None:
    """Parses the command line and runs a command; what a user can mend ends it with one line and exit code 2.

    Args:
      main: the command.
      doc: what it does, and
      first: the names of the flags that matter first, for --help.
    """
    hear_signals()
    app.define_help_flags()
    flags.DEFINE_float("max_memory", 0.0, "gigabytes that the tool may take; 0: whatever there is", lower_bound=0.0)
    flags.DEFINE_boolean("offline", False, "never download weights (Keras has some for resnet50)")
    if first and {"--help", "-help", "-h"} & set(sys.argv[1:]):
        print(first_flags(doc, first))
        sys.exit(0)
    try:
        rest = parse(sys.argv)
        if flags.FLAGS.offline:
            os.environ[OFFLINE] = "1"
        if flags.FLAGS.max_memory:
            limit_memory(flags.FLAGS.max_memory)
        keep_memory()
        if len(rest) > 1:
            raise ConfigError(f"{rest[1]}: not a flag; flags start with --")
        sys.exit(main())
    except KeyboardInterrupt:
        print(WORDS, file=sys.stderr)
        sys.exit(exit_code())
    except Exception as error:
        if received:  # what was interrupted raised another error in its place
            print(WORDS, file=sys.stderr)
            sys.exit(exit_code())
        line = in_one_line(error)
        if not line:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    finally:
        end_by_signals()
