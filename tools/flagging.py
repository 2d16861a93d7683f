"""Flags from the library's configuration, and one way for every tool to start and to fail."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Callable, TypeVar

from absl import app, flags

from glnet_tf.errors import ConfigError, GLNetError

Config = TypeVar("Config")
DEFINE: dict[type, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
}


def define(*configs: type) -> None:
    """Defines a flag for every field of configuration classes; a field that two classes share gets one flag."""
    for config in configs:
        for field in dataclasses.fields(config):
            if field.name not in flags.FLAGS:
                DEFINE[type(field.default)](field.name, field.default, field.metadata["help"])


def config_from_flags(config: type[Config], prefix: str = "") -> Config:
    """Returns a configuration with the values of the flags; raises ConfigError for a value out of range."""
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    return config(**{field.name: getattr(flags.FLAGS, prefix + field.name) for field in fields})


def run(main: Callable[[], int | None]) -> None:
    """Parses the command line and runs a tool; what a user can mend ends it with one line and exit code 2."""
    app.define_help_flags()
    try:
        rest = flags.FLAGS(sys.argv)
        if len(rest) > 1:
            raise ConfigError(f"{rest[1]}: not a flag; flags start with --")
        sys.exit(main())
    except (GLNetError, flags.Error) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
