"""Collect the commands that a recipe's README starts, and run them on small data."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dali_cr import __main__
from train import finetune, pretrain
from train.networks.build import sizes_of

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "train" / "recipes"

_RECORDER = """#!/bin/sh
printf '%s\\0' "$@" >> "$RECORD"
printf '\\n' >> "$RECORD"
"""

_SHORT = ["--filters", "2", "--batch-size", "2", "--threads", "1", "--steps", "5", "--log-every", "1"]
"""Options appended to training commands; of an option given twice, the last holds."""


def commands_of(recipe: str, places: Mapping[str, Path], folder: Path, **environment: str) -> list[list[str]]:
    """Return the Python commands of the bash blocks of a recipe's README, and of the scripts that they call.

    Parameters
    ----------
    recipe : str
    places : mapping of str to Path
        What is put in place of the folders that the README names.
    folder : Path
        A folder for the recording.
    **environment : str
        Variables of the scripts.
    """
    text = (RECIPES / recipe / "README.md").read_text()
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for name, place in places.items():
        assert name in script, name
        script = re.sub(rf"(?<!\S){re.escape(name)}(?=[\s/])", str(place), script)
    recorder, record = folder / "python", folder / "record"
    recorder.write_text(_RECORDER)
    recorder.chmod(0o755)
    variables = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "RECORD": str(record), **environment}
    variables.pop("PYTHON", None)
    subprocess.run(["bash", "-euc", script], cwd=ROOT, env=variables, check=True, timeout=60)
    return [line.split("\0")[:-1] for line in record.read_text().splitlines()]


def run_all(commands: Sequence[Sequence[str]], pretraining: str, finetuning: str) -> list[str]:
    """Run commands in this process, training for five steps with small networks; return their outputs.

    Parameters
    ----------
    commands : sequence of sequence of str
    pretraining, finetuning : str
        Options appended to the commands of each.
    """
    shorter = {"train.pretrain": [*_SHORT, *pretraining.split()], "train.finetune": [*_SHORT, *finetuning.split()]}
    outputs = []
    for _, module, *words in commands:
        _check(module, words)
        run = __main__.main if module == "dali_cr" else importlib.import_module(module).command_line
        written, problems = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(problems):
            code = run([*words, *shorter.get(module, [])])
        assert code == 0, f"{module} {' '.join(words)}\n{written.getvalue()}\n{problems.getvalue()}"
        outputs.append(written.getvalue())
    return outputs


def _check(module: str, words: list[str]) -> None:
    """Check the settings of a training command as they are, and that its network suits its crop."""
    if module == "train.pretrain":
        pretrain.read_settings(words)
    if module == "train.finetune":
        config = finetune.read_settings(words)
        view = config.view(None)
        depth, height, width = (edge // k for edge, k in zip(view.crop, view.shrink, strict=True))
        sizes_of(config.network, 1, (depth, height, width), config.filters, dims=config.dims)


def content_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file under a folder, and the target of each link."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return {str(path.relative_to(folder)): _bytes(path) for path in paths}


def _bytes(path: Path) -> bytes:
    return str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
