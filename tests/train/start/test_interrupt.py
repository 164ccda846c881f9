"""Test that Ctrl-C and SIGTERM end the commands that write no checkpoint with one line, and leave whole files."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dali_cr.__main__ import main as library
from dali_cr.system.atomic import write_whole
from dali_cr.system.interrupt import Outputs
from train import baseline, export, result, splits
from train.nnunet import folder
from train.start.interrupt import quit_on_interrupt
from train.study import __main__ as study

COMMANDS = {
    "splits": (splits.command_line, "train.splits.main", ["data", "-o", "splits.json"]),
    "result": (result.command_line, "train.result.read_run", ["run", "--out", "result"]),
    "study": (study.command_line, "train.study.__main__.main", ["study.toml"]),
    "baseline": (baseline.command_line, "train.baseline.read_labelled", ["run", "--out", "baseline.json"]),
    "export": (export.command_line, "train.export.main", ["run", "--out", "weights.pth"]),
}
LIBRARY = {
    "scan": ("dali_cr.tools.scanning.find", ["data", "--save", "index.json"]),
    "pack": ("dali_cr.tools.pack.pack", ["data", "stores"]),
    "import": ("dali_cr.tools.importers.run.import_volumes", ["data", "stores"]),
}
KEPT = {
    "study": "finished runs in runs are kept; the same command continues",
    "pack": "finished stores are kept; the same command continues",
    "import": "finished stores are kept; the same command continues",
}
NOTHING = "nothing was written; run the same command to start again"


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

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, signalled(number))
    quit_on_interrupt(name)
    assert command(words) == 128 + number
    assert capfd.readouterr().err == f"{name}: stopped by {number.name}; {KEPT.get(name, NOTHING)}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", LIBRARY)
def test_a_signal_is_one_line_in_commands_for_data_too(
    name: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    work, words = LIBRARY[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, signalled(number))
    assert library([name, *words]) == 128 + number
    assert capfd.readouterr().err == f"dali-cr: stopped by {number.name}; {KEPT.get(name, NOTHING)}\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def signalled(number: signal.Signals) -> Callable[..., None]:
    """Return a function in which this process gets a signal."""

    def wait(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(100)

    return wait


def test_a_signal_in_a_write_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "splits.json").write_bytes(b"old")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", signalled(signal.SIGINT))
        write_whole(tmp_path / "splits.json", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("splits.json", b"old")]


def test_a_signal_in_an_export_leaves_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("express", "cite", "list_differences"):
        monkeypatch.setattr(folder, name, lambda *_: SimpleNamespace(weights={}, class_name="ResEncL"))
    monkeypatch.setattr(folder, "make_plan", lambda *_: {})
    monkeypatch.setattr(folder, "write_card", lambda *_: "card")
    monkeypatch.setattr(folder, "save_checkpoint", signalled(signal.SIGINT))
    run: Any = SimpleNamespace(about={}, tensors={}, config={})
    with pytest.raises(KeyboardInterrupt):
        folder.write_folder(run, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_written_files_are_named(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text("earlier")
    outputs = Outputs()
    outputs.add(first, second)
    assert str(outputs) == "nothing was written"
    second.write_text("new")
    assert str(outputs) == f"{second} written"
    first.write_text("again")
    os.utime(first, ns=(0, 0))
    assert str(outputs) == f"{first} and {second} written"
