"""Which files of a folder are meant: globs with names in them, and a walk that no folder can lead astray."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dali_cr.index.cases import Problem
from dali_cr.volume.images import is_image
from dali_cr.volume.nifti import is_volume

Roots = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Globs = str | Sequence[str]


@dataclass(frozen=True)
class Found:
    """A file to read.

    Attributes
    ----------
    case, channel : str or None
        What the pattern's `{case}` and `{channel}` stand for in its path.
    asked_for : bool
        Whether it was named in `include`.
    """

    case: str | None
    channel: str | None
    asked_for: bool


class Pattern:
    """A glob with `**`, and with `{case}` and `{channel}` as named parts.

    Raises
    ------
    ValueError
        If it has other names, or `{channel}` without `{case}`.
    """

    def __init__(self, text: str) -> None:
        known = set(re.findall(r"\{(\w*)\}", text))
        if known - {"case", "channel"} or "channel" in known and "case" not in known:
            raise ValueError(f"pattern: wanted {{case}}, or {{case}} and {{channel}}, as the only names, got {text!r}")
        self.has_channel = "channel" in known
        parts: list[str] = []
        seen: set[str] = set()
        for token in re.findall(r"\*\*/|\*\*|\{\w+\}|\[[^\]]+\]|.", text, re.DOTALL):
            parts.append(self._translate(token, seen))
        self._regex = re.compile("".join(parts), re.DOTALL)

    @staticmethod
    def _translate(token: str, seen: set[str]) -> str:
        special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        if token in special:
            return special[token]
        if token.startswith("{"):
            name = token[1:-1]
            again = name in seen
            seen.add(name)
            return f"(?P={name})" if again else f"(?P<{name}>[^/]+?)"
        if len(token) > 1:
            inverted = token.startswith("[!")
            return f"[{'^' * inverted}{re.escape(token[1 + inverted : -1]).replace(chr(92) + '-', '-')}]"
        return re.escape(token)

    def match(self, path: str) -> tuple[str | None, str | None] | None:
        """Return the names of case and channel, or None if the path does not match."""
        found = self._regex.fullmatch(path)
        if not found:
            return None
        groups = found.groupdict()
        return groups.get("case"), groups.get("channel")


def as_patterns(globs: Globs) -> list[Pattern]:
    """Return one glob or several as patterns."""
    return [Pattern(glob) for glob in ([globs] if isinstance(globs, str) else globs)]


def find_files(
    root: Roots, patterns: list[Pattern], include: list[Pattern], exclude: list[Pattern]
) -> tuple[Path, dict[str, Found], list[Problem]]:
    """Find the volumes and images under one folder or several.

    Returns
    -------
    top : Path
        The folder, or the one that several share.
    files : dict of str to Found
        By path relative to `top`, sorted.
    problems : list of Problem
        Folders that cannot be read.

    Raises
    ------
    FileNotFoundError
        If a root is no folder.
    ValueError
        If there is no root.
    """
    given = [root] if isinstance(root, (str, os.PathLike)) else list(root)
    if not given:
        raise ValueError("root: wanted at least one folder, got none")
    roots = [Path(r).absolute() for r in given]
    for folder in roots:
        if not folder.is_dir():
            there = "a file" if folder.exists() else "nothing"
            raise FileNotFoundError(f"{folder}: wanted a folder of volumes, {there} is there")
    top = Path(os.path.commonpath(roots))
    files: dict[str, Found] = {}
    problems: list[Problem] = []
    for folder in roots:
        prefix = folder.relative_to(top)
        for path in _walk(folder, prefix, problems):
            taken, asked = (next((m for p in some if (m := p.match(path))), None) for some in (patterns, include))
            names = taken or asked
            readable = is_volume(path) or is_image(path)
            if names and readable and not any(p.match(path) for p in exclude):
                case = names[0] if len(roots) == 1 or names[0] is None else f"{prefix.as_posix()}/{names[0]}"
                files[(prefix / path).as_posix()] = Found(case, names[1], asked is not None)
    return top, dict(sorted(files.items())), problems


def _walk(folder: Path, prefix: Path, problems: list[Problem]) -> Iterator[str]:
    """Yield the files under a folder, relative; links are followed, a loop of them once."""

    def refuse(error: OSError) -> None:
        place = prefix / Path(error.filename or folder).relative_to(folder)
        problems.append(Problem(place.as_posix(), f"folder that cannot be read: {error.strerror or error}"))

    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        try:
            status = os.stat(place)
        except OSError as error:
            refuse(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        below = PurePosixPath(Path(place).relative_to(folder).as_posix())
        yield from (str(below / name) for name in sorted(names))
