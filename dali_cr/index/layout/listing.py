"""Map the files of a folder to cases and channels, by layout, pattern or CSV file, and count the ignored files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from dali_cr.index.files import Found, Globs, Pattern, as_patterns, case_of, is_readable
from dali_cr.index.layout.given import read_given
from dali_cr.index.layout.leftover import kind_of, nothing_found
from dali_cr.index.layout.lists import find_list, read_list, under_originals
from dali_cr.index.layout.readers.choice import EVERY_VOLUME, Layout, claim_files
from dali_cr.index.layout.readers.claims import Claims
from dali_cr.index.layout.walk import Roots, Tree, walk_trees
from dali_cr.index.volumes import Problem

__all__ = ["EVERY_VOLUME", "Layout", "Listing", "list_files", "list_given"]


@dataclass(frozen=True)
class Listing:
    """The files to read, with their cases and channels.

    Attributes
    ----------
    top : Path
        The folder that paths are relative to.
    files : dict of str to Found
        By path, sorted.
    problems : list of Problem
        Folders that cannot be read.
    skipped : dict of str to str
        Kind of each ignored file, such as ".dcm", by path.
    layout : str
        "nnunet", "bids", "files", "pattern" or "csv".
    channels : list of str
        Channels that a case must have, in order; empty to use all channels found, sorted.
    fallback : dict of str to Found, or None
        The same files with one case per file, for an uncertain layout; used if most of its cases lack a channel or have
        channels on several grids.
    """

    top: Path
    files: dict[str, Found]
    problems: list[Problem]
    skipped: dict[str, str]
    layout: str
    channels: list[str]
    fallback: dict[str, Found] | None = None

    def ignored(self, used: Container[str]) -> dict[str, int]:
        """Return the number of ignored files by kind, the most frequent first; `used` are files of cases."""
        return dict(Counter(kind for path, kind in self.skipped.items() if path not in used).most_common())

    @property
    def case_names(self) -> set[str]:
        """Names that cases may have; without those of frames, whose number is in the files.

        Not all are names of cases: a file may be damaged or a label, or a channel missing.
        """
        return {found.case or path for files in (self.files, self.fallback or {}) for path, found in files.items()}

    def without_file(self, names: Iterable[str]) -> list[str]:
        """Return the names of cases that no file can belong to, sorted."""
        every = self.case_names
        # "name#3" is a frame of a file.
        return sorted(name for name in names if name not in every and name.rpartition("#")[0] not in every)


def list_files(
    root: Roots, pattern: Globs, layout: Layout, channels: Sequence[str], include: Globs, exclude: Globs
) -> Listing:
    """Find the files to read.

    Parameters
    ----------
    root, pattern, layout, channels, include, exclude
        As for `dali_cr.scan`.

    Raises
    ------
    FileNotFoundError
        If a root is not a folder, or has no file to read.
    ValueError
        If an argument is invalid, or names cannot be divided into case and channel.
    """
    if layout not in get_args(Layout):
        raise ValueError(f"layout: expected one of {', '.join(get_args(Layout))}, got {layout!r}")
    if pattern and layout != "auto":
        raise ValueError(f"layout: expected a pattern or a layout, got {pattern!r} and {layout!r}")
    patterns = as_patterns(pattern, channels)
    if channels and not all(p.has_channel for p in patterns):
        raise ValueError(f"channels: expected a pattern with {{channel}}, got {pattern or 'none'}")
    if table := find_list(root):
        if pattern or layout != "auto" or include or exclude:
            raise ValueError(f"root: expected no pattern, layout, include or exclude with the CSV file {table}")
        top, files, problems, kind = read_list(table, channels)
        return Listing(top, files, problems, {}, kind, list(channels))
    top, trees, problems = walk_trees(root)
    included, excluded = as_patterns(include), as_patterns(exclude)
    kept = [[p for p in t.paths if is_readable(p) and not any(e.match(p) for e in excluded)] for t in trees]
    found, layout_used = claim_files(trees, kept, patterns, layout, channels)
    files, skipped = _sort_out(trees, kept, found, included)
    if not files:
        raise FileNotFoundError(nothing_found(top, pattern, skipped, problems))
    order = list(dict.fromkeys(channel for claims in found for channel in claims.channels))
    fallback = None
    if layout_used == "bids" and not channels:
        fallback = {path: _file_per_case(found) for path, found in files.items()}
    elif layout_used == "nnunet" and not channels and not any(claims.sure for claims in found):
        fallback = {path: replace(file, case=None, channel=None) for path, file in files.items()}
    return Listing(top, files, problems, skipped, layout_used, order, fallback)


def list_given(
    root: Roots | None,
    files: Sequence[str | os.PathLike[str]],
    pattern: Globs,
    layout: Layout,
    channels: Sequence[str],
    include: Globs,
    exclude: Globs,
) -> Listing:
    """List the files of ``dali_cr.scan(files=[...])``; one case per file, or as a pattern says.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If an argument is invalid, or cannot be combined with `files`.
    """
    if layout != "auto" or include or exclude:
        raise ValueError("files: expected no layout, include or exclude, which are for folders; give only the files")
    patterns = as_patterns(pattern, channels) if pattern else as_patterns("**/*")
    if channels and not all(p.has_channel for p in patterns):
        raise ValueError(f"channels: expected a pattern with {{channel}}, got {pattern or 'none'}")
    top, given = read_given(root, files, patterns)
    found, problems = under_originals(top, given)
    return Listing(top, found, problems, {}, "pattern" if pattern else "files", list(channels))


def _file_per_case(found: Found) -> Found:
    """Return a file as a case of its own, with the channel as part of the case's name."""
    return replace(found, case=f"{found.case}_{found.channel}", channel=None) if found.channel else found


def _sort_out(
    trees: Sequence[Tree], kept: Sequence[Sequence[str]], claims: Sequence[Claims], included: Sequence[Pattern]
) -> tuple[dict[str, Found], dict[str, str]]:
    """Return the files to read and the kinds of the other files, by path."""
    files: dict[str, Found] = {}
    skipped: dict[str, str] = {}
    for tree, paths, own in zip(trees, kept, claims, strict=True):
        readable = set(paths)
        for path in tree.paths:
            place = (tree.prefix / path).as_posix()
            explicit = next((m for p in included if (m := p.match(path))), None) if path in readable else None
            if names := own.names.get(path):
                files[place] = Found(*names, explicit is not None, tree.store_of(path))
            elif explicit:
                files[place] = Found(case_of(tree, explicit[0], len(trees)), explicit[1], True, tree.store_of(path))
            else:
                excluded = is_readable(path) and path not in readable
                skipped[place] = kind_of(path, "excluded" if excluded else own.skipped.get(path, ""))
        skipped.update(((tree.prefix / path).as_posix(), "hidden") for path in tree.hidden)
    return dict(sorted(files.items())), {path: kind for path, kind in skipped.items() if path not in files}
