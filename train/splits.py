"""Split the subjects of a data set into train, val and test, and write the split to a file.

::

    python -m train.splits scans/ -o splits.json --fractions 0.7 0.1 0.2 --seed 0
    python -m train.splits images/ --pattern "**/*.png" --table labels.csv --column split -o splits.json
    python -m train.splits --corpus corpus.toml -o splits.json
    python -m train.pretrain --data scans/ --split splits.json --part train --out runs/first
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
from dali_cr.index.layout.listing import EVERY_VOLUME, Layout, list_files
from dali_cr.index.layout.proposal import describe_layout
from dali_cr.index.report import describe_copies
from dali_cr.index.scan import read_listing
from dali_cr.system.console import print_anything
from dali_cr.system.interrupt import Outputs
from dali_cr.system.owner import own_file

from .data.labels import find_label_files, match, share_labels
from .data.split.make import check_table, make_split, split_of_table
from .data.split.parts import PARTS, Split
from .data.subjects.lookalikes import find_lookalikes
from .data.subjects.rules import corpus_subject, count_subjects, listed_subject
from .methods.corpus import read_corpus
from .output.files import write_json
from .start.command import read_arguments, refuse_several, stopped
from .start.interrupt import raise_interrupts


@dataclass(frozen=True, kw_only=True)
class SplitsConfig:
    """Split the subjects of a folder of volumes into train, val and test."""

    data: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Data: folders of volumes (NIfTI), or of images (PNG, JPEG) with a --pattern for them; or one CSV file of
    paths."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Output: the file to write; it must not exist."""
    corpus: Path | None = None
    """Data: TOML or JSON file of several data sets, in place of folders, as for pretrain --corpus."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Split: fractions of the subjects for train, val and test."""
    seed: int = 0
    """Split: seed of the random assignment."""
    subject: str | None = None
    r"""Split: regular expression that finds the subject in a case's name, for example 'Patient(\d+)'. Not needed for
    names that follow BIDS or nnU-Net, nor with a list of nnssl, which names the subjects."""
    labels: Path | None = None
    """Split: folder of label volumes; images that share a label volume stay in one part."""
    label_pattern: tuple[str, ...] = EVERY_VOLUME
    """Split: globs of the files in --labels; {case} stands for the case's name."""
    table: Path | None = None
    """Split: CSV file with the part of each case (train, val or test), in place of a random split."""
    column: str = "split"
    """Split: column of --table with the part."""
    pattern: tuple[str, ...] = ()
    """Data: globs of the files; {case} and {channel} stand for parts of the name. By default all volumes."""
    layout: Layout = "auto"
    """Data: layout of the folder without a --pattern: nnunet, bids, files (each file is a case), or auto to detect
    it."""
    channels: tuple[str, ...] = ()
    """Data: names of {channel} that every case must have; by default all that are found."""
    exclude: tuple[str, ...] = ()
    """Data: globs of files to exclude."""

    def __post_init__(self) -> None:
        """Check that there are either folders or a corpus file."""
        if not self.data and not self.corpus:
            raise ValueError("data: expected folders of volumes, a CSV file of paths, or --corpus FILE; got none")
        if self.corpus:
            for name in ("data", "pattern", "channels", "exclude"):
                if getattr(self, name):
                    raise ValueError(f"corpus: expected no {name} with --corpus, got both; write it into the file")


def main(config: SplitsConfig) -> tuple[Split, dali_cr.Index]:
    """Make the split and write its file; return the split and the index of the images.

    Raises
    ------
    ValueError, OSError
        If it cannot be made.
    """
    with own_file(config.out):
        if config.out.exists():
            raise ValueError(
                f"out: expected a new file, {config.out} exists and is not overwritten, since runs may use it; give "
                "another name"
            )
        split, index = _make(config)
        write_json(config.out, split.content())
    return split, index


def _make(config: SplitsConfig) -> tuple[Split, dali_cr.Index]:
    """Return the split according to the settings, and the index of the images."""
    labels = find_label_files(config.labels, config.label_pattern) if config.labels else {}  # before hours of reading
    index = _open(config)
    names = [case.name for case in index.cases]
    shared = share_labels(match(names, labels, "label", "leave")[0]) if labels else []
    if config.table:
        split = split_of_table(names, config.table, config.column, config.subject)
    else:
        subject = config.subject or _find_subject(index)
        split = make_split(names, config.fractions, config.seed, subject, [*index.copies, *shared])
    split.check_together(index.copies, "hold the same image")
    split.check_together(shared, "share a label")
    return split, index


def _open(config: SplitsConfig) -> dali_cr.Index:
    """Scan the data or the data sets of the corpus file."""
    if config.corpus:
        return read_corpus(config.corpus).open()
    listing = list_files(config.data, config.pattern, config.layout, config.channels, (), config.exclude)
    if config.table:  # before hours of reading
        check_table(listing.case_names, config.table, config.column)
    return read_listing(listing)


def _find_subject(index: dali_cr.Index) -> str | None:
    """Return the regular expression for subjects, if it is not that of the names."""
    if index.datasets:
        return corpus_subject([[case.name for case in index.dataset(name).cases] for name in index.datasets])
    return listed_subject(index.layout, [case.name for case in index.cases])


def introduce(split: Split, index: dali_cr.Index) -> Iterator[str]:
    """Yield lines about the data and the parts."""
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
    outputs = Outputs()
    try:
        refuse_several()
        outputs.add(config.out)
        split, index = main(config)
    except (ValueError, OSError) as error:
        print(f"splits: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        return stopped("splits", stop, outputs)
    print("\n".join(introduce(split, index)))
    sizes = {part: len(getattr(split, part)) for part in PARTS}
    print(json.dumps({"split": str(config.out), **sizes, "hash": split.hash}))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
