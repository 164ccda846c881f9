"""Test that the scripts of all recipes pass added options to both training commands, after their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[3] / "train" / "recipes"
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/run.sh"))

RECORDER = """#!/bin/sh
printf '%s\\0' "$@" >> "$RECORD"
printf '\\n' >> "$RECORD"
"""


@pytest.mark.parametrize("recipe", NAMES)
def test_added_options_follow_those_of_the_script(recipe: str, tmp_path: Path) -> None:
    python, record = tmp_path / "python", tmp_path / "record"
    python.write_text(RECORDER)
    python.chmod(0o755)
    (tmp_path / "view.txt").write_text("--spacing 6 6 6 --crop 64 64 64\n")
    added = {"PRETRAIN_OPTIONS": "--batch-size 3 --steps 31", "FINETUNE_OPTIONS": "--batch-size 5 --steps 17"}
    variables = {**os.environ, "PYTHON": str(python), "RECORD": str(record), **added}
    line = ["bash", str(RECIPES / recipe / "run.sh"), str(tmp_path), str(tmp_path / "runs")]
    subprocess.run(line, env=variables, check=True, timeout=60)
    calls = [text.split("\0")[:-1] for text in record.read_text().splitlines()]
    last = {module: words[-4:] for _, module, *words in calls}
    assert last["train.pretrain"] == added["PRETRAIN_OPTIONS"].split()
    assert last["train.finetune"] == added["FINETUNE_OPTIONS"].split()
