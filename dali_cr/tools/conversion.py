"""Convert many files on any executor, with a progress bar, reasons for refused files, and a table of sizes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from tqdm import tqdm

from dali_cr.index.report import printable
from dali_cr.index.volumes import Problem, counted
from dali_cr.index.workers import map_files
from dali_cr.volume.geometry import VolumeError

File = TypeVar("File")

_SHOWN = 20
"""Number of refused files that are listed."""


@dataclass(frozen=True)
class Converted:
    """A converted file.

    Attributes
    ----------
    path, target : str
        Paths of both files, relative to their folders, with forward slashes.
    state : "new" or "kept"
        "kept" if an earlier run converted the same file.
    dtype : str
    before, after : int
        Sizes of both files in bytes.
    extensions : int
        Number of header extensions that were dropped.
    """

    path: str
    target: str
    state: Literal["new", "kept"]
    dtype: str
    before: int
    after: int
    extensions: int = 0


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes
    ----------
    files : tuple of Converted
        Sorted by path.
    problems : tuple of Problem
        One for each refused file.
    ignored : mapping of str to int
        Number of other files by kind, such as ".png".
    """

    files: tuple[Converted, ...]
    problems: tuple[Problem, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in [*self._table(), *self._notes()])

    def _table(self) -> list[str]:
        kinds: dict[str, list[Converted]] = defaultdict(list)
        for file in self.files:
            kinds[file.dtype].append(file)
        rows = [(kind, some) for kind, some in sorted(kinds.items())]
        rows += [("all", list(self.files))] if len(rows) != 1 else []
        head = f"{'dtype':<12}{'files':>8}{'before MB':>12}{'after MB':>12}{'ratio':>8}"
        return [head, *(_row(kind, some) for kind, some in rows)]

    def _notes(self) -> list[str]:
        kept = sum(file.state == "kept" for file in self.files)
        dropped = [file.extensions for file in self.files if file.extensions]
        notes = [f"kept        {counted(kept, 'file')} of an earlier run"] if kept else []
        if dropped:
            notes.append(f"dropped     {counted(sum(dropped), 'header extension')} of {counted(len(dropped), 'file')}")
        if self.ignored:
            notes.append("ignored     " + ", ".join(f"{count} {kind}" for kind, count in self.ignored.items()))
        notes += [f"refused     {problem.path}: {problem.reason}" for problem in self.problems[:_SHOWN]]
        more = len(self.problems) - _SHOWN
        return [*notes, *([f"refused     {more} more"] if more > 0 else [])]


def _row(kind: str, files: Sequence[Converted]) -> str:
    before, after = sum(file.before for file in files) / 1e6, sum(file.after for file in files) / 1e6
    ratio = f"{after / before:8.3f}" if before else f"{'-':>8}"
    return f"{kind:<12}{len(files):>8}{before:>12.2f}{after:>12.2f}{ratio}"


def convert(
    convert_file: Callable[[File], Converted],
    paths: Iterable[File],
    name: str,
    executor: Executor | None,
    progress: bool,
) -> Conversion:
    """Convert files; a failed file does not stop the others.

    Parameters
    ----------
    convert_file : callable
        Converts the file of a path; must be picklable if the executor uses processes.
    paths : iterable
        Paths, or objects whose `str` is a path.
    name : str
        Label of the progress bar.
    executor : concurrent.futures.Executor, optional
        Default: threads of this process, one per core.
    progress : bool
        Show a progress bar.
    """
    files = list(paths)
    refused: list[Problem] = []
    done: list[Converted] = []
    pool = executor or ThreadPoolExecutor(len(os.sched_getaffinity(0)), name)
    try:
        results = map_files(convert_file, files, pool)
        for path, result in tqdm(results, name, len(files), disable=not (progress and files), unit="file"):
            if isinstance(result, VolumeError):
                refused.append(Problem(str(path), result.reason))
            else:
                done.append(result)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    done.sort(key=lambda file: file.path)
    return Conversion(tuple(done), tuple(sorted(refused, key=lambda problem: problem.path)))
