"""Settings of the data, which all commands that read cases share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from dali_cr.index.layout.listing import Layout

Axis = Literal["D", "H", "W"]

Scaling = Literal["zscore", "zscore-image", "percentile", "none"] | tuple[Literal["window"], float, float]
"""Intensity normalisation, as given on a command line."""

MAY_CHANGE: Mapping[str, bool] = {"may_change": True}
"""Metadata of settings that a resumed run may change; all others are fixed."""

DATA = ("data", "index", "pattern", "layout", "channels", "include", "exclude", "fourth_axis")
"""Names of the settings of `DataSettings` that select and read the data."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Settings of the data."""

    data: tuple[Path, ...] = field(default=(), metadata=MAY_CHANGE)
    """Data: folders of volumes (NIfTI), or of images (PNG, JPEG) with a --pattern for them; or a CSV file of paths."""
    out: Path = field(metadata=MAY_CHANGE)
    """Output: folder of the run: new or empty, or with --resume that of the run to continue."""
    pattern: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Data: globs of the files; {case} and {channel} stand for parts of the name. By default all volumes."""
    layout: Layout = field(default="auto", metadata=MAY_CHANGE)
    """Data: layout of the folders without a --pattern: nnunet, bids, files (each file is a case), or auto to detect
    it."""
    channels: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Data: names of {channel} that every case must have, in this order; by default all that are found."""
    include: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Data: globs of additional files to include."""
    exclude: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Data: globs of files to exclude."""
    fourth_axis: Literal["channels", "cases"] = field(default="channels", metadata=MAY_CHANGE)
    """Data: meaning of the fourth axis of a file."""
    index: Path | None = field(default=None, metadata=MAY_CHANGE)
    """Data: index saved by `dali-cr scan --save`, in place of a scan."""
    split: Path | None = field(default=None, metadata=MAY_CHANGE)
    """Data: split of the subjects into train, val and test, written by `dali-cr splits`."""

    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=MAY_CHANGE)
    """Hardware: device; auto is a GPU if there is one."""

    counts: ClassVar[tuple[str, ...]] = ()
    """Names of the settings that must be at least 1, or None."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        self.check_data()
        for name in self.counts:
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"--{name.replace('_', '-')}: expected at least 1, got {count}")

    def check_data(self) -> None:
        """Raise ValueError unless --data or --index is given."""
        if not self.data and self.index is None:
            raise ValueError("data: expected --data with a folder of volumes, or --index; got neither")
