"""`scan`: read every volume and image of a folder once, and build an `Index`."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dali_cr.index.cases import Index
from dali_cr.index.corpus.masks import EMPTY, attach_masks
from dali_cr.index.files import Found, Globs
from dali_cr.index.grouping import FourthAxis, gather_cases, too_many_frames
from dali_cr.index.labels import find_labels
from dali_cr.index.layout.listing import EVERY_VOLUME, Layout, Listing, list_files, list_given
from dali_cr.index.layout.walk import Roots
from dali_cr.index.values.content import content_hash
from dali_cr.index.values.statistics import Array, canonical_view, measure, measured_bytes
from dali_cr.index.volumes import Case, Problem, Volume, find_change
from dali_cr.index.workers import map_files
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
    if fourth_axis not in ("channels", "cases"):
        raise ValueError(f"fourth_axis: expected 'channels' or 'cases', got {fourth_axis!r}")
    if files is not None:
        listing = list_given(root, files, pattern, layout, channels, include, exclude)
    elif root is None:
        raise ValueError("scan: expected a root or files, got neither")
    else:
        listing = list_files(root, pattern, layout, channels, include, exclude)
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


def read_volumes(top: Path, path: str, fourth_axis: FourthAxis = "cases") -> list[Volume]:
    """Read a whole file; return a `Volume` for each of its frames.

    Raises
    ------
    VolumeError
        If it cannot be read, is damaged, is constant, or has more frames than channels are allowed.
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
    """Return a frame of a brick store in the voxel order of its original, so that statistics are equal bit for bit."""
    original = geometry.in_file_order()
    if original.strides == geometry.strides:
        return voxels, geometry
    out = np.empty_like(voxels)
    canonical_view(out, original)[...] = voxels.reshape(geometry.shape)
    return out, original


def _refuse_beyond_memory(path: Path, geometry: Geometry, content: int) -> None:
    """Raise VolumeError if measuring a volume needs more memory than this process may use.

    Parameters
    ----------
    path : Path
    geometry : Geometry
    content : int
        Bytes of memory for the file's content; 0 if the file is memory-mapped.

    Raises
    ------
    VolumeError
    """
    least = bytes_at_start() + measured_bytes(geometry) + content
    if least > usable_memory():
        raise VolumeError(path, f"measuring it needs at least {least} bytes of memory, got {usable_memory()}")
