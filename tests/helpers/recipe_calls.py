"""Call the commands of a recipe in this process, which has their imports already."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

import pytest

from dali_cr.__main__ import main as library

SHORT = ("--filters", "2", "--batch-size", "2", "--threads", "1", "--steps", "5", "--log-every", "1")
"""Options appended to training commands; of an option given twice, the last holds."""


def call_all(
    commands: Sequence[Sequence[str]], small: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    """Call commands one after another, training for five steps with small networks; return the last line of each.

    Parameters
    ----------
    commands : sequence of sequence of str
        Each begins with -m and the module.
    small : mapping of str to str
        Options appended to the commands of a module.
    capsys
    """
    lines = {}
    for command in commands:
        name, words = command[1], list(command[2:])
        if name in ("train.pretrain", "train.finetune"):
            words += SHORT
        words += small.get(name, "").split()
        call = library if name == "dali_cr" else importlib.import_module(name).command_line
        code = call(words)
        printed = capsys.readouterr()
        assert not code, f"{name} {' '.join(words)}\n{printed.out}\n{printed.err}"
        lines[name] = printed.out.strip().rpartition("\n")[2]
    return lines
