"""Count the cases, modalities and licences of the data sets of an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from dali_cr.index.cases import Index
from dali_cr.index.volumes import Case, counted

NOT_STATED = "not stated"
"""Text for cases without a modality or licence."""


def describe_datasets(index: Index) -> list[dict[str, Any]]:
    """Return the name, number of cases, and counts of modalities and licences of each data set.

    Parameters
    ----------
    index : Index

    Returns
    -------
    datasets : list of dict
        Plain values, for JSON; "name" is empty for cases without a data set. Empty if the index has no data sets,
        modalities or licences.

    Examples
    --------
    >>> from pathlib import Path
    >>> cases = (Case("a/1", (), dataset="a", licence="CC0-1.0"), Case("a/2", (), dataset="a"))
    >>> describe_datasets(Index(Path(), cases, datasets={"a": "."}))[0]["licences"]
    {'CC0-1.0': 1, 'not stated': 1}
    """
    if not index.datasets and not any(case.modality or case.licence for case in index.cases):
        return []
    names = index.datasets or {"": "."}
    return [_describe(name, [case for case in index.cases if case.dataset == name]) for name in names]


def _describe(name: str, cases: list[Case]) -> dict[str, Any]:
    return {
        "name": name,
        "cases": len(cases),
        "modalities": _count(case.modality for case in cases),
        "licences": _count(case.licence for case in cases),
    }


def _count(texts: Iterable[str]) -> dict[str, int]:
    """Return the count of each text, sorted."""
    return dict(sorted(Counter(text or NOT_STATED for text in texts).items()))


def dataset_lines(index: Index) -> list[str]:
    """Return a line for each data set, such as ``brains: 12 cases; MR; CC0-1.0 (10), not stated (2)``."""
    lines = []
    for one in describe_datasets(index):
        texts = [counted(one["cases"], "case")]
        texts += [_list(one[kind]) for kind in ("modalities", "licences") if set(one[kind]) != {NOT_STATED}]
        lines.append("; ".join([f"{one['name']}: {texts[0]}" if one["name"] else texts[0], *texts[1:]]))
    return lines


def _list(counts: dict[str, int]) -> str:
    return ", ".join(text if len(counts) == 1 else f"{text} ({count})" for text, count in counts.items())
