"""Find the volumes to import from the headers of DICOM files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from dali_cr.index.volumes import Problem, counted
from dali_cr.tools.importers.dicom.grouping import Group, split_series
from dali_cr.tools.importers.dicom.headers import Header
from dali_cr.tools.importers.dicom.names import hash_uid, name_subjects
from dali_cr.tools.importers.dicom.pixels import read_volume_of_slices
from dali_cr.tools.importers.dicom.stack import stack_slices
from dali_cr.tools.importers.item import Findings, Item
from dali_cr.volume.geometry import VolumeError

_SLICED = ("CT", "MR", "PT", "NM")
"""Modalities whose images are slices of a volume; images of other modalities may lack a position."""

Reader = Callable[[Sequence[str]], Iterator[tuple[str, Header | VolumeError]]]
"""Reads the headers of files, in any order."""


def find_series(paths: Sequence[str], read_headers: Reader, out: Path) -> Findings:
    """Find the volumes of DICOM files.

    Parameters
    ----------
    paths : sequence of str
        Paths relative to the imported folder.
    read_headers : callable
    out : Path
        The folder of stores.

    Returns
    -------
    findings : Findings
        A refused series has one problem, with its first file.
    """
    found = Findings()
    series: dict[str, list[Header]] = defaultdict(list)
    for path, header in read_headers(paths):
        if isinstance(header, VolumeError):
            found.problems.append(Problem(path, header.reason))
        elif not header.series:
            found.problems.append(Problem(path, header.refused))
        else:
            series[header.series].append(header)
    folders = name_subjects((header for some in series.values() for header in some), out)
    for uid in sorted(series):
        _add_series(found, sorted(series[uid], key=lambda header: header.file), folders[uid])
    return found


def _add_series(found: Findings, headers: list[Header], folder: str) -> None:
    """Add the volumes of a series, or the reason why it is refused."""
    first, files = headers[0], counted(len(headers), "file")
    if refused := [header for header in headers if header.refused]:
        more = f"; {files} of its series not imported" if len(headers) > 1 else ""
        found.problems.append(Problem(refused[0].file, f"{refused[0].refused}{more}"))
        return
    name = f"{folder}/{hash_uid(first.series)}"
    slices = [one for header in headers for one in header.slices]
    groups = split_series(slices, first.modality in _SLICED)
    if len(groups) > 1:
        remark = f"{files} of one series contain {len(groups)} volumes, by size, orientation or acquisition"
        found.remarks.append(Problem(first.file, remark))
    by_file = {header.file: header for header in headers}
    for suffix, group in groups:
        source = min(one.file for one in group)
        try:
            if len(group) > 1 or group[0].position or first.modality in _SLICED:
                stack_slices(group)  # refused before any pixel is read
        except VolumeError as error:
            found.problems.append(Problem(source, f"{error.reason} (series of {files})"))
            continue
        found.remarks += [Problem(source, text) for text in _remarks(group)]
        members = [by_file[file] for file in sorted({one.file for one in group})]
        found.items.append(_item(f"{name}{suffix}", source, members, group))


def _remarks(group: Group) -> Iterator[str]:
    """Yield remarks on changes of the values of a volume."""
    inverted = sum(one.voxel[0] == "MONOCHROME1" for one in group)
    if inverted:
        yield "MONOCHROME1: values inverted by the slope, so that high values are white; stored voxels are unchanged"
    if len({(one.slope, one.intercept) for one in group}) > 1 or 0 < inverted < len(group):
        yield "slices with different slopes: values stored as float32"


def _item(name: str, source: str, headers: Sequence[Header], group: Group) -> Item:
    """Return the item of a volume, with a digest instead of a time, because file times may reveal the examination."""
    size = sum(header.size for header in headers)
    stamp = "".join(f"{header.size} {header.mtime_ns}\n" for header in headers)
    digest = hashlib.sha256(f"{headers[0].series}\n{stamp}".encode()).digest()
    read = partial(read_volume_of_slices, slices=tuple(group))
    return Item(f"{name}.dcm", f"{name}.ozx", source, size, int.from_bytes(digest[:8], "big") >> 1, read)
