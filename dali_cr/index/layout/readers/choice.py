"""Assign files to cases and channels by the patterns, or by the first layout that all folders have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from dali_cr.index.files import Names, Pattern, as_patterns, case_of
from dali_cr.index.grouping import MAX_CHANNELS
from dali_cr.index.layout.readers.bids import read_bids
from dali_cr.index.layout.readers.claims import Claims
from dali_cr.index.layout.readers.division import divide
from dali_cr.index.layout.readers.nnunet import read_nnunet
from dali_cr.index.layout.walk import Tree

EVERY_VOLUME = ("**/*.nii", "**/*.nii.gz", "**/*.hdr", "**/*.hdr.gz", "**/*.ozx")

Layout = Literal["auto", "nnunet", "bids", "files"]

READERS: dict[str, Callable[[Path, Sequence[str], Sequence[str], bool], Claims | None]] = {
    "nnunet": read_nnunet,
    "bids": read_bids,
}
"""Layout readers: functions of folder, volumes and images, channels, and whether the user selected the layout."""

_EXAMPLES = {"nnunet": "imagesTr/CASE_0000.nii.gz", "bids": "sub-01/anat/sub-01_T1w.nii.gz"}


def claim_files(
    trees: Sequence[Tree],
    kept: Sequence[Sequence[str]],
    patterns: Sequence[Pattern],
    layout: Layout,
    channels: Sequence[str],
) -> tuple[list[Claims], str]:
    """Return the claims for each tree, and the name of the layout.

    Parameters
    ----------
    trees : sequence of Tree
    kept : sequence of sequence of str
        Paths of volumes and images under each tree.
    patterns : sequence of Pattern
    layout : "auto", "nnunet", "bids" or "files"
    channels : sequence of str

    Raises
    ------
    FileNotFoundError
        If a folder does not have the layout that was asked for.
    ValueError
        If names cannot be divided into case and channel, or channels are given without any in names.
    """
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
