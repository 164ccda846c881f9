"""`pack`: convert the volumes of a folder to brick stores, for fast reading of crops."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from dali_cr.index.cases import Index
from dali_cr.index.files import Globs, as_patterns
from dali_cr.index.layout.dataset_json import FILE_NAME
from dali_cr.index.layout.leftover import kind_of
from dali_cr.index.layout.walk import walk_trees
from dali_cr.index.volumes import Problem, Volume, find_change
from dali_cr.system.atomic import write_whole
from dali_cr.system.owner import own_folder
from dali_cr.tools.conversion import Conversion, Converted, convert
from dali_cr.volume import nifti, reader
from dali_cr.volume.access import read_status
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.layout import SUFFIX, is_store
from dali_cr.volume.packed.originals import read_original
from dali_cr.volume.packed.store import Store, store_names
from dali_cr.volume.packed.writer import LEVEL, write_store

INDEX = "index.json"
"""Name of the index in the folder of stores, if the source was an index."""

_COPIED = (FILE_NAME, "dataset_description.json")
"""Files that define the layout of a folder; copied, because a scan of the stores needs them."""


@dataclass(frozen=True)
class _Job:
    """Settings of a packing run."""

    source: Path
    out: Path
    level: int
    keep_text: bool
    long_names: frozenset[str]

    def target(self, path: str) -> str:
        """Return the relative path of the store of a file."""
        short, long = store_names(PurePosixPath(path).name)
        return str(PurePosixPath(path).with_name(long if path in self.long_names else short))


def pack(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    exclude: Globs = (),
    level: int = LEVEL,
    keep_text: bool = False,
    executor: Executor | None = None,
    progress: bool = True,
) -> Conversion:
    """Convert NIfTI volumes to brick stores, without loss; see `dali_cr.unpack` for the inverse.

    A store is written under a temporary name, read back and compared before it is renamed, so a run may be killed at
    any time. The next run continues: stores whose originals have the same size and modification time are kept.

    Parameters
    ----------
    source : path
        Folder whose volumes are packed, labels too; or an index saved by `Index.save`, whose cases and excluded volumes
        are packed.
    out : path
        Folder for the stores, with the same subfolders as the source, and outside of it. If the source is an index, an
        ``index.json`` of the stores with the same cases and statistics is also written.
    exclude : str or sequence of str
        Globs of files to exclude, as for `dali_cr.scan`.
    level : int
        Compression level of LZ4HC, 1 to 12.
    keep_text : bool
        Keep the free text of headers (description, file names, name of the database), which may name a patient.
    executor : concurrent.futures.Executor, optional
        Executor that packs files. Default: threads of this process, one per core.
    progress : bool
        Show a progress bar.

    Returns
    -------
    conversion : Conversion
        Its text is a table of sizes; `files` and `problems` list all files.

    Raises
    ------
    FileNotFoundError
        If the source does not exist or has no volume.
    ValueError
        If an argument is invalid, or another process writes to `out`.

    Examples
    --------
    >>> import tempfile
    >>> import dali_cr
    >>> from importlib.resources import files
    >>> data_path = files("nibabel") / "tests" / "data"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = pack(data_path, folder, exclude="row_major*", progress=False)
    ...     index = dali_cr.scan(folder, fourth_axis="cases", progress=False)
    >>> done.files[0].path, done.files[0].target, index.cases[0].volumes[0].packed
    ('anatomical.nii', 'anatomical.ozx', True)
    """
    if not 1 <= level <= 12:
        raise ValueError(f"level: expected 1 to 12, got {level}")
    source, out = Path(source).absolute(), Path(out).absolute()
    index = None if source.is_dir() else Index.load(source)
    root = Path(os.path.abspath(index.root)) if index else source
    if out == root or root in out.parents:
        raise ValueError(f"out: expected a folder outside of {root}, got {out}; a scan would find both")
    found, problems = _of_index(index) if index else _of_folder(root)
    excluded = as_patterns(exclude)
    paths = [path for path in found if nifti.is_volume(path) and not any(p.match(path) for p in excluded)]
    ignored = Counter(kind_of(path, "excluded" if nifti.is_volume(path) else "") for path in set(found) - set(paths))
    if not paths:
        reasons = "".join(f"\n  {problem.path}: {problem.reason}" for problem in problems[:5])
        raise FileNotFoundError(f"{source}: expected NIfTI volumes to pack, got none{reasons}")
    job = _Job(root, out, level, keep_text, _with_equal_stores(paths))
    with own_folder(out):
        done = convert(partial(_pack_file, job), paths, "pack", executor, progress)
        more = [*problems, *done.problems, *_unmatched_stores(job, paths)]
        done = replace(done, problems=tuple(more), ignored=dict(ignored.most_common()))
        if index:
            _packed_index(index, out, done).save(out / INDEX)
        else:
            _copy_layout(root, out, paths)
    return done


def _of_folder(root: Path) -> tuple[list[str], list[Problem]]:
    """Return the files under a folder, without stores."""
    _, (tree,), problems = walk_trees(root)
    return [path for path in tree.paths if path not in tree.stores and not is_store(path)], problems


def _of_index(index: Index) -> tuple[list[str], list[Problem]]:
    """Return the unchanged files of an index, and a problem for each other file."""
    volumes = {volume.path: volume for volume in _volumes(index)}
    paths, problems = list[str](), list[Problem]()
    for path, volume in sorted(volumes.items()):
        if volume.packed:
            problems.append(Problem(path, "is packed already"))
        elif change := find_change(index.root / volume.data, volume):
            problems.append(Problem(path, f"{change}; scan again"))
        else:
            paths.append(path)
    return paths, problems


def _volumes(index: Index) -> list[Volume]:
    return [*(volume for case in index.cases for volume in case.files), *index.set_aside]


def _with_equal_stores(paths: Sequence[str]) -> frozenset[str]:
    """Return the files whose stores would have the same name as another one, and need longer names."""
    named: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        short = PurePosixPath(path).with_name(store_names(PurePosixPath(path).name)[0])
        named[str(short).casefold()].append(path)
    return frozenset(path for some in named.values() if len(some) > 1 for path in some)


def _pack_file(job: _Job, path: str) -> Converted:
    """Pack one file, unless its store already exists."""
    target = job.target(path)
    place = job.out / target
    size = sum(read_status(file).st_size for file in _files(job.source / path))
    if store := _finished(job, path, place):
        geometry, extensions = store.layout.geometry, store.layout.description.extensions
        return Converted(path, target, "kept", geometry.dtype, size, place.stat().st_size, extensions)
    contents = read_original(job.source / path, path, keep_text=job.keep_text)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = write_store(place, contents, job.level)
    except OSError as error:
        raise VolumeError(place, f"cannot be written: {error.strerror or error}") from error
    return Converted(path, target, "new", contents.dtype, size, written, contents.extensions)


def _files(path: Path) -> tuple[Path, ...]:
    """Return the file of a volume, or both files of a pair."""
    return tuple(dict.fromkeys((path, reader.read_header(path)[1])))


def _finished(job: _Job, path: str, place: Path) -> Store | None:
    """Return the store of an earlier run, if it is valid and its original has not changed; else None."""
    if not place.exists():
        return None
    try:
        store = Store(place)
    except VolumeError:
        return None
    original = store.layout.description.original
    status = [read_status(file) for file in _files(job.source / path)]
    now = path, sum(s.st_size for s in status), max(s.st_mtime_ns for s in status)
    return store if (original.path, original.size, original.mtime_ns) == now else None


def _unmatched_stores(job: _Job, paths: Sequence[str]) -> list[Problem]:
    """Return a problem for each store in the output folder that does not belong to a file of the source."""
    targets = {job.target(path) for path in paths}
    found = sorted(place.relative_to(job.out).as_posix() for place in job.out.rglob(f"*{SUFFIX}"))
    return [Problem(path, f"in {job.out}, but of no file of {job.source}") for path in found if path not in targets]


def _copy_layout(root: Path, out: Path, paths: Sequence[str]) -> None:
    """Copy the files that define the layout of a folder."""
    folders = {folder for path in paths for folder in PurePosixPath(path).parents}
    for folder in sorted(folders):
        for name in _COPIED:
            if (root / folder / name).is_file():
                (out / folder).mkdir(parents=True, exist_ok=True)
                write_whole(out / folder / name, (root / folder / name).read_bytes())


def _packed_index(index: Index, out: Path, done: Conversion) -> Index:
    """Return the index of the stores, with the same cases, except those with refused files, and statistics."""
    targets = {file.path: file.target for file in done.files}

    def packed(volume: Volume) -> Volume:
        status = read_status(out / targets[volume.path])
        geometry = reader.read_header(out / targets[volume.path])[0]
        return replace(
            volume,
            data=targets[volume.path],
            geometry=geometry.aligned(volume.geometry) or geometry,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
        )

    whole = [case for case in index.cases if all(volume.path in targets for volume in case.files)]
    return replace(
        index,
        root=out,
        cases=tuple(
            replace(case, volumes=tuple(map(packed, case.volumes)), mask=packed(case.mask) if case.mask else None)
            for case in whole
        ),
        problems=tuple(sorted({*index.problems, *done.problems}, key=lambda problem: problem.path)),
        set_aside=tuple(packed(volume) for volume in index.set_aside if volume.path in targets),
    )
