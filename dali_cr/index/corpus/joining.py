"""Join data sets under one root: folders of data sets, and names of their cases and files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from dali_cr.index.volumes import Case, Problem, Volume

Texts = str | Mapping[str, str]
"""One text for all data sets, or one by name of each."""


class Parts(Protocol):
    """The fields of an `Index` that joining uses."""

    @property
    def root(self) -> Path:
        """See `Index`."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """See `Index`."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """See `Index`."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """See `Index`."""

    @property
    def set_aside(self) -> tuple[Volume, ...]:
        """See `Index`."""

    @property
    def ignored(self) -> Mapping[str, int]:
        """See `Index`."""

    @property
    def layout(self) -> str:
        """See `Index`."""

    @property
    def datasets(self) -> Mapping[str, str]:
        """See `Index`."""

    @property
    def channels(self) -> int:
        """See `Index`."""


def join(indexes: Mapping[str, Parts], modality: Texts, licence: Texts) -> dict[str, Any]:
    """Return the fields of the result of `Index.concat`.

    Raises
    ------
    ValueError
        As `Index.concat`.
    """
    if not indexes:
        raise ValueError("concat: expected at least one data set, got none")
    for name, index in indexes.items():
        _check(name, index)
    channel_names = agree_on_channels(
        {name: _channels_of(name, index) for name, index in indexes.items()},
        {name: index.channel_names for name, index in indexes.items()},
    )
    top, folders = find_folders({name: index.root for name, index in indexes.items()})
    modalities, licences = texts_of(modality, indexes, "modality"), texts_of(licence, indexes, "licence")
    parts = [(name, folders[name], index) for name, index in indexes.items()]
    layouts = {index.layout for index in indexes.values()}
    return {
        "root": Path(top),
        "cases": tuple(
            join_case(case, name, folder, modalities[name], licences[name])
            for name, folder, index in parts
            for case in index.cases
        ),
        "problems": tuple(move_problem(one, ".", folder) for _, folder, index in parts for one in index.problems),
        "channel_names": channel_names,
        "set_aside": tuple(move_volume(one, ".", folder) for _, folder, index in parts for one in index.set_aside),
        "ignored": dict(sum((Counter(index.ignored) for index in indexes.values()), Counter[str]())),
        "layout": layouts.pop() if len(layouts) == 1 else "",
        "datasets": folders,
    }


def _check(name: str, index: Parts) -> None:
    """Raise ValueError unless an index can be joined to others under a name."""
    check_name(name)
    if not index.cases:
        reasons = "".join(f"; {problem.path}: {problem.reason}" for problem in index.problems[:3])
        raise ValueError(f"concat: expected at least one case in each data set, {name} has none{reasons}")


def _channels_of(name: str, index: Parts) -> int:
    """Return the channels of a data set's cases; raise ValueError if they differ."""
    try:
        return index.channels
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def separate(index: Parts, name: str) -> dict[str, Any]:
    """Return the fields of the result of `Index.dataset`."""
    folder, folders = index.datasets[name], list(index.datasets.values())
    return {
        "root": Path(os.path.normpath(index.root / folder)),
        "cases": tuple(_separate_case(case, folder) for case in index.cases if case.dataset == name),
        "problems": tuple(
            move_problem(one, folder, ".") for one in index.problems if folder_of(one.path, folders) == folder
        ),
        "set_aside": tuple(
            move_volume(one, folder, ".") for one in index.set_aside if folder_of(one.path, folders) == folder
        ),
        "ignored": {},
        "datasets": {},
    }


def _separate_case(case: Case, folder: str) -> Case:
    """Return a case of a data set as before joining."""
    volumes = tuple(move_volume(volume, folder, ".") for volume in case.volumes)
    mask = move_volume(case.mask, folder, ".") if case.mask else None
    return replace(case, name=case.name.removeprefix(f"{case.dataset}/"), volumes=volumes, mask=mask, dataset="")


