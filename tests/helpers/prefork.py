"""Start Python modules as commands in processes forked from one that has imported what they need.

The imports of a training command take 5 s of CPU, most of it MONAI's and PyTorch's; a fork takes none of it.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

_IMPORTED = ("torch._dynamo", "monai.networks.nets", "monai.losses", "nvidia.dali.fn", "matplotlib.figure", "dali_cr")


class Parent:
    """A process that forks itself for each command.

    Parameters
    ----------
    root : Path
        Where commands are run.
    environment : dict
    """

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, command: Sequence[Any], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run ``python -m module arguments`` to its end; its output is kept in a folder until it is read.

        Raises
        ------
        ValueError
            If it is another command.
        """
        words = [str(word) for word in command]
        if words[:2] != [sys.executable, "-m"]:
            raise ValueError(f"command: expected {sys.executable} -m module, got {' '.join(words[:3])}")
        out, err = folder / "stdout", folder / "stderr"
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([*words[2:], str(out), str(err)]), file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(words, status, out.read_text(), err.read_text())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


@cache
def start_parent(root: Path, *environment: tuple[str, str]) -> Parent:
    """Start the process, once for each environment."""
    parent = Parent(root, dict(environment))
    atexit.register(parent.close)
    return parent


def serve() -> None:
    """Fork for each line of stdin, and write the exit status of the child to stdout."""
    for module in _IMPORTED:
        __import__(module)
    for line in sys.stdin:
        *words, out, err = json.loads(line)
        child = os.fork()
        if not child:
            _become(words, out, err)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(words: list[str], out: str, err: str) -> None:
    """Run a module as this process's command."""
    for descriptor, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    serve()
