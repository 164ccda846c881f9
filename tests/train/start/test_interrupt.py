"""Test that Ctrl-C and SIGTERM end the commands that write no checkpoint with one line."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from train import result, splits
from train.start.interrupt import quit_on_interrupt
from train.study import __main__ as study

COMMANDS = {
    "splits": (splits.command_line, "train.splits.main", ["data", "-o", "splits.json"]),
    "result": (result.command_line, "train.result.read_run", ["run", "--out", "result"]),
    "study": (study.command_line, "train.study.__main__.main", ["study.toml"]),
}


class Ended(BaseException):
    """Raised in place of the end of the process."""


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the handlers of signals."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_is_one_line_and_an_exit_code(
    name: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    command, work, words = COMMANDS[name]

    def signalled(*_: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(100)

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, signalled)
    monkeypatch.setattr(os, "_exit", end)
    quit_on_interrupt(name)
    try:
        code = command(words)
    except Ended as ended:
        (code,) = ended.args
    assert code == 128 + number
    line = f"{name}: stopped by {number.name}; run the same command to start again\n"
    assert capfd.readouterr().err == line
