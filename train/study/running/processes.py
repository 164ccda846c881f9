"""Runs as processes, with their output in a log."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import dali_cr

_ROOT = Path(dali_cr.__file__).resolve().parents[1]
"""Folder that the packages are imported from."""


class Processes:
    """Processes in progress, which can be stopped together."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        """Whether they were stopped; later ones are stopped at once."""
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, line: Sequence[str], log: Path, variables: Mapping[str, str]) -> tuple[int, float]:
        """Run a command until it ends; return its exit code and its CPU seconds.

        Raises
        ------
        BlockingIOError
            If the process of another call still writes this log.
        """
        with open(log, "ab") as output:
            # The process inherits the open file, and holds its lock as long as it lives.
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            output.write(os.fsencode(f"$ {shlex.join(line)}\n"))
            output.flush()
            # In its own process group, so that Ctrl-C reaches it once, not twice: the second would not save the run.
            process = subprocess.Popen(
                line, cwd=_ROOT, env={**os.environ, **variables}, stdout=output, stderr=output, start_new_session=True
            )
            self._running.append(process)
            if self.stopped.is_set():
                process.terminate()
            ended = _wait(process)
            self._running.remove(process)
        return ended

    def stop(self) -> None:
        """Stop all processes; runs save themselves."""
        self.stopped.set()
        for process in list(self._running):
            process.terminate()


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for a process; return its exit code and its CPU seconds."""
    try:
        _, status, used = os.wait4(process.pid, 0)
    except ChildProcessError:
        # `terminate` has already reaped the process, so its usage is no longer available.
        return process.wait(), 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime
