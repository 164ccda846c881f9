"""Read a box of a case channel by channel, from brick stores or from other files through the caches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy.typing as npt

from dali_cr.index.volumes import Case, Volume
from dali_cr.read.cache import Cache
from dali_cr.read.packed import view_box
from dali_cr.volume.geometry import Triple


def read_boxes(
    cache: Cache, root: Path, case: Case, start: Triple, stop: Triple, channels: Collection[int] | None = None
) -> Iterator[tuple[int, Volume, npt.NDArray[Any]]]:
    """Read a box of a case channel by channel; a file that is shared by several channels is read once.

    Parameters
    ----------
    cache : Cache
        Cache for files other than brick stores.
    root : Path
        Root of the index.
    case : Case
    start, stop : (3,) int
        The canonical box [start, stop).
    channels : collection of int, optional
        Channels to read. Default: all.

    Yields
    ------
    channel : int
    volume : Volume
    raw : (stop - start) of the file's dtype and byte order
        Valid until the next iteration.

    Raises
    ------
    VolumeError
        If a file cannot be read or changed since the scan.
    """
    selected = [(c, volume) for c, volume in enumerate(case.volumes) if channels is None or c in channels]
    for _, group in groupby(selected, key=lambda item: item[1].data):
        members = list(group)
        if members[0][1].packed:
            for channel, volume in members:
                yield channel, volume, view_box(volume, root, start, stop)
            continue
        upto = max(volume.geometry.end(volume.frame, start, stop) for _, volume in members)
        content = cache.read(root, members[0][1], upto)
        for channel, volume in members:
            yield channel, volume, volume.geometry.view(content, volume.frame, start, stop)
