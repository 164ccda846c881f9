"""Which files of a folder are meant: globs with names in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dali_cr.index.layout.walk import Roots, Tree, walk_trees
from dali_cr.index.volumes import Problem
from dali_cr.volume.images import is_image
from dali_cr.volume.reader import is_volume

Globs = str | Sequence[str]
Names = tuple[str | None, str | None]
"""The case and the channel that a file's path names; None where it names none."""

_TOKEN = re.compile(r"\*\*/|\*\*|\{\w+\}|\[[^\]]+\]|.", re.DOTALL)
_LAST_SUFFIX = re.compile(r"(\.\w+)+$")


@dataclass(frozen=True)
class Found:
    """A file to read.

    Attributes
    ----------
    case, channel : str or None
        What the pattern's `{case}` and `{channel}` stand for in its path.
    asked_for : bool
        Whether it was named in `include`.
    store : str
        The brick store that is read in its place, relative like its path; empty if the file itself is.
    modality, licence : str
        As a CSV file has them; free text.
    """

    case: str | None
    channel: str | None
    asked_for: bool
    store: str = ""
    modality: str = ""
    licence: str = ""


class Pattern:
    """A glob with `**`, and with `{case}` and `{channel}` as named parts. The suffix matches in any case of letters.

    Parameters
    ----------
    text : str
    channels : sequence of str
        What `{channel}` may be; anything without a `/` if there are none.

    Raises
    ------
    ValueError
        If it has other names, or `{channel}` without `{case}`.
    """

    def __init__(self, text: str, channels: Sequence[str] = ()) -> None:
        known = set(re.findall(r"\{(\w*)\}", text))
        if known - {"case", "channel"} or "channel" in known and "case" not in known:
            raise ValueError(
                f"pattern: expected {{case}}, or {{case}} and {{channel}}, as the only names, got {text!r}"
            )
        self.has_channel = "channel" in known
        self._text = text
        self._channel = "|".join(map(re.escape, sorted(channels, key=len, reverse=True))) or "[^/]+?"
        self._regex = self._compile("[^/]+?")
        self._longest = self._compile("[^/]+")
        self._of_length: dict[int, re.Pattern[str]] = {}

    def _compile(self, case: str) -> re.Pattern[str]:
        """Compile the glob with an expression for the case."""
        names = {"case": case, "channel": self._channel}
        last = _LAST_SUFFIX.search(self._text)
        suffix = last[0] if last else ""
        seen: set[str] = set()
        parts = [self._translate(token, names, seen) for token in _TOKEN.findall(self._text.removesuffix(suffix))]
        return re.compile(f"{''.join(parts)}(?i:{re.escape(suffix)})", re.DOTALL)

    @staticmethod
    def _translate(token: str, names: dict[str, str], seen: set[str]) -> str:
        special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        if token in special:
            return special[token]
        if token.startswith("{"):
            name = token[1:-1]
            again = name in seen
            seen.add(name)
            return f"(?P={name})" if again else f"(?P<{name}>{names[name]})"
        if len(token) > 1:
            inverted = token.startswith("[!")
            return f"[{'^' * inverted}{re.escape(token[1 + inverted : -1]).replace(chr(92) + '-', '-')}]"
        return re.escape(token)

    def match(self, path: str) -> Names | None:
        """Return the names of case and channel, the shortest for the case, or None if the path does not match."""
        found = self._regex.fullmatch(path)
        return _names(found) if found else None

    def readings(self, path: str) -> list[Names]:
        """Return every case and channel that the path may name, the shortest case first; none if it does not match."""
        shortest, longest = self._regex.fullmatch(path), self._longest.fullmatch(path)
        if not shortest or not longest:
            return []
        if not self.has_channel or shortest["case"] == longest["case"]:
            return [_names(shortest)]
        found = []
        for length in range(len(shortest["case"]), len(longest["case"]) + 1):
            if length not in self._of_length:
                self._of_length[length] = self._compile(f"[^/]{{{length}}}")
            if matched := self._of_length[length].fullmatch(path):
                found.append(_names(matched))
        return list(dict.fromkeys(found))


def _names(found: re.Match[str]) -> Names:
    groups = found.groupdict()
    return groups.get("case"), groups.get("channel")


def as_patterns(globs: Globs, channels: Sequence[str] = ()) -> list[Pattern]:
    """Return one glob or several as patterns, whose `{channel}` is one of `channels` if there are any."""
    return [Pattern(glob, channels) for glob in ([globs] if isinstance(globs, str) else globs)]


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
        If there is no root, or one is a URL.
    """
    top, trees, problems = walk_trees(root)
    files: dict[str, Found] = {}
    for tree in trees:
        for path in tree.paths:
            taken, asked = (next((m for p in some if (m := p.match(path))), None) for some in (patterns, include))
            names = taken or asked
            if names and is_readable(path) and not any(p.match(path) for p in exclude):
                case = case_of(tree, names[0], len(trees))
                found = Found(case, names[1], asked is not None, tree.store_of(path))
                files[(tree.prefix / path).as_posix()] = found
    return top, dict(sorted(files.items())), problems


def is_readable(path: str) -> bool:
    """Whether the file's name is that of a volume, a brick store or an image."""
    return is_volume(path) or is_image(path)


def case_of(tree: Tree, case: str | None, trees: int) -> str | None:
    """Return the name of a case, told apart from those under other roots."""
    return case if trees == 1 or case is None else (tree.prefix / case).as_posix()
