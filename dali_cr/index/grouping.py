"""Group volumes into cases: one file per case, one frame per channel, or one file per channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Literal

from dali_cr.index.files import Found
from dali_cr.index.reorder import align
from dali_cr.index.volumes import Case, Problem, Volume

FourthAxis = Literal["channels", "cases"]

MAX_CHANNELS = 16
"""Longest fourth axis that is taken as channels; a longer one is probably time."""


def gather_cases(
    volumes: Mapping[str, list[Volume]], files: Mapping[str, Found], channels: list[str], fourth_axis: FourthAxis
) -> tuple[list[Case], list[Problem]]:
    """Group volumes into cases.

    Parameters
    ----------
    volumes : mapping of str to list of Volume
        The frames of each readable file, by path.
    files : mapping of str to Found
    channels : list of str
        Channels that a case of several files must have, in order.
    fourth_axis : "channels" or "cases"

    Returns
    -------
    cases : list of Case
        Sorted by path and frame.
    problems : list of Problem
        Files that are not part of a case, with the reasons.
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
        strange = [single.pop(channel) for channel in sorted(set(single) - set(channels))]
        problems += [Problem(f[0].path, f"channel: expected {', '.join(channels)}, got another one") for f in strange]
        if reason := _refusal(name, single, channels):
            problems += [Problem(frames[0].path, reason) for frames in single.values()]
        else:
            cases.append(_aligned(name, [single[channel][0] for channel in channels]))
    cases, more = _with_unique_names(cases)
    return sorted(cases, key=lambda case: (case.volumes[0].path, case.volumes[0].frame)), problems + more


def _claimed_twice(paths: list[str], name: str) -> Iterator[Problem]:
    """Yield a problem for each of several files with the same case and channel."""
    for path in paths:
        other = next(p for p in paths if p != path)
        more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
        yield Problem(path, f"two files for one channel: {other}{more} is the same channel of {name}; exclude one")


def _with_unique_names(cases: list[Case]) -> tuple[list[Case], list[Problem]]:
    """Return the cases with unique names, and a problem for each file of the others."""
    named: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        named[case.name].append(case)
    refused = {id(case): other for some in named.values() for case, other in zip(some, some[1:] + some[:1], strict=True)
               if case is not other}  # fmt: skip
    problems: dict[str, str] = {}
    for case in cases:
        if other := refused.get(id(case)):
            reason = f"two cases of one name: {other.volumes[0].path} is also {case.name}"
            problems |= {volume.path: f"{reason}; exclude one, or name a {{channel}}" for volume in case.volumes}
    # If one frame of a file is refused, all its frames are.
    kept = [case for case in cases if not any(volume.path in problems for volume in case.volumes)]
    return kept, [Problem(path, reason) for path, reason in problems.items()]


def too_many_frames(frames: int) -> str:
    """Return the reason why the frames of a file cannot be channels; empty if they can."""
    if frames <= MAX_CHANNELS:
        return ""
    return f"frames: expected at most {MAX_CHANNELS} channels, got {frames} frames; set the fourth axis to cases"


def _frame_name(name: str, volume: Volume, frames: int) -> str:
    return name if frames == 1 else f"{name}#{volume.frame}"


def _refusal(name: str, found: Mapping[str, list[Volume]], channels: list[str]) -> str:
    """Return the reason why files cannot form a case; empty if all channels exist and share a grid."""
    missing = [channel for channel in channels if channel not in found]
    if missing:
        names = ", ".join(sorted(found)) or "none"
        return f"channel {', '.join(missing)} is missing or was refused: {name} has {names}"
    for frames in found.values():
        if len(frames) != 1:
            return f"frames: expected one in a file of one channel, got {len(frames)} in {frames[0].path} of {name}"
    first, *others = [found[channel][0] for channel in channels]
    return next((reason for other in others if (reason := _off_grid(other, first))), "")


def _off_grid(other: Volume, first: Volume) -> str:
    """Return how the grid of a channel differs from that of the first one; empty if both are equal."""
    if align(other, first) is not None:
        return ""
    if other.shape != first.shape:
        return f"channels on different grids: {first.path} {first.shape}, {other.path} {other.shape}"
    distance = other.geometry.distance(first.geometry)
    return (
        f"channels on different grids: the voxels of {other.path} are up to {distance:.3g} mm away from those of "
        f"{first.path}; resample one of them"
    )


def _aligned(name: str, volumes: list[Volume]) -> Case:
    """Return the case of channels on one grid, with their axes in the order of the first channel."""
    return Case(name, tuple(found for volume in volumes if (found := align(volume, volumes[0])) is not None))
