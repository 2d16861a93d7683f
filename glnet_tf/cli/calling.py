"""Calls of commands, each in a process of its own, one after the other."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

from glnet_tf.cli.signals import received
from glnet_tf.errors import ConfigError
from glnet_tf.files import read_bytes, write_bytes

COMMAND = "from glnet_tf.cli import main; main()"


def call_command(name: str, *given: str, quiet: bool = False) -> None:
    """Runs `glnet NAME GIVEN...`; what it complains of ends this process as well, with its exit status.

    A signal ends it as it ends the command: what is there is saved first.

    Args:
      name: of the command.
      given: its flags.
      quiet: whether what it prints, but not what it complains of, is left out.
    """
    output = subprocess.DEVNULL if quiet else None
    with subprocess.Popen([sys.executable, "-c", COMMAND, name, *given], stdout=output) as process:
        status = None
        while status is None:
            try:
                status = process.wait()
            except KeyboardInterrupt:
                # A terminal gives Ctrl-C to both of them, and a second one would end the command at once.
                if received[-1] == signal.SIGTERM:
                    process.terminate()
    if status:
        sys.exit(status if status > 0 else 128 - status)


def call_once(done: Path, name: str, *given: str, quiet: bool = True) -> None:
    """Runs a command, see call_command, unless an earlier call came to its end and left it in the file `done`.

    Raises:
      ConfigError: that was another command.
    """
    command = shlex.join([name, *given])
    if not done.exists():
        call_command(name, *given, quiet=quiet)
        write_bytes(done, command.encode())
    elif read_bytes(done).decode(errors="replace") != command:
        raise ConfigError(
            f"{done}: was left by another command than {command}: expected the same; give another --output_dir, or "
            "remove that file and what it stands for"
        )
