"""Labelled cases: cases of a split, matched with their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import dali_cr
from dali_cr.index.volumes import Case

from ..data.labels import Unmatched, match, share_labels
from ..data.split.parts import PARTS, Split
from ..data.subjects.names import short_name


@dataclass(frozen=True)
class Supervised:
    """Labelled cases by part of the split, with the names of their labels."""

    parts: dict[str, dali_cr.Index]
    names: dict[str, str]
    """Names of labels by case."""
    unmatched: list[str]
    """Lines about images without a label and labels without an image."""
    notes: tuple[str, ...] = ()
    """Lines about the names of labels and about labels that are not used."""

    @property
    def cases(self) -> list[tuple[str, Case]]:
        """All labelled cases, each with its part."""
        return [(part, case) for part, index in self.parts.items() for case in index.cases]

    def by_part(self, values: Mapping[str, list[int]]) -> dict[str, dict[str, list[int]]]:
        """Regroup values by case into values by part and case."""
        return {part: {case.name: values[case.name] for case in one.cases} for part, one in self.parts.items()}


def join(
    index: dali_cr.Index,
    split: Split,
    names: Mapping[str, Any],
    what: str,
    unmatched: Unmatched,
    empty: Mapping[str, Any] = MappingProxyType({}),
) -> Supervised:
    """Match the cases of a split with their labels; cases with empty labels are excluded.

    Raises
    ------
    ValueError
        If a case or a label is unmatched, a part is empty, or images that share a label are in different parts.
    """
    parts: dict[str, dali_cr.Index] = {part: split.take(index, part) for part in PARTS}
    inside = [case.name for part in parts.values() for case in part.cases]
    # Labels of images in no part of the split are ignored.
    others = {case.name for case in index.cases} - set(inside)
    passed_over = others | {short_name(name) for name in others}
    every = {**names, **empty}
    known = {name: entry for name, entry in every.items() if not {name, short_name(name)} & passed_over}
    found, lonely = match(inside, known, what, unmatched, empty)
    lonely += [f"{case}: image of an empty {what}" for case, name in found.items() if name in empty]
    found = {case: name for case, name in found.items() if name not in empty}
    split.check_together(share_labels(found), f"share a {what}")
    for part, one in parts.items():
        cases = tuple(case for case in one.cases if case.name in found)
        if not cases:
            raise ValueError(f"labels: expected a {what} for some case of {part}, got none for {one.cases[0].name}")
        parts[part] = replace(one, cases=cases)
    return Supervised(parts, found, lonely)
