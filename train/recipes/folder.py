"""Folders of a recipe: the files of a published data set, and the tables, labels and split prepared from them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import dali_cr
from dali_cr.index.volumes import Case

from ..data.split import Split
from ..output.files import write_whole

_SHOWN = 5
"""Names in a message."""


def find_named(source: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Return the files under a folder that match a glob, by file name; hidden files are ignored.

    Raises
    ------
    ValueError
        If the folder does not exist, or two files have one name.
    """
    if not source.is_dir():
        raise ValueError(f"source: expected the folder of the data set, {source} is none")
    found: dict[str, Path] = {}
    for path in sorted(path for pattern in patterns for path in source.absolute().rglob(pattern)):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.name in found:
            raise ValueError(
                f"source: expected one file named {path.name}, got {found[path.name]} and {path}; remove a copy"
            )
        found[path.name] = path
    return found


def refuse_missing(missing: Collection[str], what: str, advice: str) -> None:
    """Raise ValueError if something is missing; the message names the first of it."""
    if missing:
        named = ", ".join(sorted(missing)[:_SHOWN]) + " …" * (len(missing) > _SHOWN)
        raise ValueError(f"source: expected {what}, {len(missing)} missing: {named}; {advice}")


def read_rows(path: Path, columns: Collection[str], key: str) -> dict[str, dict[str, str]]:
    """Read a CSV file, by the value of a column.

    Raises
    ------
    ValueError
        If it cannot be read, lacks a column, or has two rows of one value.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"source: expected a CSV file, {path} cannot be read: {error}") from error
    lacking = {key, *columns} - set(reader.fieldnames or ())
    refuse_missing(lacking, f"the columns of {path}", "is it the published file?")
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=2):
        values = {name: (line[name] or "").strip() for name in (key, *columns)}
        if not values[key] or rows.setdefault(values[key], values) is not values:
            raise ValueError(f"source: expected one row for each {key}, line {number} of {path} has {values[key]!r}")
    return rows


def draw_subjects(subjects: Iterable[str], fractions: Sequence[float], seed: int) -> list[frozenset[str]]:
    """Divide subjects at random into parts; the same subjects, fractions and seed give the same parts.

    Raises
    ------
    ValueError
        If there are too few subjects, or the fractions are invalid.
    """
    names = dali_cr.Index(Path(), tuple(Case(name, ()) for name in sorted(subjects)))
    if len(names) < len(fractions):
        raise ValueError(f"source: expected at least {len(fractions)} subjects to divide, got {len(names)}")
    return [frozenset(case.name for case in part.cases) for part in names.split(tuple(fractions), seed)]


def images_csv(paths: Sequence[tuple[str, str, Path]]) -> bytes:
    """Return the list of files that ``--data`` reads.

    Parameters
    ----------
    paths : sequence of (case, channel, path)
        Channel "" for images of one channel.
    """
    several = any(channel for _, channel, _ in paths)
    header = ["path", "case", *["channel"] * several]
    return table(header, [[str(path), case, *[channel] * several] for case, channel, path in paths])


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def split_json(split: Split) -> bytes:
    """Return a split file."""
    return (json.dumps(split.content(), indent=2) + "\n").encode()


def write_all(out: Path, files: Mapping[str, bytes], links: Mapping[str, Path] | None = None) -> None:
    """Write files and symbolic links into a folder; what is there already must be the same.

    Raises
    ------
    ValueError
        If a file or link is there with another content; then nothing is written.
    """
    links = links or {}
    for name in (*files, *links):
        path = out / name
        if not os.path.lexists(path):
            continue
        same = path.is_symlink() == (name in links)
        same = same and (path.readlink() == links[name] if name in links else path.read_bytes() == files[name])
        if not same:
            raise ValueError(
                f"out: expected {path} as prepared from this source with these options, it has another content, and "
                "runs may use it; give another folder"
            )
    for folder in sorted({(out / name).parent for name in (*files, *links)}):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(out / name, content)
    for name, target in links.items():
        if not (out / name).is_symlink():
            (out / name).symlink_to(target)
