"""`Claims`: case and channel of the files of one folder, according to a layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dali_cr.index.files import Names


@dataclass(frozen=True)
class Claims:
    """Case and channel of each file, according to a layout.

    Attributes
    ----------
    names : mapping of str to (case, channel)
        Case and channel by path, relative to the folder.
    channels : tuple of str
        Names of the channels in order; empty if channels have no names.
    skipped : mapping of str to str
        Reasons why files are not in a case, such as "in labelsTr", by path.
    sure : bool
        Whether the layout is certain; false if only the names of the files suggest it.
    """

    names: Mapping[str, Names]
    channels: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    sure: bool = True


def stem_of(path: str) -> str:
    """Return the name of a file without its suffixes.

    Examples
    --------
    >>> stem_of("imagesTr/a.1_0000.NII.GZ"), stem_of("b.png")
    ('a.1_0000', 'b')
    """
    name = PurePosixPath(path).name
    return Path(name[:-3] if name.lower().endswith(".gz") else name).stem
