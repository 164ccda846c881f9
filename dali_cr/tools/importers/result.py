"""What an import did: its stores, what was refused and why, as a table and as JSON."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import asdict, dataclass

from dali_cr.index.volumes import Problem
from dali_cr.system.atomic import write_whole
from dali_cr.tools.conversion import Conversion

_SHOWN = 3
"""Remarks of one kind that are listed."""


@dataclass(frozen=True)
class Imported(Conversion):
    """The stores of an import, and what is in none; a table as text.

    Attributes
    ----------
    files : tuple of Converted
        A store each: `target`, and the first file that it was made of, `path`.
    problems : tuple of Problem
        One for each file or series that was refused.
    ignored : mapping of str to int
        How many other files there are of each kind, such as ".txt".
    remarks : tuple of Problem
        What was done to a series or to values.
    """

    remarks: tuple[Problem, ...] = ()

    def _notes(self) -> list[str]:
        """Return the remarks, of many of one kind only the first, and the notes of every conversion."""
        kinds: dict[str, list[Problem]] = defaultdict(list)
        for remark in self.remarks:
            kinds[re.sub(r"\d+", "", remark.reason)].append(remark)
        lines = []
        for kind in kinds.values():
            lines += [f"remark      {remark.path}: {remark.reason}" for remark in kind[:_SHOWN]]
            lines += [f"remark      {len(kind) - _SHOWN} more of this kind"] * (len(kind) > _SHOWN)
        return [*lines, *super()._notes()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as JSON. It tells which file each store is of: keep it apart from the stores of patients.

        Raises
        ------
        OSError
            Naming the file, which is then as it was.
        """
        write_whole(path, json.dumps({**asdict(self), "ignored": dict(self.ignored)}, indent=1).encode())
