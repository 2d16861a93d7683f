"""Commands in processes that start at once: a server has imported what they need, and forks one for each.

As a script it is that server; Children talks to it. The networks are those of small_train.py. None of these processes
may open a socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120
# Exit code of a process that would open a socket.
SOCKET = 77


class Ended(NamedTuple):
    """How a child ended: exit code (minus the number of a signal that killed it), and its output."""

    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        """Returns its words to the user, without progress bars and TensorFlow's remarks."""
        ends = (line.rpartition("\r")[2] for line in self.err.split("\n"))
        return [
            line for line in ends if line.strip() and "it/s" not in line and "%|" not in line and "WARNING:" not in line
        ]


class Child:
    """A command that runs.

    Args:
      server: that has forked it.
      pid: of its process.
      log: files .out and .err of its output.
    """

    def __init__(self, server: Children, pid: int, log: Path):
        self._server, self.pid, self._log = server, pid, log
        self.started = time.monotonic()

    def words(self) -> str:
        """Returns its output to the user so far."""
        return self._log.with_suffix(".err").read_text()

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Waits for a state, looking every millisecond; the child may end before."""
        while not reached() and self._alive():
            assert time.monotonic() < self.started + LIMIT, f"it did not come: {self.words()[-2000:]}"
            time.sleep(0.001)

    def send(self, number: int) -> None:
        """Sends a signal, also to a child that has ended."""
        os.kill(self.pid, number)

    def end(self, seconds: float = LIMIT) -> Ended:
        """Waits for its end, and returns how that was; kills what takes too long."""
        code = self._server.ask(wait=self.pid, seconds=seconds)
        return Ended(code, self._log.with_suffix(".out").read_text(), self.words())

    def _alive(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


class Children(contextlib.AbstractContextManager):
    """Starts commands: `with Children(folder) as children: children.start("train", *FLAGS).end()`.

    Args:
      folder: for what they say.
    """

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONWARNINGS": "ignore",
            "CUDA_VISIBLE_DEVICES": "",
        }
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate(timeout=LIMIT)

    def start(self, tool: str, *arguments: object, before: str = "") -> Child:
        """Starts a command; `before`: Python statements that the child executes first."""
        self._count += 1
        log = self._folder / f"{self._count:03}-{tool}"
        for suffix in (".out", ".err"):
            log.with_suffix(suffix).touch()
        return Child(self, self.ask(start=tool, arguments=list(map(str, arguments)), log=str(log), before=before), log)

    def run(self, tool: str, *arguments: object, before: str = "") -> Ended:
        """Runs a command to its end."""
        return self.start(tool, *arguments, before=before).end()

    def ask(self, **question: object) -> int:
        """Returns the server's answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def refuse_sockets(event: str, arguments: tuple) -> None:
    """Ends the process that opens a socket or asks for a name, whoever does it.

    But for one of urllib3, which TensorFlow imports: it binds a socket to ::1 to see whether the machine has IPv6.
    """
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        frame = sys._getframe()
        while event == "socket.__new__" and frame:
            if frame.f_code.co_name == "_has_ipv6":
                return
            frame = frame.f_back
        os.write(2, f"a socket: {event} {arguments[1:]}\n".encode())
        os._exit(SOCKET)


def serve() -> None:
    """Answers questions, one a line."""
    sys.addaudithook(refuse_sockets)
    import small_train
    import tensorflow as tf

    import glnet_tf.data.preparation.prepare
    import glnet_tf.inference.export
    import glnet_tf.inference.refine
    import glnet_tf.training.depth_trainer  # noqa: F401

    small_train.shrink()
    assert not tf.config.get_visible_devices("GPU")
    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            answer = _wait(question["wait"], question["seconds"])
        else:
            answer = os.fork()
            if not answer:
                _become(**question)
        print(answer, flush=True)


def _wait(pid: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGALRM
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(done[1])


def _become(start: str, arguments: list[str], log: str, before: str) -> None:
    """Turns this process into a command."""
    for descriptor, name in ((0, os.devnull), (1, f"{log}.out"), (2, f"{log}.err")):
        opened = os.open(name, os.O_RDONLY if not descriptor else os.O_WRONLY | os.O_CREAT, 0o666)
        os.dup2(opened, descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run unattended
    sys.argv = [f"{start}.py", *arguments]
    exec(before, {})
    from glnet_tf.cli import run_command

    code = 1
    try:
        run_command(start)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
