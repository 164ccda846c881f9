"""Write the file that says which subjects are for learning, for choosing and for testing.

::

    python -m train.splits scans/ -o splits.json --fractions 0.7 0.1 0.2 --seed 0
    python -m train.splits images/ --pattern "**/*.png" --table labels.csv --column split -o splits.json
    python -m train.pretrain --data scans/ --split splits.json --part pool --out runs/first
"""

from __future__ import annotations

from .run import needs  # noqa: F401 - before all that may be missing

# isort: split
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import dali_cr
from dali_cr.index.scan import EVERY_VOLUME

from .data.split import PARTS, Split, make_split, split_of_table
from .run.files import write_json


@dataclass(frozen=True, kw_only=True)
class Config:
    """Split the subjects of a folder of volumes into pool, val and test."""

    data: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of volumes (NIfTI), or with a --pattern of theirs of images (PNG, JPEG)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The file to write; it must not be there yet."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of the subjects for pool, val and test."""
    seed: int = 0
    """Of the draw."""
    subject: str | None = None
    r"""Regular expression that finds the subject in a case's name, for example 'sub-(\w+)'."""
    table: Path | None = None
    """A CSV file that says the part of each case (train, val or test): nothing is drawn."""
    column: str = "split"
    """Which column of --table says it."""
    pattern: tuple[str, ...] = EVERY_VOLUME
    """Which files: globs, in which {case} and {channel} may stand for parts of the name."""
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out."""


def main(config: Config) -> Split:
    """Write the file.

    Raises
    ------
    ValueError, OSError
        When it cannot be made.
    """
    if config.out.exists():
        raise ValueError(f"out: wanted a new file, {config.out} is there: runs may have been made by it")
    index = dali_cr.scan(config.data, config.pattern, exclude=config.exclude)
    names = [case.name for case in index.cases]
    if config.table:
        split = split_of_table(names, config.table, config.column, config.subject)
    else:
        split = make_split(names, config.fractions, config.seed, config.subject)
    write_json(config.out, split.content())
    return split


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = tyro.cli(Config, prog="python -m train.splits", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        split = main(config)
    except (ValueError, OSError) as error:
        print(f"splits: {error}", file=sys.stderr)
        return 2
    sizes = {part: len(getattr(split, part)) for part in PARTS}
    print(json.dumps({"split": str(config.out), **sizes, "hash": split.hash}))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
