"""`Imported`: the result of an import, as a table and as JSON."""

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
"""Number of remarks of one kind that are listed."""


@dataclass(frozen=True)
class Imported(Conversion):
    """The result of an import; its text is a table.

    Attributes
    ----------
    files : tuple of Converted
        One per store: `target` is the store, `path` the first file that it was made from.
    problems : tuple of Problem
        One for each refused file or series.
    ignored : mapping of str to int
        Number of other files by kind, such as ".txt".
    remarks : tuple of Problem
        Remarks on changes of series or values.
    """

    remarks: tuple[Problem, ...] = ()

    def _notes(self) -> list[str]:
        """Return the remarks, at most a few of each kind, and the notes of the conversion."""
        kinds: dict[str, list[Problem]] = defaultdict(list)
        for remark in self.remarks:
            kinds[re.sub(r"\d+", "", remark.reason)].append(remark)
        lines = []
        for kind in kinds.values():
            lines += [f"remark      {remark.path}: {remark.reason}" for remark in kind[:_SHOWN]]
            lines += [f"remark      {len(kind) - _SHOWN} more of this kind"] * (len(kind) > _SHOWN)
        return [*lines, *super()._notes()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as JSON, which maps stores to files; keep it separate from the stores of patients.

        Raises
        ------
        OSError
            If the file cannot be written; an existing file stays unchanged.
        """
        write_whole(path, json.dumps({**asdict(self), "ignored": dict(self.ignored)}, indent=1).encode())
