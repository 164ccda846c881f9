"""What an import did: its stores, what was refused and why, as a table and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dali_cr.index.report import as_table, describe_ignored, format_bytes, problem_lines
from dali_cr.index.volumes import Problem
from dali_cr.system.atomic import write_whole


@dataclass(frozen=True)
class Imported:
    """The stores of an import, and what is in none.

    Attributes
    ----------
    out : Path
    written, kept : tuple of str
        Stores, relative to `out`: those written now, and those that were finished before.
    sources : mapping of str to str
        By store, the file that it was made of, or the first one of its series.
    problems : tuple of Problem
        One for each file or series that was refused.
    remarks : tuple of Problem
        What was done to a series or to values.
    ignored : mapping of str to int
        How many other files there are of each kind.
    source_bytes, store_bytes : int
        Of the files that were read, and of the stores that were written.
    """

    out: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]
    sources: Mapping[str, str]
    problems: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    ignored: Mapping[str, int]
    source_bytes: int
    store_bytes: int

    def __repr__(self) -> str:
        return f"Imported({str(self.out)!r}, {len(self.written)} written, {len(self.problems)} problems)"

    def table(self) -> str:
        """Return a table: one property a line, then remarks, and what was refused and why."""
        sizes = f" from {format_bytes(self.source_bytes)} to {format_bytes(self.store_bytes)}" if self.written else ""
        lines = [
            ("stores", str(self.out)),
            ("written", f"{len(self.written)}{sizes}"),
            *([("kept", f"{len(self.kept)} that were finished before")] if self.kept else []),
        ]
        rest = "--report FILE has them all"
        if self.remarks:
            lines += [("remarks", str(len(self.remarks))), *problem_lines(self.remarks, rest=rest)]
        lines += [("refused", str(len(self.problems))), *problem_lines(self.problems, rest=rest)]
        if self.ignored:
            lines.append(("ignored", describe_ignored(self.ignored)))
        return as_table(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as JSON. It tells which file each store is of: keep it apart from the stores of patients.

        Raises
        ------
        OSError
            Naming the file, which is then as it was.
        """
        content = {
            "out": str(self.out),
            "written": list(self.written),
            "kept": list(self.kept),
            "sources": dict(self.sources),
            "problems": [asdict(problem) for problem in self.problems],
            "remarks": [asdict(remark) for remark in self.remarks],
            "ignored": dict(self.ignored),
        }
        write_whole(path, json.dumps(content, indent=1).encode())
