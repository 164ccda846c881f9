"""Volumes put together to cases: one file a case, a frame a channel, or a file a channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from dali_cr.index.cases import Case, Problem, Volume
from dali_cr.index.files import Found
from dali_cr.index.reorder import align
from dali_cr.volume.geometry import VolumeError

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
    several: dict[str, dict[str, list[Volume]]] = defaultdict(dict)
    for path, frames in volumes.items():
        case, channel = files[path].case, files[path].channel
        if channel is not None:
            several[str(case)][channel] = frames
        elif fourth_axis == "cases":
            cases += [Case(_frame_name(case or path, v, len(frames)), (v,)) for v in frames]
        elif reason := too_many_frames(len(frames)):
            problems.append(Problem(path, reason))
        else:
            cases.append(Case(case or path, tuple(frames)))
    for name, found in sorted(several.items()):
        try:
            cases.append(_several_files(name, found, wanted))
        except VolumeError as error:
            problems.append(Problem(error.path, error.reason))
    return sorted(cases, key=lambda case: (case.volumes[0].path, case.volumes[0].frame)), problems


def too_many_frames(frames: int) -> str:
    """Return why a file with so many frames is no case of as many channels; empty if it may be one."""
    if frames <= MAX_CHANNELS:
        return ""
    return f"{frames} frames are too many for channels ({MAX_CHANNELS}); say fourth_axis='cases'"


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
    return Case(name, (first, *(_on_grid(name, other, first) for other in volumes[1:])))


def _on_grid(name: str, other: Volume, first: Volume) -> Volume:
    """Return a channel with its axes as those of the first, on whose grid it must be."""
    if (aligned := align(other, first)) is not None:
        return aligned
    if other.shape != first.shape:
        raise VolumeError(name, f"channels on different grids: {first.path} {first.shape}, {other.path} {other.shape}")
    off = other.geometry.distance(first.geometry)
    raise VolumeError(
        name,
        f"channels on different grids: the voxels of {other.path} are up to {off:.3g} mm away from those of "
        f"{first.path}; resample one of them",
    )
