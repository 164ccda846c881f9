"""What a layout makes of the files of one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dali_cr.index.files import Names


@dataclass(frozen=True)
class Claims:
    """Which case and channel each file is, by a layout.

    Attributes
    ----------
    names : mapping of str to (case, channel)
        By path, relative to the folder.
    channels : tuple of str
        In order; empty where channels have no names.
    passed : mapping of str to str
        Why a file is in no case, such as "in labelsTr", by path.
    sure : bool
        Whether more than the names of the files says so.
    """

    names: Mapping[str, Names]
    channels: tuple[str, ...] = ()
    passed: Mapping[str, str] = field(default_factory=dict)
    sure: bool = True


def stem_of(path: str) -> str:
    """Return the name of a file without its suffix.

    Examples
    --------
    >>> stem_of("imagesTr/a.1_0000.NII.GZ"), stem_of("b.png")
    ('a.1_0000', 'b')
    """
    name = PurePosixPath(path).name
    return Path(name[:-3] if name.lower().endswith(".gz") else name).stem
