"""Ctrl-C while a command's modules are imported, which takes seconds: one line in place of a traceback.

Commands import this first, and nothing here imports what takes time.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT
STARTS_AGAIN = "stopped by SIGINT; the same command starts again"


class _Quit:
    """A handler that ends the process: nothing was begun that would have to be undone."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, number: int, frame: FrameType | None) -> None:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{self._name}: {STARTS_AGAIN}\n".encode())
        os._exit(EXIT_CODE)


def quit_on_interrupt(name: str) -> None:
    """End a command that is being imported on Ctrl-C, until `raise_interrupts`.

    Parameters
    ----------
    name : str
        Of the command.
    """
    # Where SIGINT is ignored, as in the background of a shell, it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Quit(name))


def raise_interrupts() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again."""
    if isinstance(signal.getsignal(signal.SIGINT), _Quit):
        signal.signal(signal.SIGINT, signal.default_int_handler)
