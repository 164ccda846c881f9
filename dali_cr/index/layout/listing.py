"""Map the files of a folder to cases and channels, by layout, pattern or CSV file, and count the ignored files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from dali_cr.index.corpus.nnssl import is_collection, read_collection
from dali_cr.index.files import Found, Globs, Names, Pattern, as_patterns, case_of, is_readable
from dali_cr.index.grouping import MAX_CHANNELS
from dali_cr.index.layout.bids import read_bids
from dali_cr.index.layout.claims import Claims
from dali_cr.index.layout.csv_files import is_table, read_csv_files
from dali_cr.index.layout.division import divide
from dali_cr.index.layout.given import read_given
from dali_cr.index.layout.leftover import kind_of, nothing_found
from dali_cr.index.layout.nnunet import read_nnunet
from dali_cr.index.layout.stores import find_stores, name_stores
from dali_cr.index.layout.walk import Roots, Tree, walk_trees
from dali_cr.index.volumes import Problem

EVERY_VOLUME = ("**/*.nii", "**/*.nii.gz", "**/*.hdr", "**/*.hdr.gz", "**/*.ozx")

Layout = Literal["auto", "nnunet", "bids", "files"]

READERS: dict[str, Callable[[Path, Sequence[str], Sequence[str], bool], Claims | None]] = {
    "nnunet": read_nnunet,
    "bids": read_bids,
}
"""Layout readers: functions of folder, volumes and images, channels, and whether the user selected the layout."""


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
    if table := _list_of(root):
        if pattern or layout != "auto" or include or exclude:
            raise ValueError(f"root: expected no pattern, layout, include or exclude with the CSV file {table}")
        return _listed(table, channels)
    top, trees, problems = walk_trees(root)
    included, excluded = as_patterns(include), as_patterns(exclude)
    kept = [[p for p in t.paths if is_readable(p) and not any(e.match(p) for e in excluded)] for t in trees]
    found, layout_used = _claims(trees, kept, patterns, layout, channels)
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


def _listed(table: Path, channels: Sequence[str]) -> Listing:
    """Return the files listed by a CSV file or nnssl's list."""
    listed = is_collection(table)
    top, files = read_collection(table) if listed else read_csv_files(table)
    if channels and not any(found.channel for found in files.values()):
        raise ValueError(f"channels: expected a column channel in {table}, got none")
    problems = [Problem(path, _UNREAD) for path in files if not is_readable(path)]
    files, taken = under_originals(top, {path: found for path, found in files.items() if is_readable(path)})
    return Listing(top, files, [*problems, *taken], {}, "nnssl" if listed else "csv", list(channels))


def under_originals(top: Path, files: Mapping[str, Found]) -> tuple[dict[str, Found], list[Problem]]:
    """Return listed files with brick stores under the names of their originals, and a problem for each duplicate.

    A missing file is read from its brick store, if there is one.
    """
    _, named, problems = name_stores(top, files)
    names = {store: name for name, store in named.items()}
    missing = find_stores(top, files)
    duplicates = {problem.path for problem in problems}
    found = {
        names.get(path, path): replace(file, store=path if path in names else missing.get(path, ""))
        for path, file in files.items()
        if path not in duplicates
    }
    return dict(sorted(found.items())), problems


_UNREAD = "expected .nii, .nii.gz, .hdr, .ozx, .png or .jpg in the list, got another suffix"


def find_root(root: Roots) -> Path:
    """Return the root that paths of an index of these folders, or of this CSV file, are relative to."""
    if table := _list_of(root):
        return read_collection(table)[0] if is_collection(table) else read_csv_files(table)[0]
    given = [root] if isinstance(root, (str, os.PathLike)) else root
    return Path(os.path.commonpath([Path(one).absolute() for one in given]))


def _list_of(root: Roots) -> Path | None:
    """Return the root if it is a CSV file or nnssl's list, else None."""
    given = [root] if isinstance(root, (str, os.PathLike)) else list(root)
    tables = [Path(one) for one in given if (is_table(one) or is_collection(one)) and os.path.isfile(one)]
    if tables and len(given) > 1:
        raise ValueError(f"root: expected folders, or one CSV file or JSON file, got {', '.join(map(str, given))}")
    return tables[0] if tables else None


def _claims(
    trees: Sequence[Tree],
    kept: Sequence[Sequence[str]],
    patterns: Sequence[Pattern],
    layout: Layout,
    channels: Sequence[str],
) -> tuple[list[Claims], str]:
    """Return the claims for each tree, and the name of the layout."""
    if patterns:
        return _by_pattern(trees, kept, patterns, channels), "pattern"
    for name, read in READERS.items():
        if layout in ("auto", name):
            some = [read(tree.root, paths, channels, layout == name) for tree, paths in zip(trees, kept, strict=True)]
            claims = [one for one in some if one]
            if len(claims) == len(some):
                return [_with_prefix(one, tree, len(trees)) for one, tree in zip(claims, trees, strict=True)], name
            if layout == name:
                missing = next(tree.root for tree, one in zip(trees, some, strict=True) if not one)
                raise FileNotFoundError(f"layout: expected files such as {_EXAMPLES[name]}, got none in {missing}")
    if channels:
        raise ValueError("channels: expected a pattern with {channel} or a layout with channels, got neither")
    every = as_patterns(EVERY_VOLUME)
    return [Claims({p: (None, None) for p in paths if any(e.match(p) for e in every)}) for paths in kept], "files"


def _with_prefix(claims: Claims, tree: Tree, trees: int) -> Claims:
    """Return the claims with case names prefixed by their folder, if there are several roots."""
    names = {path: (case_of(tree, case, trees), channel) for path, (case, channel) in claims.names.items()}
    return replace(claims, names=names)


_EXAMPLES = {"nnunet": "imagesTr/CASE_0000.nii.gz", "bids": "sub-01/anat/sub-01_T1w.nii.gz"}


def _by_pattern(
    trees: Sequence[Tree], kept: Sequence[Sequence[str]], patterns: Sequence[Pattern], channels: Sequence[str]
) -> list[Claims]:
    """Return the claims of patterns; names are divided in the same way under all roots."""
    readings: dict[str, list[Names]] = {}
    places: dict[str, tuple[int, str]] = {}
    for number, (tree, paths) in enumerate(zip(trees, kept, strict=True)):
        for path in paths:
            if found := next((some for p in patterns if (some := p.readings(path))), None):
                key = f"{number}:{path}"
                places[key] = number, path
                # If two of the given channels match, use the longer one: pre_t1, not t1.
                fitting = found[:1] if channels else found
                readings[key] = [(case_of(tree, case, len(trees)), channel) for case, channel in fitting]
    names: list[dict[str, Names]] = [{} for _ in trees]
    for key, chosen in divide(readings, MAX_CHANNELS).items():
        number, path = places[key]
        names[number][path] = chosen
    skipped = [dict.fromkeys((path for path in paths if path not in some), "outside the pattern")
              for paths, some in zip(kept, names, strict=True)]  # fmt: skip
    return [Claims(some, tuple(channels), why) for some, why in zip(names, skipped, strict=True)]


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
