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

from dali_cr.index.volumes import Problem
from dali_cr.index.workers import ask_each
from dali_cr.tools.importers.dicom.headers import Header, read_header
from dali_cr.tools.importers.dicom.quiet import without_warnings
from dali_cr.tools.importers.dicom.series import Reader
from dali_cr.tools.importers.discover import Wanted, discover
from dali_cr.tools.importers.formats import Format
from dali_cr.tools.importers.item import Item
from dali_cr.tools.importers.result import Imported
from dali_cr.tools.importers.stores import is_finished, write_item
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
        `imported.problems` names each refused file or series and the reason, `imported.ignored` counts other files.

    Raises
    ------
    FileNotFoundError
        If the source is no folder, or there is nothing to import in it.
    ValueError
        If an argument is not as above.
    ImportError
        If a library is missing for files that are there; it says what to install.
    OSError
        If a store cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/scan.npy", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    ...     import_volumes(folder, f"{folder}/stores", spacing=(3.0, 1.0, 1.0), progress=False).written
    ('scan.ozx',)
    """
    if format != "auto" and format not in FORMATS:
        raise ValueError(f"format: expected auto, {', '.join(FORMATS)}, got {format!r}")
    if spacing is not None and not is_spacing(spacing):
        raise ValueError(f"spacing: expected three positive numbers of mm, got {spacing!r}")
    out = Path(out)
    wanted = Wanted(FORMATS if format == "auto" else (format,), spacing, None if plans is None else Path(plans))
    with _executor(executor) as pool, without_warnings():
        found = discover(Path(source), out, wanted, partial(_header_reader, pool, progress))
        finished = [item for item in found.findings.items if is_finished(out / item.store, item)]
        kept = {item.store for item in finished}
        rest = [item for item in found.findings.items if item.store not in kept]
        sizes, problems = _write_all(rest, found.top, out, level, pool, progress)
    return Imported(
        out=out,
        written=tuple(sorted(sizes)),
        kept=tuple(sorted(kept)),
        sources={item.store: item.source for item in found.findings.items},
        problems=tuple(sorted((*found.findings.problems, *problems), key=lambda problem: problem.path)),
        remarks=tuple(found.findings.remarks),
        ignored=found.ignored,
        source_bytes=sum(item.size for item in rest if item.store in sizes),
        store_bytes=sum(sizes.values()),
    )


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
        answers = ask_each(partial(read_header, top), paths, pool)
        return iter(tqdm(answers, "headers", len(paths), disable=not progress, unit="file"))

    return read


def _write_all(
    items: Sequence[Item], top: Path, out: Path, level: int, pool: Executor, progress: bool
) -> tuple[dict[str, int], list[Problem]]:
    """Write each store; return the bytes of those written, and why others were not."""
    sizes: dict[str, int] = {}
    problems: list[Problem] = []
    answers = ask_each(partial(write_item, top, out, level), items, pool)
    for item, answer in tqdm(answers, "import", len(items), disable=not progress, unit="volume"):
        if isinstance(answer, VolumeError):
            problems.append(Problem(item.source, answer.reason))
        elif isinstance(answer, OSError):
            raise answer
        else:
            sizes[item.store] = answer
    return sizes, problems
