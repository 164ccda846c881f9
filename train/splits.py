"""Write the file that says which subjects are for learning, for choosing and for testing.

::

    python -m train.splits scans/ -o splits.json --fractions 0.7 0.1 0.2 --seed 0
    python -m train.splits images/ --pattern "**/*.png" --table labels.csv --column split -o splits.json
    python -m train.pretrain --data scans/ --split splits.json --part pool --out runs/first
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("splits")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import dali_cr
from dali_cr.index.layout.listing import Layout
from dali_cr.index.layout.proposal import describe_layout
from dali_cr.index.report import describe_copies
from dali_cr.index.scan import EVERY_VOLUME
from dali_cr.system.console import print_anything
from dali_cr.system.owner import own_file

from .data.labels import find_label_files, match, share_labels
from .data.split import PARTS, Split, make_split, split_of_table
from .data.subjects import count_subjects, find_lookalikes
from .output.files import write_json
from .start.command import read_arguments, refuse_several
from .start.interrupt import EXIT_CODE, STARTS_AGAIN, raise_interrupts


@dataclass(frozen=True, kw_only=True)
class SplitsConfig:
    """Split the subjects of a folder of volumes into pool, val and test."""

    data: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of volumes (NIfTI), or with a --pattern of theirs of images (PNG, JPEG); or one CSV file of paths."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The file to write; it must not be there yet."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of the subjects for pool, val and test."""
    seed: int = 0
    """Of the draw."""
    subject: str | None = None
    r"""Regular expression that finds the subject in a case's name, for example 'Patient(\d+)'. Names as BIDS and
    nnU-Net prescribe them need none."""
    labels: Path | None = None
    """Folder of label volumes: images that share one stay in one part."""
    label_pattern: tuple[str, ...] = EVERY_VOLUME
    """Which files of --labels: globs, in which {case} may stand for the case's name."""
    table: Path | None = None
    """A CSV file that says the part of each case (train, val or test): nothing is drawn."""
    column: str = "split"
    """Which column of --table says it."""
    pattern: tuple[str, ...] = ()
    """Which files: globs, in which {case} and {channel} may stand for parts of the name; all volumes without it."""
    layout: Layout = "auto"
    """What makes cases of files without a --pattern: nnunet, bids, files (each is a case), or the one recognised."""
    channels: tuple[str, ...] = ()
    """Names that {channel} must take in every case; all that are found if none is given."""
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out."""


def main(config: SplitsConfig) -> tuple[Split, dali_cr.Index]:
    """Write the file; return what it holds, and the images.

    Raises
    ------
    ValueError, OSError
        When it cannot be made.
    """
    with own_file(config.out):
        if config.out.exists():
            raise ValueError(f"out: expected a new file, {config.out} is there: runs may have been made by it")
        split, index = _make(config)
        write_json(config.out, split.content())
    return split, index


def _make(config: SplitsConfig) -> tuple[Split, dali_cr.Index]:
    """Return the split that the settings ask for, and the images."""
    index = dali_cr.scan(
        config.data, config.pattern, layout=config.layout, channels=config.channels, exclude=config.exclude
    )
    names = [case.name for case in index.cases]
    shared = _share_labels(config, names)
    if config.table:
        split = split_of_table(names, config.table, config.column, config.subject)
    else:
        split = make_split(names, config.fractions, config.seed, config.subject, [*index.copies, *shared])
    split.refuse_shared(index.copies, "hold the same image")
    split.refuse_shared(shared, "share a label")
    return split, index


def _share_labels(config: SplitsConfig, names: Sequence[str]) -> list[list[str]]:
    """Return the cases of each label file that several have."""
    if config.labels is None:
        return []
    files = find_label_files(config.labels, config.label_pattern)
    return share_labels(match(names, files, "label", "leave")[0])


def introduce(split: Split, index: dali_cr.Index) -> Iterator[str]:
    """Say what was found and how it was split."""
    names = [case.name for case in index.cases]
    yield f"data       {count_subjects(names, split.subject)} under {index.root}"
    if layout := describe_layout(index):
        yield f"layout     {layout}"
    if copies := describe_copies(index):
        yield f"copies     {copies}"
    if split.subject:
        yield f"subject    {split.subject}"
    for part in PARTS:
        yield f"{part:<10} {count_subjects([name for name in names if split.part_of(name) == part], split.subject)}"
    if warning := find_lookalikes({name: found for name in names if (found := split.part_of(name))}):
        yield f"warning    {warning}"


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(SplitsConfig, "splits", arguments)
    print_anything()
    raise_interrupts()
    try:
        refuse_several()
        split, index = main(config)
    except (ValueError, OSError) as error:
        print(f"splits: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"splits: {STARTS_AGAIN}", file=sys.stderr)
        return EXIT_CODE
    print("\n".join(introduce(split, index)))
    sizes = {part: len(getattr(split, part)) for part in PARTS}
    print(json.dumps({"split": str(config.out), **sizes, "hash": split.hash}))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
