"""`scan`: read every volume of a folder once, to its end, and make an `Index` of them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from tqdm import tqdm

from dali_cr import reader
from dali_cr.geometry import VolumeError, is_volume
from dali_cr.index import Case, Index, Problem, Volume
from dali_cr.statistics import measure

Roots = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Globs = str | Sequence[str]

EVERY_VOLUME = ("**/*.nii", "**/*.nii.gz", "**/*.hdr", "**/*.hdr.gz")
MAX_CHANNELS = 16
"""A fourth axis longer than this is time, not channels."""


def scan(
    root: Roots,
    pattern: Globs = EVERY_VOLUME,
    *,
    channels: Sequence[str] = (),
    include: Globs = (),
    exclude: Globs = (),
    fourth_axis: Literal["channels", "cases"] = "channels",
    executor: Executor | None = None,
    progress: bool = True,
) -> Index:
    """Read every volume under a folder and index the good ones.

    Parameters
    ----------
    root : path or sequence of paths
        With several, paths are relative to the folder they share.
    pattern : str or sequence of str
        Globs, relative to each root: `*` and `?` stay within a folder name, `**/` is any number of folders.
        `{case}` and `{channel}` stand for a part of the name, for cases of several files:
        ``"{case}/{channel}.nii.gz"``.
    channels : sequence of str
        With `{channel}`: which ones a case must have, in this order. Without it, all that were found, sorted.
    include : str or sequence of str
        Globs of files that are taken as well.
    exclude : str or sequence of str
        Globs of files that are left out.
    fourth_axis : "channels" or "cases"
        What a fourth axis means. More than `MAX_CHANNELS` channels are refused.
    executor : concurrent.futures.Executor, optional
        Where files are read; threads of this process, one a core, without it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    index : Index
        Cases sorted by path; `index.problems` names each refused file and the reason.

    Raises
    ------
    FileNotFoundError
        If a root is no folder, or nothing under it matches.
    ValueError
        If an argument is not as above.

    Examples
    --------
    >>> from nibabel.testing import data_path
    >>> index = scan(data_path, "anatomical.nii", progress=False)
    >>> len(index), index.cases[0].shape, index.cases[0].volumes[0].orientation
    (1, (25, 41, 33), 'LAS')
    """
    if fourth_axis not in ("channels", "cases"):
        raise ValueError(f"fourth_axis: wanted 'channels' or 'cases', got {fourth_axis!r}")
    patterns = [_Pattern(p) for p in _as_list(pattern)]
    if channels and not all(p.has_channel for p in patterns):
        raise ValueError(f"channels: they are for a pattern with {{channel}}, got {pattern!r}")
    top, files = _find(root, patterns, _as_list(include), _as_list(exclude))
    if not files:
        raise FileNotFoundError(f"{top}: no file matches {', '.join(_as_list(pattern))}; give another pattern")
    volumes, problems = _read_all(top, list(files), executor, progress)
    cases, more = _gather(volumes, files, list(channels), fourth_axis)
    names = tuple(channels or sorted({c for _, c in files.values() if c is not None}))
    by_path = sorted([*problems, *more], key=lambda problem: problem.path)
    return Index(top, tuple(sorted(cases, key=lambda case: _sort_key(case))), tuple(by_path), names)


class _Pattern:
    """A glob with `**`, and with `{case}` and `{channel}` as named parts."""

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


def _as_list(globs: Globs) -> list[str]:
    return [globs] if isinstance(globs, str) else list(globs)


def _find(
    root: Roots, patterns: list[_Pattern], include: list[str], exclude: list[str]
) -> tuple[Path, dict[str, tuple[str | None, str | None]]]:
    """Return the common root and, for each file to read, the names of its case and channel."""
    given = [root] if isinstance(root, (str, os.PathLike)) else list(root)
    if not given:
        raise ValueError("root: wanted at least one folder, got none")
    roots = [Path(r).absolute() for r in given]
    for folder in roots:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: wanted a folder of volumes, {'a file' if folder.exists() else 'nothing'} is there"
            )
    top = Path(os.path.commonpath(roots))
    also, never = [_Pattern(p) for p in include], [_Pattern(p) for p in exclude]
    files: dict[str, tuple[str | None, str | None]] = {}
    for folder in roots:
        prefix = folder.relative_to(top).as_posix()
        for path in _walk(folder):
            names = next((m for m in (p.match(path) for p in [*patterns, *also]) if m), None)
            if names and is_volume(path) and not any(p.match(path) for p in never):
                case = names[0] if len(roots) == 1 or names[0] is None else f"{prefix}/{names[0]}"
                files[path if prefix == "." else f"{prefix}/{path}"] = (case, names[1])
    return top, dict(sorted(files.items()))


def _walk(folder: Path) -> Iterator[str]:
    """Yield the files under a folder, relative; links are followed, a loop of them once."""
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        below = PurePosixPath(Path(place).relative_to(folder).as_posix())
        yield from (str(below / name) for name in sorted(names))


def _read_all(
    top: Path, paths: list[str], executor: Executor | None, progress: bool
) -> tuple[dict[str, list[Volume]], list[Problem]]:
    """Read each file; return the volumes of the good ones and the problems of the others."""
    volumes: dict[str, list[Volume]] = {}
    problems: list[Problem] = []
    own = executor or ThreadPoolExecutor(len(os.sched_getaffinity(0)), "scan")
    try:
        waiting = {own.submit(read_volumes, top, path): path for path in paths}
        done = tqdm(as_completed(waiting), "scan", len(waiting), disable=not progress, unit="file")
        for future in done:
            path = waiting.pop(future)
            try:
                volumes[path] = future.result()
            except VolumeError as error:
                problems.append(Problem(path, error.reason))
    finally:
        if executor is None:
            own.shutdown(cancel_futures=True)
    return volumes, problems


def read_volumes(top: Path, path: str) -> list[Volume]:
    """Read one file to its end; return a `Volume` for each of its frames.

    Raises
    ------
    VolumeError
        If it cannot be read, is damaged, or holds nothing to learn from.
    """
    geometry, data = reader.read_header(top / path)
    before = data.stat()
    stop = geometry.data_offset + geometry.data_bytes
    content, digest = reader.read_whole(data, stop)
    if data != top / path:
        digest = hashlib.sha256(digest.encode() + (top / path).read_bytes()).hexdigest()
    relative = data.relative_to(top).as_posix()
    raw = np.frombuffer(content, geometry.numpy_dtype, geometry.frames * geometry.voxels, geometry.data_offset)
    found = []
    for frame, voxels in enumerate(raw.reshape(geometry.frames, geometry.voxels)):
        name = path if geometry.frames == 1 else f"{path}, frame {frame}"
        statistics, foreground = measure(name, voxels, geometry)
        found.append(
            Volume(path, relative, frame, geometry, statistics, foreground, digest, before.st_size, before.st_mtime_ns)
        )
    return found


def _gather(
    volumes: dict[str, list[Volume]],
    files: dict[str, tuple[str | None, str | None]],
    channels: list[str],
    fourth_axis: str,
) -> tuple[list[Case], list[Problem]]:
    """Put the volumes together to cases."""
    cases: list[Case] = []
    problems: list[Problem] = []
    several: dict[str, dict[str, list[Volume]]] = defaultdict(dict)
    for path, frames in volumes.items():
        case, channel = files[path]
        if channel is not None:
            several[str(case)][channel] = frames
        elif fourth_axis == "cases":
            cases += [Case(_frame_name(case or path, v, len(frames)), (v,)) for v in frames]
        elif len(frames) > MAX_CHANNELS:
            reason = f"{len(frames)} frames are too many for channels ({MAX_CHANNELS}); say fourth_axis='cases'"
            problems.append(Problem(path, reason))
        else:
            cases.append(Case(case or path, tuple(frames)))
    wanted = channels or sorted({c for _, c in files.values() if c is not None})
    for name, found in sorted(several.items()):
        try:
            cases.append(_several_files(name, found, wanted))
        except VolumeError as error:
            problems.append(Problem(error.path, error.reason))
    return cases, problems


def _frame_name(name: str, volume: Volume, frames: int) -> str:
    return name if frames == 1 else f"{name}#{volume.frame}"


def _several_files(name: str, found: dict[str, list[Volume]], wanted: list[str]) -> Case:
    """Return a case made of one file a channel; they must all be there, and on one grid."""
    missing = [channel for channel in wanted if channel not in found]
    if missing:
        raise VolumeError(
            name, f"channel {', '.join(missing)} is missing or was refused; there is {', '.join(sorted(found))}"
        )
    taken = [found[channel] for channel in wanted]
    for frames in taken:
        if len(frames) != 1:
            raise VolumeError(name, f"{frames[0].path} has {len(frames)} frames; a file a channel has one")
    volumes = [frames[0] for frames in taken]
    first = volumes[0]
    for other in volumes[1:]:
        if other.shape != first.shape:
            raise VolumeError(
                name, f"channels on different grids: {first.path} {first.shape}, {other.path} {other.shape}"
            )
        if not np.allclose(other.geometry.affine, first.geometry.affine, atol=1e-2 * min(first.spacing)):
            raise VolumeError(name, f"channels on different grids: the affines of {first.path} and {other.path} differ")
    return Case(name, tuple(volumes))


def _sort_key(case: Case) -> tuple[str, int]:
    return case.volumes[0].path, case.volumes[0].frame