def check_name(name: object) -> None:
    """Raise ValueError unless a text is a valid name of a data set."""
    if not isinstance(name, str) or not name or "/" in name or not name.isprintable():
        raise ValueError(f"data set: expected a name without '/' and control characters, got {name!r}")


def find_folders(roots: Mapping[str, str | os.PathLike[str]]) -> tuple[str, dict[str, str]]:
    """Return the common parent of all roots, and each root relative to it, "." for the parent itself."""
    absolute = {name: os.path.abspath(root) for name, root in roots.items()}
    top = os.path.commonpath(absolute.values())
    return top, {name: os.path.relpath(root, top) for name, root in absolute.items()}


def join_path(folder: str, path: str) -> str:
    """Return a path in a data set relative to the shared root."""
    return path if folder == "." else f"{folder}/{path}"


def split_path(folder: str, path: str) -> str:
    """Return a path under the shared root relative to a data set's folder.

    Examples
    --------
    >>> split_path("ct/raw", join_path("ct/raw", "a.nii"))
    'a.nii'
    """
    return path if folder == "." else path.removeprefix(f"{folder}/")


def move_volume(volume: Volume, before: str, after: str) -> Volume:
    """Return a volume whose data set's folder has changed."""
    if before == after:
        return volume
    path, data = (join_path(after, split_path(before, one)) for one in (volume.path, volume.data))
    return replace(volume, path=path, data=data)


def move_problem(problem: Problem, before: str, after: str) -> Problem:
    """Return the problem of a file whose data set's folder has changed."""
    return Problem(join_path(after, split_path(before, problem.path)), problem.reason)


def folder_of(path: str, folders: Iterable[str]) -> str | None:
    """Return the innermost folder of a data set that contains a file, or None."""
    inside = [folder for folder in folders if folder == "." or path.startswith(f"{folder}/")]
    return max(inside, key=lambda folder: 0 if folder == "." else len(folder), default=None)


def join_case(case: Case, dataset: str, folder: str, modality: str, licence: str) -> Case:
    """Return a case with its name in the joined index; existing modality and licence are kept."""
    return Case(
        f"{dataset}/{case.name}",
        tuple(move_volume(volume, ".", folder) for volume in case.volumes),
        mask=move_volume(case.mask, ".", folder) if case.mask else None,
        dataset=dataset,
        modality=case.modality or modality,
        licence=case.licence or licence,
    )


def agree_on_channels(counts: Mapping[str, int], names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names of the channels of data sets that are joined.

    Parameters
    ----------
    counts : mapping of str to int
        Number of channels of each data set.
    names : mapping of str to tuple of str
        Names of the channels of each data set; empty if they have none.

    Returns
    -------
    names : tuple of str
        Empty if no data set has names, or if all have one channel with different names.

    Raises
    ------
    ValueError
        If the data sets do not agree.
    """
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} in {name}" for name, count in counts.items())
        raise ValueError(f"channels: expected data sets with the same number of channels, got {found}; select some")
    named = {name: channels for name, channels in names.items() if channels}
    if len(set(named.values())) <= 1:
        return next(iter(named.values()), ())
    if set(counts.values()) == {1}:
        return ()
    found = "; ".join(f"{', '.join(channels)} in {name}" for name, channels in named.items())
    raise ValueError(
        f"channels: expected the same channels in one order in all data sets, got {found}; scan with channels=[...]"
    )


def texts_of(texts: Texts, names: Iterable[str], what: str) -> dict[str, str]:
    """Return the text of each data set; empty if a mapping has none.

    Raises
    ------
    ValueError
        If a mapping names an unknown data set, or a text is no str.
    """
    known = list(names)
    found = dict(texts) if isinstance(texts, Mapping) else dict.fromkeys(known, texts)
    if unknown := sorted(set(found) - set(known)):
        raise ValueError(f"{what}: expected names of the data sets {', '.join(known)}, got {unknown[0]!r}")
    if odd := [text for text in found.values() if not isinstance(text, str)]:
        raise ValueError(f"{what}: expected a text for each data set, got {odd[0]!r}")
    return {name: found.get(name, "") for name in known}
