"""Stops by Ctrl-C and SIGTERM: exceptions, and one line that says what was written and how to continue."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

START_AGAIN = "run the same command to start again"


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM."""


def raise_terminated(number: int, frame: FrameType | None) -> None:
    """Raise `Terminated`; a signal handler."""
    raise Terminated


@contextmanager
def terminated_raises() -> Iterator[None]:
    """Context in which SIGTERM raises `Terminated`, in the main thread and unless the signal is handled already."""
    default = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not default:
        yield
        return
    signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def describe_stop(stop: KeyboardInterrupt, kept: str, again: str = START_AGAIN) -> tuple[str, int]:
    """Return the line about a signal and the exit code, 130 for SIGINT and 143 for SIGTERM.

    Parameters
    ----------
    stop : KeyboardInterrupt
    kept : str
        What is on the disk.
    again : str
        How to continue.

    Examples
    --------
    >>> describe_stop(Terminated(), "finished stores are kept", "the same command continues")
    ('stopped by SIGTERM; finished stores are kept; the same command continues', 143)
    """
    number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
    return f"stopped by {number.name}; {kept}; {again}", 128 + number


class Outputs:
    """Output files of a command, which are written atomically.

    Examples
    --------
    >>> outputs = Outputs()
    >>> outputs.add(Path("/nowhere/splits.json"))
    >>> str(outputs)
    'nothing was written'
    """

    def __init__(self) -> None:
        self._before: dict[Path, int | None] = {}

    def add(self, *paths: Path) -> None:
        """Add files, before they are written."""
        self._before |= {path: _changed(path) for path in paths}

    def __str__(self) -> str:
        """Return which files were written."""
        written = [str(path) for path, before in self._before.items() if _changed(path) not in (None, before)]
        return f"{' and '.join(written)} written" if written else "nothing was written"


def _changed(path: Path) -> int | None:
    """Return the time at which a file was changed; None without the file."""
    return path.stat().st_mtime_ns if path.exists() else None
