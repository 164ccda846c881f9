"""Handling of Ctrl-C and SIGTERM outside training: one line in place of a traceback or of silence.

Imports take seconds, so commands import this module first, and it imports nothing slow.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


class _Quit:
    """Signal handler that ends the process at once, since there is no checkpoint to write."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, number: int, frame: FrameType | None) -> None:
        stopped = f"{self._name}: stopped by {signal.Signals(number).name}"
        line = f"{stopped}; nothing was written; run the same command to start again\n"
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


def raise_interrupts() -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` again, and SIGTERM `dali_cr.system.interrupt.Terminated`."""
    # Imported here, since it takes a second, as all of dali_cr does.
    from dali_cr.system.interrupt import raise_terminated

    if isinstance(signal.getsignal(signal.SIGINT), _Quit):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if isinstance(signal.getsignal(signal.SIGTERM), _Quit):
        signal.signal(signal.SIGTERM, raise_terminated)
