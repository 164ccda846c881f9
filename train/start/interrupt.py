"""Handling of Ctrl-C during a command's imports: one line in place of a traceback.

Imports take seconds, so commands import this module first, and it imports nothing slow.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT
STARTS_AGAIN = "stopped by SIGINT; run the same command to start again"


class _Quit:
    """Signal handler that ends the process at once, since nothing was started yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, number: int, frame: FrameType | None) -> None:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{self._name}: {STARTS_AGAIN}\n".encode())
        os._exit(EXIT_CODE)


def quit_on_interrupt(name: str) -> None:
    """Make Ctrl-C end the process with one line, until `raise_interrupts` is called.

    Parameters
    ----------
    name : str
        Name of the command.
    """
    # If SIGINT is ignored, as for background jobs of a shell, it stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Quit(name))


def raise_interrupts() -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` again."""
    if isinstance(signal.getsignal(signal.SIGINT), _Quit):
        signal.signal(signal.SIGINT, signal.default_int_handler)
