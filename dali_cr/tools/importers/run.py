"""`import_volumes`: convert the volumes of a folder, in any supported format, to brick stores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from dali_cr.index.workers import map_files
from dali_cr.system.owner import own_folder
from dali_cr.tools.conversion import convert
from dali_cr.tools.importers.dicom.headers import Header, read_header
from dali_cr.tools.importers.dicom.quiet import without_warnings
from dali_cr.tools.importers.dicom.series import Reader
from dali_cr.tools.importers.discover import Request, discover
from dali_cr.tools.importers.formats import Format
from dali_cr.tools.importers.result import Imported
from dali_cr.tools.importers.stores import import_item
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.grid import Spacing, is_spacing
from dali_cr.volume.packed.writer import LEVEL

FORMATS: tuple[Format, ...] = get_args(Format)


def import_volumes(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: Format | Literal["auto"] = "auto",
    spacing: Spacing | None = None,
    plans: str | os.PathLike[str] | None = None,
    level: int = LEVEL,
    executor: Executor | None = None,
    progress: bool = True,
) -> Imported:
    """Convert the volumes of a folder to brick stores.

    Stored voxel values, slope and intercept are kept; axes are reordered to the canonical grid. From DICOM files only
    voxels and geometry are kept: stores are named by hashes of the series, in one folder per patient.

    Parameters
    ----------
    source : path
        Folder with DICOM, .mha, .mhd, .nrrd, .nhdr, .npy, nnU-Net's preprocessed .b2nd, and NIfTI files.
    out : path
        Folder for the stores, created if missing. Finished stores of unchanged files are kept.
    format : "auto", "dicom", "mha", "nrrd", "npy", "b2nd" or "nifti"
        Import only this format; "auto" imports all formats.
    spacing : (3,) float, optional
        Spacing in mm along (D, H, W) for .npy files, and for .b2nd files instead of the plans.
    plans : path, optional
        nnU-Net's plans for .b2nd files. Default: the JSON files in the parent folder.
    level : int
        Compression level of LZ4HC, 1 to 12.
    executor : concurrent.futures.Executor, optional
        Executor that reads files and writes stores. Default: threads of this process, one per core.
    progress : bool
        Show progress bars.

    Returns
    -------
    imported : Imported
        Its text is a table of sizes. `imported.problems` has each refused file or series with the reason,
        `imported.ignored` counts other files.

    Raises
    ------
    FileNotFoundError
        If the source is not a folder, or has nothing to import.
    ValueError
        If an argument is invalid, `out` is inside of the source, or another process writes to it.
    ImportError
        If a library for existing files is missing; the message says what to install.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as out:
    ...     np.save(f"{source}/scan.npy", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    ...     imported = import_volumes(source, out, spacing=(3.0, 1.0, 1.0), progress=False)
    >>> imported.files[0].path, imported.files[0].target, imported.problems
    ('scan.npy', 'scan.ozx', ())
    """
    if format != "auto" and format not in FORMATS:
        raise ValueError(f"format: expected auto, {', '.join(FORMATS)}, got {format!r}")
    if not 1 <= level <= 12:
        raise ValueError(f"level: expected 1 to 12, got {level}")
    spacing = None if spacing is None else tuple(spacing)  # type: ignore[assignment]  # checked below
    if spacing is not None and not is_spacing(spacing):
        raise ValueError(f"spacing: expected three positive numbers in mm, got {spacing!r}")
    source, out = Path(source).absolute(), Path(out).absolute()
    if out == source or source in out.parents:
        raise ValueError(f"out: expected a folder outside of {source}, got {out}; a scan would find both")
    request = Request(FORMATS if format == "auto" else (format,), spacing, None if plans is None else Path(plans))
    with own_folder(out), _executor(executor) as pool, without_warnings():
        found = discover(source, out, request, partial(_header_reader, pool, progress))
        import_one = partial(import_item, found.top, out, level)
        done = convert(import_one, found.findings.items, "import", pool, progress)
    problems = sorted((*found.findings.problems, *done.problems), key=lambda problem: problem.path)
    return Imported(done.files, tuple(problems), found.ignored, tuple(found.findings.remarks))


@contextmanager
def _executor(given: Executor | None) -> Iterator[Executor]:
    """Yield the given executor, or a new one that is shut down at the end."""
    pool = given or ThreadPoolExecutor(len(os.sched_getaffinity(0)), "import")
    try:
        yield pool
    finally:
        if given is None:
            pool.shutdown(cancel_futures=True)


def _header_reader(pool: Executor, progress: bool, top: Path) -> Reader:
    """Return a reader of DICOM headers."""

    def read(paths: Sequence[str]) -> Iterator[tuple[str, Header | VolumeError]]:
        results = map_files(partial(read_header, top), paths, pool)
        return iter(tqdm(results, "headers", len(paths), disable=not progress, unit="file"))

    return read
