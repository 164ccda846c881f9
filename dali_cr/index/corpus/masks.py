"""Match anonymisation masks, which are non-zero where the image was blurred or removed, with cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dali_cr.index.cases import Index
from dali_cr.index.files import Found
from dali_cr.index.reorder import align
from dali_cr.index.volumes import Case, Problem, Volume

EMPTY = "constant: every finite voxel is 0"
"""Reason for rejecting an empty mask during the scan; the case then needs no mask."""


def attach_masks(
    cases: Iterable[Case], files: Mapping[str, Found], masks: Mapping[str, Sequence[Volume]], refused: Iterable[Problem]
) -> tuple[list[Case], list[Problem]]:
    """Return the cases with the masks that are listed for their files.

    Parameters
    ----------
    cases : iterable of Case
    files : mapping of str to Found
        Listed files, by path of the image.
    masks : mapping of str to sequence of Volume
        Frames of each readable mask, by path.
    refused : iterable of Problem
        Problems of files that cannot be read.

    Returns
    -------
    cases : list of Case
        Without cases whose mask cannot be used, because their anonymised voxels are unknown.
    problems : list of Problem
        One for each file of the other cases.
    """
    reasons = {problem.path: problem.reason for problem in refused}
    kept: list[Case] = []
    problems: list[Problem] = []
    for case in cases:
        path = files[case.volumes[0].path].mask
        if not path or reasons.get(path) == EMPTY:
            kept.append(case)
            continue
        frames = masks.get(path, ())
        mask = align(frames[0], case.volumes[0]) if len(frames) == 1 else None
        if mask:
            kept.append(replace(case, mask=mask))
            continue
        why = reasons.get(path) or ("is on another grid" if len(frames) == 1 else f"has {len(frames)} frames, not one")
        reason = f"expected a usable anonymisation mask, {path}: {why}"
        problems += [Problem(volume.path, reason) for volume in case.volumes]
    return kept, problems


def with_masks(index: Index) -> Index:
    """Return an index with the mask as last channel of each case; cases without a mask repeat their first channel.

    Parameters
    ----------
    index : Index

    Returns
    -------
    index : Index
        The same object if no case has a mask.
    """
    if not any(case.mask for case in index.cases):
        return index
    cases = (replace(case, volumes=(*case.volumes, case.mask or case.volumes[0])) for case in index.cases)
    return replace(index, cases=tuple(cases))
