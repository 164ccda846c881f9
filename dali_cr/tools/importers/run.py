"""`import_volumes`: find the volumes of a folder, whatever their format, and write each as a brick store."""

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
from dali_cr.tools.importers.discover import Wanted, discover
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
    """Write the volumes of a folder as brick stores.

    Voxels stay as they are stored, with slope and intercept; only their axes are turned to the canonical grid. Of DICOM
    files nothing but voxels and geometry is kept: stores are named by hashes of the series, in a folder a patient.

    Parameters
    ----------
    source : path
        A folder of DICOM files, .mha, .mhd, .nrrd, .nhdr, .npy, nnU-Net's preprocessed .b2nd, and NIfTI.
    out : path
        Of the stores; made if it is not there. Finished stores of unchanged files stay.
    format : "auto", "dicom", "mha", "nrrd", "npy", "b2nd" or "nifti"
        Only files of this format; all of them under "auto".
    spacing : (3,) float, optional
        In mm along (D, H, W): of .npy files, and of .b2nd files in place of that of their plans.
    plans : path, optional
        nnU-Net's plans, for .b2nd files; else those in the folder above them.
    level : int
        Of LZ4HC, 1 to 12.
    executor : concurrent.futures.Executor, optional
        Where files are read and stores are written; threads of this process, one a core, without it.
    progress : bool
        Show progress bars.

    Returns
    -------
    imported : Imported
        Printed, a table of sizes. `imported.problems` names each refused file or series and the reason,
        `imported.ignored` counts other files.

    Raises
    ------
    FileNotFoundError
        If the source is no folder, or there is nothing to import in it.
    ValueError
        If an argument is not as above, `out` lies in the source, or another process writes to it.
    ImportError
        If a library is missing for files that are there; it says what to install.

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
    spacing = None if spacing is None else tuple(spacing)  # type: ignore[assignment]  # three numbers, or refused
    if spacing is not None and not is_spacing(spacing):
        raise ValueError(f"spacing: expected three positive numbers of mm, got {spacing!r}")
    source, out = Path(source).absolute(), Path(out).absolute()
    if out == source or source in out.parents:
        raise ValueError(f"out: expected a folder outside of {source}, got {out}; a scan would find both")
    wanted = Wanted(FORMATS if format == "auto" else (format,), spacing, None if plans is None else Path(plans))
    with own_folder(out), _executor(executor) as pool, without_warnings():
        found = discover(source, out, wanted, partial(_header_reader, pool, progress))
        ask = partial(import_item, found.top, out, level)
        done = convert(ask, found.findings.items, "import", pool, progress)
    problems = sorted((*found.findings.problems, *done.problems), key=lambda problem: problem.path)
    return Imported(done.files, tuple(problems), found.ignored, tuple(found.findings.remarks))


@contextmanager
def _executor(given: Executor | None) -> Iterator[Executor]:
    """Yield an executor; one of our own is shut down at the end."""
    pool = given or ThreadPoolExecutor(len(os.sched_getaffinity(0)), "import")
    try:
        yield pool
    finally:
        if given is None:
            pool.shutdown(cancel_futures=True)


def _header_reader(pool: Executor, progress: bool, top: Path) -> Reader:
    """Return what reads the headers of DICOM files."""

    def read(paths: Sequence[str]) -> Iterator[tuple[str, Header | VolumeError]]:
        answers = map_files(partial(read_header, top), paths, pool)
        return iter(tqdm(answers, "headers", len(paths), disable=not progress, unit="file"))

    return read
