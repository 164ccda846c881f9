"""Index of a run's cases, from the run to resume, a saved index or a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dali_cr
from dali_cr.index.layout.listing import list_files
from dali_cr.index.layout.lists import find_root
from dali_cr.index.layout.proposal import describe_layout
from dali_cr.index.report import describe_ignored
from dali_cr.index.scan import read_listing

from ..run.config.data import DATA, DataSettings
from ..run.folder.config_file import plain
from .split.parts import PARTS, Part, Split

OpenData = Callable[[Any, dali_cr.Index | None], dali_cr.Index]


def open_index(
    config: DataSettings, known: dali_cr.Index | None = None, split: Split | None = None, parts: Sequence[Part] = PARTS
) -> dali_cr.Index:
    """Load the index from ``--index``, or scan the data; files unchanged since the index `known` are not read again.

    Parameters
    ----------
    config : DataSettings
    known : Index, optional
    split : Split, optional
    parts : sequence of str
        Parts of the split that need cases.

    Raises
    ------
    ValueError
        If a part cannot have a case, before a file is read.
    """
    if config.index:
        root = find_root(config.data) if config.data else None
        index = dali_cr.Index.load(config.index, root)
        refuse_changed(index, config.index)
        return index
    listing = list_files(config.data, config.pattern, config.layout, config.channels, config.include, config.exclude)
    if split and config.fourth_axis == "channels":  # frames are named when their file has been read
        for part in parts:
            split.check_part(part, listing.case_names)
    return read_listing(listing, fourth_axis=config.fourth_axis, known=known)


def refuse_changed(index: dali_cr.Index, path: Path) -> None:
    """Raise ValueError if files of a saved index have changed since."""
    if changed := index.changed():
        named = "; ".join(f"{problem.path}: {problem.reason}" for problem in changed[:5])
        raise ValueError(
            f"index: expected the files that {path} was made from, {len(changed)} of them changed ({named}); "
            "scan them again, or omit --index"
        )


def find_index(
    config: DataSettings,
    earlier: dict[str, Any] | None,
    split: Split | None = None,
    part: Part = "train",
    open_data: OpenData | None = None,
) -> dali_cr.Index:
    """Return the index of a run, of one part if there is a split: the stored one when resuming, or a new one.

    Parameters
    ----------
    config : DataSettings
    earlier : dict or None
        config.json of the run to resume.
    split : Split, optional
    part : str
    open_data : callable, optional
        Function of the settings and the stored index that returns the index of all cases. Default: `open_index`.

    Raises
    ------
    ValueError
        If a resumed run would get different data.
    """
    open_data = open_data or partial(open_index, split=split, parts=(part,))
    path = config.out / "index.json"
    kept = dali_cr.Index.load(path) if earlier and path.exists() else None
    if kept is not None and (split or config.index):
        # A stored index of one part lacks the files of the other parts, which a scan would have to read again.
        now, was = plain(config), earlier["config"] if earlier else {}
        same = all(was.get(name) == now.get(name) for name in (*DATA, "split", "corpus"))
        index = kept if same and not kept.changed() else open_data(config, None)
    else:
        index = open_data(config, kept)
    if split:
        index = split.take(index, part)
    if earlier and index.fingerprint != earlier["fingerprints"]["index"]:
        raise ValueError(
            f"resume: expected the data of the run in {config.out}, {describe_changes(path, index)}. Restore the data, "
            f"continue with the index of the run (--index {path}), or start a new run with another --out"
        )
    return index


def refused_files(index: dali_cr.Index, shown: int = 20) -> Sequence[str]:
    """Return lines about the layout, the rejected files with reasons, and the ignored files."""
    lines = [f"refused    {problem.path}: {problem.reason}" for problem in index.problems[:shown]]
    more = len(index.problems) - shown
    if more > 0:
        lines.append(f"refused    {more} more: dali-cr scan lists all")
    layout = describe_layout(index)
    ignored = [f"ignored    {describe_ignored(index)}"] if index.ignored else []
    return [*([f"layout     {layout}"] if layout else []), *lines, *ignored]


def describe_changes(kept: Path, index: dali_cr.Index) -> str:
    """Describe how the cases of an index differ from those of the index file `kept`."""
    if not kept.exists():
        return "got other data"
    before = {case.name: case for case in dali_cr.Index.load(kept).cases}
    now = {case.name: case for case in index.cases}
    for text, names in (("is gone", before.keys() - now.keys()), ("is new", now.keys() - before.keys())):
        if names:
            return f"of {len(before)} cases; got {len(now)}, {min(names)} {text}"
    contents = {name: [volume.sha256 for volume in case.volumes] for name, case in before.items()}
    other = [name for name, case in now.items() if contents[name] != [volume.sha256 for volume in case.volumes]]
    return f"of {len(before)} cases; got as many, {min(other, default='some')} with other content"
