"""Reading of published data sets, and writing of the tables, labels and splits prepared from them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import dali_cr
from dali_cr.index.volumes import Case

from ..data.split.parts import Split
from ..output.files import write_whole

_SHOWN = 5
"""Maximum number of names in a message."""


def find_files(source: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files under a folder whose names match a glob, sorted; hidden files are ignored, links are followed.

    Raises
    ------
    ValueError
        If the folder does not exist, or a file is a link to nothing.
    """
    if not source.is_dir():
        raise ValueError(f"source: expected the folder of the data set, {source} is not a folder")
    found, seen = [], set()
    for place, folders, names in os.walk(source.absolute(), followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        shown = (name for name in names if not name.startswith("."))
        found += [Path(place, name) for name in shown if any(fnmatchcase(name, pattern) for pattern in patterns)]
    for path in found:
        refuse_dangling(path)
    return sorted(path for path in found if path.is_file())


def refuse_dangling(path: Path) -> None:
    """Raise ValueError if a path is a link to nothing."""
    if path.is_symlink() and not path.exists():
        raise ValueError(
            f"source: expected a file, {path} is a link to {path.readlink()}, which does not exist; repair the link or "
            "remove it"
        )


def find_named(source: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Return the files of `find_files` by file name.

    Raises
    ------
    ValueError
        If the folder does not exist, a file is a link to nothing, or two files have one name.
    """
    found: dict[str, Path] = {}
    for path in find_files(source, patterns):
        if path.name in found:
            raise ValueError(
                f"source: expected one file named {path.name}, got {found[path.name]} and {path}; remove a copy"
            )
        found[path.name] = path
    return found


def refuse_missing(missing: Collection[str], what: str, advice: str) -> None:
    """Raise ValueError if names are missing; the message has the first ones."""
    if missing:
        named = ", ".join(sorted(missing)[:_SHOWN]) + " …" * (len(missing) > _SHOWN)
        raise ValueError(f"source: expected {what}, {len(missing)} missing: {named}; {advice}")


def read_rows(path: Path, columns: Collection[str], key: str) -> dict[str, dict[str, str]]:
    """Read the rows of a CSV file by the value of a column.

    Raises
    ------
    ValueError
        If it cannot be read, a column is missing, or two rows have the same value.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"source: expected a CSV file, {path} cannot be read: {error}") from error
    lacking = {key, *columns} - set(reader.fieldnames or ())
    refuse_missing(lacking, f"the columns of {path}", "use the published file")
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=2):
        values = {name: (line[name] or "").strip() for name in (key, *columns)}
        if not values[key] or rows.setdefault(values[key], values) is not values:
            raise ValueError(f"source: expected one row for each {key}, line {number} of {path} has {values[key]!r}")
    return rows


def draw_subjects(subjects: Iterable[str], fractions: Sequence[float], seed: int) -> list[frozenset[str]]:
    """Divide subjects into parts, as a function of subjects, fractions and seed.

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
    """Return the content of a CSV file for ``--data``.

    Parameters
    ----------
    paths : sequence of (case, channel, path)
        Files; channel is "" for images of one channel.
    """
    several = any(channel for _, channel, _ in paths)
    header = ["path", "case", *["channel"] * several]
    return table(header, [[str(path), case, *[channel] * several] for case, channel, path in paths])


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return the content of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def split_json(split: Split) -> bytes:
    """Return the content of a split file."""
    return (json.dumps(split.content(), indent=2) + "\n").encode()


def write_all(out: Path, files: Mapping[str, bytes], links: Mapping[str, Path] | None = None) -> None:
    """Write files and symbolic links into a folder; existing ones must be equal.

    Raises
    ------
    ValueError
        If a file or link exists with other content; nothing is written then.
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
                f"out: expected {path} as prepared from this source with these options, got other content; give "
                "another folder"
            )
    for folder in sorted({(out / name).parent for name in (*files, *links)}):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(out / name, content)
    for name, target in links.items():
        if not (out / name).is_symlink():
            (out / name).symlink_to(target)
