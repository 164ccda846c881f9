"""Start Python commands as forks of a process that has imported what they need.

The imports of a training command take 5 s of CPU, most of it MONAI's and PyTorch's; a fork takes none of it.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
"""With small networks, threads mostly wait for each other."""

COMMANDS = ("train.pretrain", "train.finetune", "train.predict")
"""Commands that are run as `__main__`; only what they import is kept."""

_IMPORTED = ("torch._dynamo", "torch.utils.tensorboard", "monai.networks.nets", "monai.losses", "nvidia.dali.fn")

_LONGEST = 1 << 16
"""Bytes of a message."""


class Forked:
    """A forked process, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, parent: Parent, pid: int, stdin: int | None, stdout: int | None) -> None:
        self.pid = pid
        self.stdin: IO[str] | None = None if stdin is None else open(stdin, "w")  # noqa: SIM115
        self.stdout: IO[str] | None = None if stdout is None else open(stdout)  # noqa: SIM115
        self.returncode: int | None = None
        self._parent, self._ended = parent, os.pidfd_open(pid)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout):
            if stream:
                stream.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit status, None as long as the process runs."""
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process; return its exit status."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            os.close(self._ended)
            self.returncode = self._parent.ask({"wait": self.pid})
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Return the output when the process has ended."""
        assert self.stdout
        with self.stdout:
            text = self.stdout.read()
        self.wait(timeout)
        return text, None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Parent:
    """A process that forks itself for each command.

    Parameters
    ----------
    python : Path or str
        Interpreter of the commands.
    *modules : str
        What is imported before.
    root : Path, optional
        Folder that modules are imported from, in addition to the interpreter's.
    """

    def __init__(self, python: Path | str, *modules: str, root: Path | None = None) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        known = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
        # Not in the working folder, which would be the first to be searched for modules.
        command = [python, __file__, str(other.fileno()), str(root or ""), *modules]
        self._process = subprocess.Popen(command, env=known, pass_fds=[other.fileno()])
        other.close()
        self._lock = threading.Lock()

    def popen(
        self,
        command: Sequence[Any],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        **_: object,
    ) -> Forked:
        """Start ``python -m module``, ``python -c program`` or a script, as `subprocess.Popen` does."""
        words = [str(word) for word in command]
        if words[0] == sys.executable:
            words = words[1:]
        ours: list[int | None] = []
        theirs: list[int] = []
        for number, stream in enumerate((stdin, stdout, stderr)):
            if stream == subprocess.PIPE:
                readable, writable = os.pipe()
                ours.append(readable if number else writable)
                theirs.append(writable if number else readable)
            else:
                ours.append(None)
                theirs.append(os.dup(number if stream is None else stream.fileno()))
        job = {"words": words, "folder": str(cwd or ROOT), "environment": dict(env or ENVIRONMENT)}
        pid = self.ask(job, theirs)
        for descriptor in theirs:
            os.close(descriptor)
        return Forked(self, pid, ours[0], ours[1])

    def run(self, command: Sequence[Any], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `subprocess.run` does."""
        return self.run_together([command], [options])[0]

    def run_together(
        self, commands: Sequence[Sequence[Any]], options: Sequence[Mapping[str, Any]]
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run several commands at a time to their end."""
        ended = []
        with ExitStack() as files:
            outputs = [[files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)] for _ in commands]
            nothing = files.enter_context(open(os.devnull))
            started = [
                self.popen(command, stdin=nothing, stdout=out, stderr=err, **some)
                for command, some, (out, err) in zip(commands, options, outputs, strict=True)
            ]
            for command, process, texts in zip(commands, started, outputs, strict=True):
                status = process.wait()
                for text in texts:
                    text.seek(0)
                ended.append(subprocess.CompletedProcess(command, status, *(text.read() for text in texts)))
        return ended

    def ask(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> int:
        """Send a message; return the number in the answer."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors)
            return int(self._socket.recv(_LONGEST))

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait(timeout=60)


@cache
def start_parent(python: Path | str = "", *modules: str) -> Parent:
    """Start a process for the commands of this checkout, or of an environment with a Python; once for each."""
    parent = Parent(python, *modules) if python else Parent(sys.executable, *_IMPORTED, *COMMANDS, root=ROOT)
    atexit.register(parent.close)
    return parent


def serve(descriptor: int, root: str, modules: Sequence[str]) -> None:
    """Fork for each message with a command, and answer with the child's process ID, or with its exit status."""
    sys.path[:1] = [root] * bool(root)
    for module in modules:
        __import__(module)
    for command in set(COMMANDS) & sys.modules.keys():
        package, _, name = command.rpartition(".")
        delattr(sys.modules[package], name)
        del sys.modules[command]
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as channel:
        while True:
            message, descriptors, _, _ = socket.recv_fds(channel, _LONGEST, 3)
            if not message:
                return
            job = json.loads(message)
            if "wait" in job:
                channel.send(str(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])).encode())
                continue
            child = os.fork()
            if not child:
                channel.close()
                break
            channel.send(str(child).encode())
            for one in descriptors:
                os.close(one)
    _become(job["words"], job["folder"], job["environment"], descriptors)


def _become(words: Sequence[str], folder: str, environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
    """Run a command as this process."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    how, *arguments = words
    if how == "-m":
        sys.path.insert(0, folder)
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(Path(how).parent))
        sys.argv = list(words)
        runpy.run_path(how, run_name="__main__")


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
