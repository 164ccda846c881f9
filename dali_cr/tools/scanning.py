"""The command `scan`: read a folder, print a summary, save the index, and list cases to exclude."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import get_args

from dali_cr.index.cases import Index
from dali_cr.index.corpus.nnssl import write_collection
from dali_cr.index.corpus.quality import (
    EMPTY,
    Z,
    check_limits,
    describe_exclusions,
    find_exclusions,
    read_exclusions,
    write_exclusions,
)
from dali_cr.index.layout.listing import Layout, list_files
from dali_cr.index.parts.names import describe_unknown
from dali_cr.index.report import describe
from dali_cr.index.scan import read_listing
from dali_cr.system.owner import own_file


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_data(command)
    command.add_argument(
        "--save", type=Path, metavar="FILE", help="save the index; unchanged files in it are not read again"
    )
    command.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="print the share of the foreground that this window clips",
    )
    command.add_argument(
        "--fresh", "--verify", action="store_true", help="read every file again and verify its checksums"
    )
    command.add_argument(
        "--qc", type=Path, metavar="OUT.csv", help="list duplicates, outliers of intensity and spacing, empty volumes"
    )
    command.add_argument("--qc-z", type=float, default=Z, metavar="Z", help="robust z-score of an outlier")
    command.add_argument("--qc-empty", type=float, default=EMPTY, metavar="SHARE", help="smallest share of foreground")
    command.add_argument(
        "--save-nnssl", type=Path, metavar="FILE", help="write a pretrain_data.json, named after its folder"
    )


def add_data(command: argparse.ArgumentParser) -> None:
    """Add the options that select the data."""
    command.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of volumes, a CSV file (path, case, channel) or a pretrain_data.json of nnssl",
    )
    command.add_argument(
        "--pattern", nargs="+", default=(), metavar="GLOB", help="globs of files, with {case} and {channel} as names"
    )
    command.add_argument(
        "--layout", choices=get_args(Layout), default="auto", help="how files become cases without a pattern"
    )
    command.add_argument("--channels", nargs="+", default=(), metavar="NAME", help="channels of a case, in order")
    command.add_argument("--include", nargs="+", default=(), metavar="GLOB", help="additional files, also labels")
    command.add_argument("--exclude", nargs="+", default=(), metavar="GLOB", help="files to exclude")
    command.add_argument(
        "--exclude-from", type=Path, nargs="+", default=(), metavar="CSV", help="lists of cases to exclude, from --qc"
    )
    command.add_argument(
        "--fourth-axis", choices=("channels", "cases"), default="channels", help="meaning of the 4th axis of files"
    )


def find(chosen: argparse.Namespace, known: Index | None = None) -> Index:
    """Scan the data of the options of `add_data`."""
    reasons = {path: read_exclusions(path) for path in chosen.exclude_from}
    listing = list_files(chosen.data, chosen.pattern, chosen.layout, chosen.channels, chosen.include, chosen.exclude)
    for path, some in reasons.items():  # before hours of reading
        _refuse(path, listing.without_file(some), listing.case_names, "no file of the data belongs to them")
    index = read_listing(listing, fourth_axis=chosen.fourth_axis, known=known)
    names = {case.name for case in index.cases}
    for path, some in reasons.items():
        _refuse(path, some.keys() - names, names, "their files are labels, damaged or incomplete and no case")
    every = {name: reason for some in reasons.values() for name, reason in some.items()}
    return index.exclude(every) if reasons else index


def _refuse(path: Path, unknown: Collection[str], known: Collection[str], why: str) -> None:
    """Raise ValueError if a list of cases to exclude has unknown names."""
    if unknown:
        raise ValueError(
            f"exclude-from: expected names of cases in {path}, got {describe_unknown(unknown, known)}: {why}; correct "
            "or remove their rows"
        )


def run_scan(chosen: argparse.Namespace) -> None:
    """Run the command `scan`."""
    if chosen.window and not chosen.window[0] < chosen.window[1]:
        raise ValueError(f"window: expected LOW below HIGH, got {chosen.window[0]:g} {chosen.window[1]:g}")
    check_limits(chosen.qc_z, chosen.qc_empty)
    for option, path in (("save", chosen.save), ("qc", chosen.qc), ("save-nnssl", chosen.save_nnssl)):
        if path:  # before hours of reading
            _check_writable(option, path.parent)
    if chosen.qc and chosen.qc.exists():
        raise FileExistsError(f"qc: expected a new file, {chosen.qc} is there and may have been edited; remove it")
    with own_file(chosen.save) if chosen.save else nullcontext():
        index = find(chosen, _known(chosen))
        print(describe(index, tuple(chosen.window) if chosen.window else None))
        if not index.cases:
            raise ValueError("scan: expected at least one valid volume, every file was refused for the reasons above")
        if chosen.save:
            index.save(chosen.save)
        if chosen.save_nnssl:
            write_collection(index, chosen.save_nnssl, chosen.save_nnssl.absolute().parent.name)
        if chosen.qc:
            _check_quality(index, chosen)


def _check_writable(option: str, folder: Path) -> None:
    """Make the folder for the file of an option; raise PermissionError if nothing can be written into it."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise PermissionError(f"{option}: expected a writable folder, got {folder}")


def _check_quality(index: Index, chosen: argparse.Namespace) -> None:
    """Write the list of cases to exclude, and print their number."""
    found = find_exclusions(index, z=chosen.qc_z, empty=chosen.qc_empty)
    write_exclusions(chosen.qc, found)
    for number, line in enumerate(describe_exclusions(index, found)):
        print(f"{'quality' * (not number):<12} {line}")
    if found:
        print(f"{'':<12} listed in {chosen.qc}; remove rows to keep, then scan with --exclude-from {chosen.qc}")


def _known(chosen: argparse.Namespace) -> Index | None:
    """Return the index of an earlier scan in the file to save to, or None."""
    if chosen.fresh or not chosen.save or not chosen.save.exists():
        return None
    try:
        return Index.load(chosen.save)
    except ValueError as error:
        raise ValueError(f"{error}; give --fresh to replace the file") from error
