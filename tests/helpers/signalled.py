"""Run a command of train/ that sends itself a signal when it writes the loss of a step.

::

    python -m tests.helpers.signalled SIGTERM 9 train.pretrain --data …

The run ends at the same step on any machine; `tests.manual.kills` uses random moments.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

from train.run.record import Record


def command(ordinary: list[str], number: signal.Signals, step: int) -> list[str]:
    """Return ``python -m train.… arguments`` with the signal that it sends to itself."""
    python, _, module, *arguments = ordinary
    return [python, "-m", __name__, number.name, str(step), module, *arguments]


def main() -> None:
    """Run the command."""
    name, step, module, *arguments = sys.argv[1:]
    write = Record.write

    def write_and_send(record: Record, at: int, **numbers: float | None) -> None:
        write(record, at, **numbers)
        if at == int(step) and "loss" in numbers:
            os.kill(os.getpid(), signal.Signals[name])

    Record.write = write_and_send  # type: ignore[method-assign]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
