"""Find the files of a folder with globs that name the case and the channel."""

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
"""Case and channel that are part of a path; None if the pattern has no such part."""

_TOKEN = re.compile(r"\*\*/|\*\*|\{\w+\}|\[[^\]]+\]|.", re.DOTALL)
_LAST_SUFFIX = re.compile(r"(\.\w+)+$")


@dataclass(frozen=True)
class Found:
    """A file to read.

    Attributes
    ----------
    case, channel : str or None
        The parts of its path that match `{case}` and `{channel}`.
    explicit : bool
        Whether the file was named by `include` or in a list, so that it is used even if it looks like a label.
    store : str
        Relative path of the brick store that is read instead; empty if the file itself is read.
    modality, licence : str
        Free text from a CSV file, or from nnssl's list.
    dataset : str
        Name of the data set; empty if there is none.
    mask : str
        Relative path of the anonymisation mask; empty if there is none.
    """

    case: str | None
    channel: str | None
    explicit: bool
    store: str = ""
    modality: str = ""
    licence: str = ""
    dataset: str = ""
    mask: str = ""


class Pattern:
    """A glob with `**`, `{case}` and `{channel}`; the suffix is matched in upper and lower case.

    Parameters
    ----------
    text : str
    channels : sequence of str
        Allowed values of `{channel}`. Default: any text without a `/`.

    Raises
    ------
    ValueError
        If the glob has other names, or `{channel}` without `{case}`.
    """

    def __init__(self, text: str, channels: Sequence[str] = ()) -> None:
        known = set(re.findall(r"\{(\w*)\}", text))
        if known - {"case", "channel"} or "channel" in known and "case" not in known:
            raise ValueError(
                f"pattern: expected {{case}}, or {{case}} and {{channel}}, as the only names in braces, got {text!r}"
            )
        self.has_channel = "channel" in known
        self._text = text
        self._channel = "|".join(map(re.escape, sorted(channels, key=len, reverse=True))) or "[^/]+?"
        self._regex = self._compile("[^/]+?")
        self._longest = self._compile("[^/]+")
        self._of_length: dict[int, re.Pattern[str]] = {}

    def _compile(self, case: str) -> re.Pattern[str]:
        """Compile the glob with the given regular expression for the case."""
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
        """Return case and channel of a path, with the shortest possible case; None if the path does not match."""
        found = self._regex.fullmatch(path)
        return _names(found) if found else None

    def readings(self, path: str) -> list[Names]:
        """Return all possible pairs of case and channel of a path, shortest case first; empty if it does not match."""
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
    """Return one or several globs as patterns; `{channel}` matches only `channels`, if given."""
    return [Pattern(glob, channels) for glob in ([globs] if isinstance(globs, str) else globs)]


def find_files(
    root: Roots, patterns: list[Pattern], include: list[Pattern], exclude: list[Pattern]
) -> tuple[Path, dict[str, Found], list[Problem]]:
    """Find the volumes and images under one or several folders.

    Returns
    -------
    top : Path
        The folder, or the common parent of several folders.
    files : dict of str to Found
        By path relative to `top`, sorted.
    problems : list of Problem
        Folders that cannot be read.

    Raises
    ------
    FileNotFoundError
        If a root is not a folder.
    ValueError
        If there is no root, or one is a URL.
    """
    top, trees, problems = walk_trees(root)
    files: dict[str, Found] = {}
    for tree in trees:
        for path in tree.paths:
            matched, explicit = (next((m for p in some if (m := p.match(path))), None) for some in (patterns, include))
            names = matched or explicit
            if names and is_readable(path) and not any(p.match(path) for p in exclude):
                case = case_of(tree, names[0], len(trees))
                found = Found(case, names[1], explicit is not None, tree.store_of(path))
                files[(tree.prefix / path).as_posix()] = found
    return top, dict(sorted(files.items())), problems


def is_readable(path: str) -> bool:
    """Whether a file name has the suffix of a volume, a brick store or an image."""
    return is_volume(path) or is_image(path)


def case_of(tree: Tree, case: str | None, trees: int) -> str | None:
    """Return the name of a case, prefixed with its folder if there are several roots."""
    return case if trees == 1 or case is None else (tree.prefix / case).as_posix()
