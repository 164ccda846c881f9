"""Describe the layout that a scan used, and propose options for a better one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

from dali_cr.index.cases import Index
from dali_cr.index.files import Names, Pattern
from dali_cr.index.grouping import MAX_CHANNELS
from dali_cr.index.layout.readers.choice import READERS
from dali_cr.index.layout.readers.division import divide
from dali_cr.index.volumes import Volume

_PATTERNS = (
    "{case}/{case}_{channel}",
    "{case}/{case}-{channel}",
    "{case}/{channel}",
    "{case}_{channel}",
    "{case}-{channel}",
)
_SUFFIX = re.compile(r"\.(nii|hdr)(\.gz)?$", re.IGNORECASE)


def describe_layout(index: Index) -> str:
    """Return a line on the layout and its alternatives; empty for a pattern or a CSV file."""
    if index.layout == "nnunet":
        how = "one file per channel" if index.channel_names else "one file per case"
        return f"nnunet: {how}; --layout files uses one case per volume"
    if index.layout == "bids":
        if index.channel_names:
            return "bids: the suffix is the channel; --layout files uses one case per volume"
        return (
            "bids: one file per case, as most subjects lack a suffix or have several grids; --channels selects suffixes"
        )
    if index.layout == "files":
        proposed = propose_layout(index) or propose_pattern(index)
        return f"files: one file per case{proposed and f'; the names look like {proposed}'}"
    return ""


def propose_layout(index: Index) -> str:
    """Return the option for a layout that most, but not all, files of an index have; empty if there is none."""
    volumes = {volume.path: volume for case in index.cases for volume in case.volumes}
    for name, read in READERS.items():
        claims = read(index.root, list(volumes), (), True)
        if not claims or 2 * len(claims.names) <= len(volumes):
            continue
        cases: dict[str | None, list[Volume]] = defaultdict(list)
        for path, (case, _) in claims.names.items():
            cases[case].append(volumes[path])
        # BIDS files on several grids are used too, one case per file.
        if len(cases) > 1 and (name == "bids" or all(map(_on_one_grid, cases.values()))):
            return f"--layout {name}"
    return ""


def propose_pattern(index: Index) -> str:
    """Return options for a pattern that would give cases of several channels.

    Parameters
    ----------
    index : Index
        Index with one file per case.

    Returns
    -------
    options : str
        Such as ``--pattern '**/{case}/{channel}.nii.gz' --channels t1 t2``; empty unless it gives at least two cases
        with the same channels, each on one grid.
    """
    volumes = {case.volumes[0].path: case.volumes[0] for case in index.cases if len(case.volumes) == 1}
    suffixes = {found[0] if (found := _SUFFIX.search(path)) else "" for path in volumes}
    if len(suffixes) != 1 or len(volumes) != len(index.cases):
        return ""
    for text in _PATTERNS:
        glob = f"**/{text}{next(iter(suffixes))}"
        pattern = Pattern(glob)
        readings = {path: some for path in volumes if (some := pattern.readings(path))}
        if len(readings) == len(volumes) and (channels := _channels(readings, volumes)):
            return f"--pattern '{glob}' --channels {' '.join(channels)}"
    return ""


def _channels(readings: Mapping[str, list[Names]], volumes: Mapping[str, Volume]) -> list[str]:
    """Return the channels that all cases have, each case on one grid, sorted; empty if the cases differ."""
    try:
        division = divide(readings, MAX_CHANNELS)
    except ValueError:
        return []
    cases: dict[str | None, dict[str, Volume]] = defaultdict(dict)
    for path, (case, channel) in division.items():
        cases[case][str(channel)] = volumes[path]
    first, *others = [sorted(found) for found in cases.values()]
    whole = sum(map(len, cases.values())) == len(volumes) and all(found == first for found in others)
    if not whole or not others or not 2 <= len(first) <= MAX_CHANNELS or all(name.isdigit() for name in first):
        return []
    return first if all(_on_one_grid(list(found.values())) for found in cases.values()) else []


def _on_one_grid(volumes: list[Volume]) -> bool:
    return all(a.shape == b.shape and a.geometry.same_grid(b.geometry) for a, b in pairwise(volumes))
