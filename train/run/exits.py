"""How a run ends before its end: refused at its start, or stopped by a signal after the step under way."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Refused(ValueError):
    """A run that cannot be started as asked."""


class Stop:
    """While entered, notes SIGINT (Ctrl-C) and SIGTERM (a scheduler's warning) instead of ending the process.

    The second signal acts at once, as if this were not here: whoever asks twice does not want to wait.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The number of the signal that came, None so far."""
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        """Begin to listen. In the main thread only, as Python handles signals nowhere else."""
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__()


class Stopped(Exception):
    """A run that a signal ended, after it was saved."""

    def __init__(self, number: int, report: dict[str, Any]) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {report['steps']}; saved")
        self.exit_code = 128 + number
        """What a shell reports of a program that the signal killed: 130 for SIGINT, 143 for SIGTERM."""
        self.report = report
        """As of a finished run, without a gain."""
