"""Handling of Ctrl-C and SIGTERM outside training: one line in place of a traceback or of silence.

Imports take seconds, so commands import this module first, and it imports nothing slow.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT
_STARTS_AGAIN = "run the same command to start again"
STARTS_AGAIN = f"stopped by SIGINT; {_STARTS_AGAIN}"


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM."""


class _Quit:
    """Signal handler that ends the process at once, since there is no checkpoint to write."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, number: int, frame: FrameType | None) -> None:
        line = f"{self._name}: stopped by {signal.Signals(number).name}; {_STARTS_AGAIN}\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line.encode())
        os._exit(128 + number)


def quit_on_interrupt(name: str) -> None:
    """Make Ctrl-C and SIGTERM end the process with one line, until `raise_interrupts` is called.

    Parameters
    ----------
    name : str
        Name of the command.
    """
    # If SIGINT is ignored, as for background jobs of a shell, it stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Quit(name))
    # Several processes wait for one another in calls that no Python handler can interrupt.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and os.environ.get("WORLD_SIZE", "1") == "1":
        signal.signal(signal.SIGTERM, _Quit(name))


def raise_interrupts(*, terminated: bool = False) -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` again.

    Parameters
    ----------
    terminated : bool
        Whether SIGTERM raises `Terminated`, instead of ending the process with one line.
    """
    if isinstance(signal.getsignal(signal.SIGINT), _Quit):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if terminated and isinstance(signal.getsignal(signal.SIGTERM), _Quit):
        signal.signal(signal.SIGTERM, _raise)


def end_of(stop: KeyboardInterrupt, *, saved: bool) -> tuple[str, int]:
    """Return the line about a signal and the exit code.

    Parameters
    ----------
    stop : KeyboardInterrupt
    saved : bool
        Whether ``--resume`` can continue the run.
    """
    number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
    return f"stopped by {number.name}; {'--resume continues' if saved else _STARTS_AGAIN}", 128 + number


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated
