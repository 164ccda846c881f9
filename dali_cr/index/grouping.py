"""Volumes put together to cases: one file a case, a frame a channel, or a file a channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Literal

from dali_cr.index.files import Found
from dali_cr.index.reorder import align
from dali_cr.index.volumes import Case, Problem, Volume

FourthAxis = Literal["channels", "cases"]

MAX_CHANNELS = 16
"""A fourth axis longer than this is time, not channels."""


def gather_cases(
    volumes: Mapping[str, list[Volume]], files: Mapping[str, Found], wanted: list[str], fourth_axis: FourthAxis
) -> tuple[list[Case], list[Problem]]:
    """Put volumes together to cases.

    Parameters
    ----------
    volumes : mapping of str to list of Volume
        The frames of each sound file, by path.
    files : mapping of str to Found
    wanted : list of str
        Which channels a case of several files must have, in order.
    fourth_axis : "channels" or "cases"

    Returns
    -------
    cases : list of Case
        Sorted by path and frame.
    problems : list of Problem
        Why volumes are in no case.
    """
    cases: list[Case] = []
    problems: list[Problem] = []
    several: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, frames in volumes.items():
        case, channel = files[path].case, files[path].channel
        if channel is not None:
            several[str(case)][channel].append(path)
        elif fourth_axis == "cases":
            cases += [Case(_frame_name(case or path, v, len(frames)), (v,)) for v in frames]
        elif reason := too_many_frames(len(frames)):
            problems.append(Problem(path, reason))
        else:
            cases.append(Case(case or path, tuple(frames)))
    for name, found in sorted(several.items()):
        twice = [paths for paths in found.values() if len(paths) > 1]
        problems += [problem for paths in twice for problem in _claimed_twice(paths, name)]
        single = {channel: volumes[paths[0]] for channel, paths in found.items() if len(paths) == 1}
        strange = [single.pop(channel) for channel in sorted(set(single) - set(wanted))]
        problems += [Problem(f[0].path, f"channel that is not asked for: {', '.join(wanted)} are") for f in strange]
        if reason := _refusal(name, single, wanted):
            problems += [Problem(frames[0].path, reason) for frames in single.values()]
        else:
            cases.append(_aligned(name, [single[channel][0] for channel in wanted]))
    cases, more = _of_one_name(cases)
    return sorted(cases, key=lambda case: (case.volumes[0].path, case.volumes[0].frame)), problems + more


def _claimed_twice(paths: list[str], name: str) -> Iterator[Problem]:
    """Yield a problem for each of several files that are the same case and channel."""
    for path in paths:
        other = next(p for p in paths if p != path)
        more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
        yield Problem(path, f"two files for one channel of a case: {other}{more} is the same of {name}; exclude one")


def _of_one_name(cases: list[Case]) -> tuple[list[Case], list[Problem]]:
    """Return the cases whose names are their own, and a problem for each file of the others."""
    named: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        named[case.name].append(case)
    refused = {id(case): other for some in named.values() for case, other in zip(some, some[1:] + some[:1], strict=True)
               if case is not other}  # fmt: skip
    problems: dict[str, str] = {}
    for case in cases:
        if other := refused.get(id(case)):
            reason = f"two cases of one name: {other.volumes[0].path} is {case.name} too"
            problems |= {volume.path: f"{reason}; exclude one, or name a {{channel}}" for volume in case.volumes}
    # A file of several frames goes as a whole.
    kept = [case for case in cases if not any(volume.path in problems for volume in case.volumes)]
    return kept, [Problem(path, reason) for path, reason in problems.items()]


def too_many_frames(frames: int) -> str:
    """Return why a file with so many frames is no case of as many channels; empty if it may be one."""
    if frames <= MAX_CHANNELS:
        return ""
    return f"{frames} frames are too many for channels ({MAX_CHANNELS}); say fourth_axis='cases'"


def _frame_name(name: str, volume: Volume, frames: int) -> str:
    return name if frames == 1 else f"{name}#{volume.frame}"


def _refusal(name: str, found: Mapping[str, list[Volume]], wanted: list[str]) -> str:
    """Return why the files of a case, one a channel, are no case; empty if they are all there, and on one grid."""
    missing = [channel for channel in wanted if channel not in found]
    if missing:
        there = ", ".join(sorted(found)) or "none"
        return f"channel {', '.join(missing)} is missing or was refused: {name} has {there}"
    for frames in found.values():
        if len(frames) != 1:
            return f"several frames in a file of one channel: {frames[0].path} of {name} has {len(frames)}"
    first, *others = [found[channel][0] for channel in wanted]
    return next((reason for other in others if (reason := _off_grid(other, first))), "")


def _off_grid(other: Volume, first: Volume) -> str:
    """Return how a channel is not on the grid of the first; empty if it is, whatever the order of its axes."""
    if align(other, first) is not None:
        return ""
    if other.shape != first.shape:
        return f"channels on different grids: {first.path} {first.shape}, {other.path} {other.shape}"
    off = other.geometry.distance(first.geometry)
    return (
        f"channels on different grids: the voxels of {other.path} are up to {off:.3g} mm away from those of "
        f"{first.path}; resample one of them"
    )


def _aligned(name: str, volumes: list[Volume]) -> Case:
    """Return the case of channels on one grid, their axes in the order of the first's."""
    return Case(name, tuple(found for volume in volumes if (found := align(volume, volumes[0])) is not None))
