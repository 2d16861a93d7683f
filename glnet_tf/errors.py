"""The errors that a user can cause: one line each, with the file, the value, what was expected and the remedy."""

import re


class GLNetError(Exception):
    """Base of all errors that the command-line tools report as one line with exit code 2."""


class ConfigError(GLNetError):
    """A flag or configuration field has a value that cannot be used."""


class DataError(GLNetError):
    """A file or folder of input data is missing, damaged or inconsistent."""


class CheckpointError(GLNetError):
    """A run folder or weights file does not fit what was asked of it."""


class WorkerError(GLNetError):
    """A worker of a distributed run is gone or does not fit the others."""


class NonFiniteLossError(GLNetError):
    """A loss term became NaN or infinite; the message names the term and the snippets."""


def reason_of(error: Exception) -> str:
    """Returns the first line of an error, without what TensorFlow says there of its graph."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\{\{.*?\}\} |;? ?\[Op:\w+\].*$", "", line)
