"""The cases of a run: as an earlier run left them, from a saved index, or by scanning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import dali_cr

from ..run.config import DATA, DataSettings
from ..run.folder import plain, tell_apart
from .split import Part, Split


def open_index(config: DataSettings) -> dali_cr.Index:
    """Return the cases from ``--index``, or by scanning."""
    if config.index:
        root = os.path.commonpath([path.absolute() for path in config.data]) if config.data else None
        index = dali_cr.Index.load(config.index, root)
        if changed := index.changed():
            named = "; ".join(f"{problem.path}: {problem.reason}" for problem in changed[:5])
            raise ValueError(
                f"index: wanted the files that {config.index} was made of, {len(changed)} of them changed ({named}); "
                "scan them again, or leave --index out"
            )
        return index
    return dali_cr.scan(
        config.data,
        config.pattern,
        channels=config.channels,
        include=config.include,
        exclude=config.exclude,
        fourth_axis=config.fourth_axis,
    )


def find_index(
    config: DataSettings, earlier: dict[str, Any] | None, split: Split | None = None, part: Part = "pool"
) -> dali_cr.Index:
    """Return the cases: as a resumed run left them, from ``--index``, or by scanning; of one part of a split, if any.

    Raises
    ------
    ValueError
        If a resumed run would get other data.
    """
    kept = config.out / "index.json"
    now = plain(config)
    same = earlier is not None and all(earlier["config"].get(name) == now[name] for name in (*DATA, "split"))
    index = dali_cr.Index.load(kept) if same and kept.exists() else None
    # Files that were merely copied or touched are the same data: scanning them again tells.
    if index is None or index.changed():
        index = open_index(config)
    if split:
        index = split.take(index, part)
    if earlier and index.fingerprint != earlier["fingerprints"]["index"]:
        raise ValueError(f"resume: wanted the data of the run in {config.out}, {tell_apart(kept, index)}")
    return index


def refused_files(index: dali_cr.Index, shown: int = 20) -> Sequence[str]:
    """Return lines that name the files that were refused, and why."""
    lines = [f"refused    {problem.path}: {problem.reason}" for problem in index.problems[:shown]]
    more = len(index.problems) - shown
    return [*lines, f"refused    {more} more: see index.json"] if more > 0 else lines
