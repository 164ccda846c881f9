"""Volumes of a workload: synthetic ones, which are made once, or a folder of real ones."""

from __future__ import annotations

import gzip
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
from tqdm import tqdm

import dali_cr
from benchmarks.workloads.workload import Triple, Workload
from dali_cr.index.cases import Index
from dali_cr.tools.phantom import Modality, make_phantom
from dali_cr.tools.phantom_files import write_images

FOLDER = Path(__file__).resolve().parents[2] / "runs" / "bench-data"
"""Default folder of the synthetic volumes, ignored by git."""

PHANTOM_SEED = 0

_PATTERNS = {"nifti": "**/*.nii*", "png": "**/*.png"}


def find_volumes(
    workload: Workload, count: int | None = None, data: Path | None = None, folder: Path = FOLDER
) -> Index:
    """Return the index of one-channel volumes or images that are at least as large as the workload's crop.

    Parameters
    ----------
    workload : Workload
    count : int, optional
        Number of volumes; by default that of the workload.
    data : path, optional
        Folder of volumes; by default synthetic volumes of the workload's shape are made.
    folder : path
        Folder of the synthetic volumes.

    Raises
    ------
    ValueError
        If no volume of `data` is large enough.
    """
    count = workload.volumes if count is None else count
    if count < 1:
        raise ValueError(f"volumes: expected at least 1, got {count}")
    pattern: str | list[str]
    if data:
        root, pattern = data, _PATTERNS[workload.files]
    elif workload.files == "png":
        root, pattern = _place(make_images(folder, workload.shape, count))
    else:
        root, pattern = _place(make_volumes(folder, workload.shape, workload.modality, count))
    index = dali_cr.scan(root, pattern, fourth_axis="cases", progress=sys.stderr.isatty())
    fitting = [case for case in index.cases if all(n >= c for n, c in zip(case.shape, workload.crop, strict=True))]
    if not fitting:
        shapes = sorted({case.shape for case in index.cases})
        raise ValueError(
            f"data: expected volumes of at least {workload.crop} (D, H, W) for workload {workload.name}, "
            f"got {len(index)} of shapes {shapes[:5]} in {root}"
        )
    return replace(index, cases=tuple(fitting[:count]))


def _place(paths: list[Path]) -> tuple[Path, list[str]]:
    """Split paths into their folder and their names."""
    return paths[0].parent, [path.name for path in paths]


def make_images(folder: Path, shape: Triple, count: int) -> list[Path]:
    """Return `count` slices as 8-bit grey PNG files, making those that are missing."""
    kept = folder / f"png-{'x'.join(map(str, shape[1:]))}"
    kept.mkdir(parents=True, exist_ok=True)
    paths = [kept / f"phantom_{number:03d}.png" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    for number in tqdm(missing, desc=f"making {kept.name}", unit="image", disable=not missing):
        with TemporaryDirectory(dir=folder) as scratch:
            (made,) = write_images(scratch, 1, shape[1:], PHANTOM_SEED, first=number)
            made.replace(paths[number])
    return paths


def make_volumes(folder: Path, shape: Triple, modality: Modality, count: int) -> list[Path]:
    """Return `count` volumes as int16 .nii.gz files (RAS+, zlib level 6), making those that are missing."""
    kept = folder / f"{modality}-{'x'.join(map(str, shape))}"
    kept.mkdir(parents=True, exist_ok=True)
    paths = [kept / f"phantom_{number:03d}.nii.gz" for number in range(count)]
    missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]

    def make(number: int, path: Path) -> None:
        image, _, spacing = make_phantom(PHANTOM_SEED, shape, number, modality)
        affine = np.diag([*spacing[::-1], 1.0])
        volume = nib.Nifti1Image(np.rint(image).astype(np.int16).transpose(2, 1, 0), affine)
        # Renamed when complete, so that an interrupted run leaves no partial volume.
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(gzip.compress(volume.to_bytes(), compresslevel=6, mtime=0))
        temporary.replace(path)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = pool.map(make, *zip(*missing, strict=True)) if missing else ()
        for _ in tqdm(made, desc=f"making {kept.name}", total=len(missing), unit="volume", disable=not missing):
            continue
    return paths


def files_of(index: Index) -> list[Path]:
    """Return the voxel files, each once."""
    return sorted({index.root / volume.data for case in index.cases for volume in case.volumes})


def describe(index: Index, data: Path | None) -> dict[str, Any]:
    """Describe the volumes for a result, without paths."""
    volumes = [volume for case in index.cases for volume in case.volumes]
    packed = sum(path.stat().st_size for path in files_of(index))
    raw = sum(volume.geometry.data_bytes for volume in volumes)
    return {
        "source": data.name if data else f"dali_cr.tools.phantom, seed {PHANTOM_SEED}",
        "volumes": len(index),
        "shapes": sorted({volume.shape for volume in volumes}),
        "dtypes": sorted({volume.dtype for volume in volumes}),
        "orientations": sorted({volume.orientation for volume in volumes}),
        "file_bytes": packed,
        "voxel_bytes": raw,
        "ratio": raw / packed,
        "fingerprint": index.fingerprint,
    }
