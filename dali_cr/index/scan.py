"""`scan`: read every volume and image of a folder once, and build an `Index`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dali_cr.index.cases import Index
from dali_cr.index.corpus.masks import EMPTY, attach_masks
from dali_cr.index.files import Found, Globs
from dali_cr.index.grouping import FourthAxis, gather_cases
from dali_cr.index.labels import find_labels
from dali_cr.index.layout.listing import EVERY_VOLUME, Layout, Listing, list_files, list_given
from dali_cr.index.layout.walk import Roots
from dali_cr.index.values.frames import read_volumes
from dali_cr.index.volumes import Case, Problem, Volume, find_change
from dali_cr.index.workers import map_files
from dali_cr.system.memory import bytes_at_start
from dali_cr.volume.geometry import VolumeError

__all__ = ["EVERY_VOLUME", "read_listing", "scan"]

Frames = dict[str, list[Volume]]
"""The frames of each file, by path."""


def scan(
    root: Roots | None = None,
    pattern: Globs = (),
    *,
    files: Sequence[str | os.PathLike[str]] | None = None,
    layout: Layout = "auto",
    channels: Sequence[str] = (),
    include: Globs = (),
    exclude: Globs = (),
    fourth_axis: FourthAxis = "channels",
    known: Index | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Index:
    """Read every volume under a folder and index the valid ones.

    Volumes that look like labels are excluded, with an entry in `problems`: few values, or integers in patches, in a
    file whose path contains a word such as "mask", or that has the grid of an image of the same case.

    Parameters
    ----------
    root : path or sequence of paths
        One or several folders; with several, paths are relative to their common parent. Or one CSV file with a column
        `path`, and optionally `case`, or `case` and `channel`, and `modality` and `licence`, free text that cases keep.
        Or one `pretrain_data.json` of nnssl, with data sets and anonymisation masks. With `files`, the folder of
        relative paths (default: the working directory).
    pattern : str or sequence of str
        Globs, relative to each root: `*` and `?` match within a folder name, `**/` any number of folders. PNG and JPEG
        images need a pattern, such as ``"**/*.png"``. For cases of several files, `{case}` and `{channel}` match a part
        of the name: ``"{case}/{channel}.nii.gz"``. If names can be divided in several ways, the one with the same
        channels in all cases is used.
    layout : "auto", "nnunet", "bids" or "files"
        How files become cases if there is no pattern. "nnunet": `imagesTr/CASE_0000.nii.gz`, one file per channel with
        the channel names of `dataset.json`, or one file per case as in the Decathlon. "bids":
        `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, the suffix is the channel, `derivatives` are ignored; if most
        subjects lack a channel or have several grids, each file is a case. "files": each NIfTI file is a case. "auto":
        nnU-Net or BIDS if recognised, else "files"; see `index.layout`.
    files : sequence of path, optional
        Files to use instead of searching `root`, even if they look like labels. A pattern then only defines which part
        of a name is the case and which the channel.
    channels : sequence of str
        Channels that a case must have, in this order, with `{channel}` or a layout with channels; other channels are
        ignored. Default: all channels found, sorted.
    include : str or sequence of str
        Globs of additional files, used even if they look like labels.
    exclude : str or sequence of str
        Globs of files to exclude.
    fourth_axis : "channels" or "cases"
        Meaning of a fourth axis; at most 16 channels.
    known : Index, optional
        Index of an earlier scan: files with the same size and modification time are not read again.
    executor : concurrent.futures.Executor, optional
        Executor that reads the files. Default: threads of this process, one per core.
    progress : bool
        Show a progress bar.

    Returns
    -------
    index : Index
        Cases sorted by path. `index.problems` has each refused file with the reason, `index.ignored` counts the other
        files by kind. Each file is in one of the three. Hidden files and folders are never used.

    Raises
    ------
    FileNotFoundError
        If a root is not a folder, no file matches, or a listed file does not exist.
    ValueError
        If an argument is invalid, or not exactly one way to divide names into case and channel gives all cases the same
        channels.

    Examples
    --------
    >>> from importlib.resources import files
    >>> data_path = files("nibabel") / "tests" / "data"
    >>> index = scan(data_path, "anatomical.nii", progress=False)
    >>> len(index), index.cases[0].shape, index.cases[0].volumes[0].orientation
    (1, (25, 41, 33), 'LAS')
    """
    if files is not None:
        listing = list_given(root, files, pattern, layout, channels, include, exclude)
    elif root is None:
        raise ValueError("scan: expected a root or files, got neither")
    else:
        listing = list_files(root, pattern, layout, channels, include, exclude)
    return read_listing(listing, fourth_axis=fourth_axis, known=known, executor=executor, progress=progress)


def read_listing(
    listing: Listing,
    *,
    fourth_axis: FourthAxis = "channels",
    known: Index | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Index:
    """Read the files of a listing and index the valid ones.

    Parameters
    ----------
    listing : Listing
        From `list_files` or `list_given`.
    fourth_axis, known, executor, progress
        As for `scan`.

    Returns
    -------
    index : Index

    Raises
    ------
    ValueError
        If the meaning of the fourth axis is unknown.
    """
    if fourth_axis not in ("channels", "cases"):
        raise ValueError(f"fourth_axis: expected 'channels' or 'cases', got {fourth_axis!r}")
    top, found = listing.top, listing.files
    bytes_at_start()  # before anything large is read
    wanted = {file.mask: Found(None, None, True) for file in found.values() if file.mask} | found
    volumes = _unchanged_volumes(top, wanted, known)
    read_file = partial(read_volumes, top, fourth_axis=fourth_axis)
    names = {file.store or path: path for path, file in wanted.items() if path not in volumes}
    read, refused = _read_all(read_file, names, executor, progress)
    volumes = {path: frames for path in wanted if (frames := volumes.get(path) or read.get(path))}
    return _make_index(listing, volumes, refused, fourth_axis)


def _make_index(listing: Listing, volumes: Frames, refused: list[Problem], fourth_axis: FourthAxis) -> Index:
    """Exclude labels and group the other volumes into cases."""
    files, channels = listing.files, listing.channels
    masks = {path: frames for path, frames in volumes.items() if path not in files}
    volumes = {path: frames for path, frames in volumes.items() if path in files}
    candidates = {p: v for p, v in volumes.items() if not files[p].explicit and files[p].channel not in channels}
    labels = find_labels(volumes, {path: found.case for path, found in files.items()})
    labels = {path: reason for path, reason in labels.items() if path in candidates}
    images = {path: frames for path, frames in volumes.items() if path not in labels}
    names = channels or sorted({f.channel for path, f in files.items() if f.channel is not None and path not in labels})
    cases, more = gather_cases(images, files, names, fourth_axis)
    layout = listing.layout
    if listing.fallback and len(names) > 1 and _mostly_incomplete(cases, images, files):
        names, layout = [], "bids" if layout == "bids" else "files"
        cases, more = gather_cases(images, listing.fallback, names, fourth_axis)
    cases, unmasked = attach_masks(cases, files, masks, refused)
    refused = [problem for problem in refused if problem.path in files or problem.reason != EMPTY]
    of_labels = (Problem(path, reason) for path, reason in labels.items())
    problems = [*listing.problems, *refused, *more, *unmasked, *of_labels]
    problems.sort(key=lambda problem: problem.path)
    used = {path for case in cases for volume in case.volumes for path in (volume.path, volume.data)}
    rest = tuple(volume for path, frames in volumes.items() if path not in used for volume in frames)
    ignored = listing.ignored(used)
    described = tuple(_described(case, files) for case in cases)
    return Index(
        root=listing.top,
        cases=described,
        problems=tuple(problems),
        channel_names=tuple(names),
        set_aside=rest,
        ignored=ignored,
        layout=layout,
        datasets=dict.fromkeys((case.dataset for case in described if case.dataset), "."),
    )


def _described(case: Case, files: Mapping[str, Found]) -> Case:
    """Return the case with data set, modality and licence of its files; different texts are joined."""
    of_case = [files[volume.path] for volume in case.volumes]
    texts = {name: [getattr(file, name) for file in of_case] for name in ("modality", "licence", "dataset")}
    joined: dict[str, Any] = {name: ", ".join(dict.fromkeys(filter(None, some))) for name, some in texts.items()}
    return replace(case, **joined) if any(joined.values()) else case


def _mostly_incomplete(cases: Sequence[Case], images: Frames, files: Mapping[str, Found]) -> bool:
    """Whether most cases lack a channel or have several grids."""
    return 2 * len(cases) < len({files[path].case for path in images})


def _unchanged_volumes(top: Path, files: Mapping[str, Found], known: Index | None) -> Frames:
    """Return the volumes of an earlier scan whose files have not changed."""
    frames: Frames = defaultdict(list)
    for volume in _volumes(known) if known else ():
        # Pairs are read again, because the index has no modification time of the header; so are volumes of an index of
        # an earlier version without all statistics.
        file = files.get(volume.path)
        if file and volume.data == (file.store or volume.path) and volume.is_complete:
            frames[volume.path].append(volume)
    return {
        path: sorted(volumes, key=lambda volume: volume.frame)
        for path, volumes in frames.items()
        if not find_change(top / volumes[0].data, volumes[0]) and len(volumes) == volumes[0].geometry.frames
    }


def _volumes(index: Index) -> Iterator[Volume]:
    for case in index.cases:
        yield from case.files
    yield from index.set_aside


def _read_all(
    read_file: Callable[[str], list[Volume]], names: Mapping[str, str], executor: Executor | None, progress: bool
) -> tuple[Frames, list[Problem]]:
    """Read each file; return the volumes of valid files, by name, and the problems of the others."""
    volumes: Frames = {}
    problems: list[Problem] = []
    pool = executor or ThreadPoolExecutor(len(os.sched_getaffinity(0)), "scan")
    results = map_files(read_file, names, pool)
    try:
        for path, result in tqdm(results, "scan", len(names), disable=not (progress and names), unit="file"):
            if isinstance(result, VolumeError):
                problems.append(Problem(path, result.reason))
            else:
                volumes[names[path]] = result
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    return volumes, problems
