"""`scan`: read every volume or image of a folder once, to its end, and make an `Index` of them."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dali_cr.index.cases import Index
from dali_cr.index.files import Found, Globs
from dali_cr.index.grouping import FourthAxis, gather_cases, too_many_frames
from dali_cr.index.labels import find_labels
from dali_cr.index.layout.listing import EVERY_VOLUME, Layout, Listing, list_files, list_given
from dali_cr.index.layout.walk import Roots
from dali_cr.index.values.content import content_hash
from dali_cr.index.values.statistics import Array, canonical_view, measure, measured_bytes
from dali_cr.index.volumes import Case, Problem, Volume, find_change
from dali_cr.index.workers import ask_each
from dali_cr.system.memory import bytes_at_start, usable_memory
from dali_cr.volume import reader
from dali_cr.volume.access import read_status
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.packed.layout import SUFFIX, is_store
from dali_cr.volume.packed.store import original_path

__all__ = ["EVERY_VOLUME", "read_volumes", "scan"]

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
    """Read every volume under a folder and index the good ones.

    Volumes that look like labels are set aside, with a line in `problems`: few values, or whole numbers in patches,
    in a file whose path calls it a label, or which lies on the grid of an image of the same case.

    Parameters
    ----------
    root : path or sequence of paths
        With several, paths are relative to the folder they share. Or one CSV file with a column `path`, and where
        wanted `case`, or `case` and `channel`, and `modality` and `licence`, free text that cases keep. With `files`,
        where they lie, if not in the present folder.
    pattern : str or sequence of str
        Globs, relative to each root: `*` and `?` stay within a folder name, `**/` is any number of folders. PNG and
        JPEG images are found by theirs, such as ``"**/*.png"``.
        `{case}` and `{channel}` stand for a part of the name, for cases of several files:
        ``"{case}/{channel}.nii.gz"``. Where a name can be divided in several ways, the one that makes all cases alike
        is taken.
    layout : "auto", "nnunet", "bids" or "files"
        Without a pattern. "nnunet": `imagesTr/CASE_0000.nii.gz`, a file a channel, with the names of `dataset.json`, or
        the Decathlon's file a case. "bids": `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, the suffix is the channel,
        without `derivatives`; where that leaves most subjects without a channel or on several grids, each file is a
        case. "files": each NIfTI file is a case. "auto" is nnU-Net's or BIDS's where it is recognised, else "files";
        `index.layout` tells.
    files : sequence of path, optional
        Instead of what is found under `root`: these, all of them, even those that look like labels. With a pattern,
        it says which part of their names is the case and which the channel.
    channels : sequence of str
        With `{channel}` or a layout of channels: which ones a case must have, in this order; others are no match.
        Without it, all that were found, sorted.
    include : str or sequence of str
        Globs of files that are taken as well, and even if they look like labels.
    exclude : str or sequence of str
        Globs of files that are left out.
    fourth_axis : "channels" or "cases"
        What a fourth axis means. More than 16 channels are refused.
    known : Index, optional
        An earlier scan: files whose size and time of change are still those are not read again.
    executor : concurrent.futures.Executor, optional
        Where files are read; threads of this process, one a core, without it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    index : Index
        Cases sorted by path; `index.problems` names each refused file and the reason, `index.ignored` counts the other
        files by kind. Each file is in one of the three. Hidden files and folders are never data.

    Raises
    ------
    FileNotFoundError
        If a root is no folder, nothing under it matches, or a listed file is not there.
    ValueError
        If an argument is not as above, or no single way to divide names into case and channel makes all cases alike.

    Examples
    --------
    >>> from importlib.resources import files
    >>> data_path = files("nibabel") / "tests" / "data"
    >>> index = scan(data_path, "anatomical.nii", progress=False)
    >>> len(index), index.cases[0].shape, index.cases[0].volumes[0].orientation
    (1, (25, 41, 33), 'LAS')
    """
    if fourth_axis not in ("channels", "cases"):
        raise ValueError(f"fourth_axis: expected 'channels' or 'cases', got {fourth_axis!r}")
    if files is not None:
        listing = list_given(root, files, pattern, layout, channels, include, exclude)
    elif root is None:
        raise ValueError("scan: expected a root, or files, got neither")
    else:
        listing = list_files(root, pattern, layout, channels, include, exclude)
    top, found = listing.top, listing.files
    bytes_at_start()  # before anything large is read
    volumes = _still_known(top, found, known)
    ask = partial(read_volumes, top, fourth_axis=fourth_axis)
    actual = {about.store or path: path for path, about in found.items() if path not in volumes}
    read, refused = _read_all(ask, actual, executor, progress)
    volumes = {path: frames for path in found if (frames := volumes.get(path) or read.get(path))}
    return _make_index(listing, volumes, refused, fourth_axis)


def _make_index(listing: Listing, volumes: Frames, refused: list[Problem], fourth_axis: FourthAxis) -> Index:
    """Set labels aside, make cases of the others."""
    files, channels = listing.files, listing.channels
    doubtful = {p: v for p, v in volumes.items() if not files[p].asked_for and files[p].channel not in channels}
    labels = find_labels(volumes, {path: found.case for path, found in files.items()})
    labels = {path: reason for path, reason in labels.items() if path in doubtful}
    images = {path: frames for path, frames in volumes.items() if path not in labels}
    names = channels or sorted({f.channel for path, f in files.items() if f.channel is not None and path not in labels})
    cases, more = gather_cases(images, files, names, fourth_axis)
    layout = listing.layout
    if listing.otherwise and len(names) > 1 and _few_whole(cases, images, files):
        names, layout = [], "bids" if layout == "bids" else "files"
        cases, more = gather_cases(images, listing.otherwise, names, fourth_axis)
    problems = [*listing.problems, *refused, *more, *(Problem(path, reason) for path, reason in labels.items())]
    problems.sort(key=lambda problem: problem.path)
    used = {path for case in cases for volume in case.volumes for path in (volume.path, volume.data)}
    rest = tuple(volume for path, frames in volumes.items() if path not in used for volume in frames)
    ignored = listing.ignored(used)
    described = tuple(_described(case, files) for case in cases)
    return Index(listing.top, described, tuple(problems), tuple(names), rest, ignored=ignored, layout=layout)


def _described(case: Case, files: Mapping[str, Found]) -> Case:
    """Return the case with the modality and licence of its files, different ones one after the other."""
    of_case = [files[volume.path] for volume in case.volumes]
    modalities, licences = ([getattr(f, name) for f in of_case] for name in ("modality", "licence"))
    if not any((*modalities, *licences)):
        return case
    modality, licence = (", ".join(dict.fromkeys(filter(None, texts))) for texts in (modalities, licences))
    return replace(case, modality=modality, licence=licence)


def _few_whole(cases: Sequence[Case], images: Frames, files: Mapping[str, Found]) -> bool:
    """Whether most of the cases that the files name lack a channel, or have several grids."""
    return 2 * len(cases) < len({files[path].case for path in images})


def _still_known(top: Path, files: Mapping[str, Found], known: Index | None) -> Frames:
    """Return the volumes of an earlier scan whose files are still the same."""
    frames: Frames = defaultdict(list)
    for volume in _volumes(known) if known else ():
        # Of a pair, the index does not know when the header was changed.
        # An index of an earlier version does not know its content, or not all of its statistics.
        about = files.get(volume.path)
        if about and volume.data == (about.store or volume.path) and volume.is_complete:
            frames[volume.path].append(volume)
    return {
        path: sorted(volumes, key=lambda volume: volume.frame)
        for path, volumes in frames.items()
        if not find_change(top / volumes[0].data, volumes[0]) and len(volumes) == volumes[0].geometry.frames
    }


def _volumes(index: Index) -> Iterator[Volume]:
    for case in index.cases:
        yield from case.volumes
    yield from index.set_aside


def _read_all(
    ask: Callable[[str], list[Volume]], names: Mapping[str, str], executor: Executor | None, progress: bool
) -> tuple[Frames, list[Problem]]:
    """Read each file; return the volumes of the good ones, by name, and the problems of the others."""
    volumes: Frames = {}
    problems: list[Problem] = []
    own = executor or ThreadPoolExecutor(len(os.sched_getaffinity(0)), "scan")
    answers = ask_each(ask, names, own)
    try:
        for path, answer in tqdm(answers, "scan", len(names), disable=not progress, unit="file"):
            if isinstance(answer, VolumeError):
                problems.append(Problem(path, answer.reason))
            else:
                volumes[names[path]] = answer
    finally:
        if executor is None:
            own.shutdown(cancel_futures=True)
    return volumes, problems


def read_volumes(top: Path, path: str, fourth_axis: FourthAxis = "cases") -> list[Volume]:
    """Read one file to its end; return a `Volume` for each of its frames.

    Raises
    ------
    VolumeError
        If it cannot be read, is damaged, holds nothing to learn from, or frames that are too many for channels.
    """
    geometry, data = reader.read_header(top / path)
    if fourth_axis == "channels" and (reason := too_many_frames(geometry.frames)):
        raise VolumeError(path, reason)
    status = read_status(data)
    packed = data.name.lower().endswith((".gz", SUFFIX))
    _refuse_beyond_memory(top / path, geometry, geometry.data_bytes + status.st_size if packed else 0)
    content, digest = reader.read_whole(data, geometry.data_offset + geometry.data_bytes)
    if data != top / path:
        digest = hashlib.sha256(digest.encode() + reader.read_head(top / path)).hexdigest()
    relative = data.relative_to(top).as_posix()
    named = original_path(top / path).relative_to(top).as_posix()
    raw = np.frombuffer(content, geometry.numpy_dtype, geometry.frames * geometry.voxels, geometry.data_offset)
    found = []
    for frame, voxels in enumerate(raw.reshape(geometry.frames, geometry.voxels)):
        name = path if geometry.frames == 1 else f"{path}, frame {frame}"
        try:
            measured = measure(name, *_in_file_order(voxels, geometry) if is_store(path) else (voxels, geometry))
            content_digest = content_hash(voxels, geometry)
        except MemoryError as error:
            raise VolumeError(top / path, f"not enough memory to measure its {voxels.nbytes} bytes") from error
        stored = (digest, status.st_size, status.st_mtime_ns)
        found.append(Volume(named, relative, frame, geometry, *measured, *stored, content_digest))
    return found


def _in_file_order(voxels: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """Return a frame of a brick store as its original stores it: what is measured of both is the same, bit for bit."""
    original = geometry.in_file_order()
    if original.strides == geometry.strides:
        return voxels, geometry
    out = np.empty_like(voxels)
    canonical_view(out, original)[...] = voxels.reshape(geometry.shape)
    return out, original


def _refuse_beyond_memory(path: Path, geometry: Geometry, content: int) -> None:
    """Refuse a volume that this process cannot measure, before it is killed for the memory that this takes.

    Parameters
    ----------
    path : Path
    geometry : Geometry
    content : int
        Bytes of memory that the file's content takes; none where it is mapped.

    Raises
    ------
    VolumeError
    """
    least = bytes_at_start() + measured_bytes(geometry) + content
    if least > usable_memory():
        raise VolumeError(
            path, f"measuring it takes at least {least} bytes, {usable_memory()} bytes of memory may be used"
        )
