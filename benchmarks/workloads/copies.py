"""Copies of the volumes in other formats, made once: brick stores, and nnU-Net's preprocessed files."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

import dali_cr
from benchmarks.workloads.volumes import files_of
from benchmarks.workloads.workload import Workload, intensity
from dali_cr.index.cases import Index
from dali_cr.index.volumes import Volume

Kind = Literal["packed", "blosc2"]


def find_copies(kind: Kind, index: Index, workload: Workload, folder: Path) -> Index:
    """Return an index of the volumes in another format, making copies that are missing or outdated.

    Parameters
    ----------
    kind : "packed" or "blosc2"
        "blosc2" is nnU-Net's format: normalised float32 with chunks and blocks that suit the workload's crop. Its index
        has the originals' paths and statistics and the copies' folder; `name_of` returns a volume's file name.
    index : Index
        Index of the original volumes.
    workload : Workload
    folder : Path
        Folder of the synthetic volumes.
    """
    if kind == "packed":
        return _packed(index, folder)
    normalize = "-".join(map(str, np.atleast_1d(np.array(workload.normalize, dtype=object))))
    sizes = "x".join(map(str, workload.crop))
    kept = folder / f"blosc2-{metadata.version('nnunetv2')}-{sizes}-{normalize}-{_name(index, folder)}"
    kept.mkdir(parents=True, exist_ok=True)
    volumes = [case.volumes[0] for case in index.cases]
    missing = [volume for volume in volumes if not (kept / name_of(volume)).exists()]
    for volume in tqdm(missing, desc=f"making {kept.name}", unit="volume", disable=not missing):
        _preprocess(volume, index.root, workload, kept)
    return replace(index, root=kept)


def copied_files(kind: Kind | None, index: Index) -> list[Path]:
    """Return the voxel files of an index from `find_copies`, or of the original index for no kind."""
    if kind == "blosc2":
        return sorted({index.root / name_of(case.volumes[0]) for case in index.cases})
    return files_of(index)


def name_of(volume: Volume) -> str:
    """Return the name of a volume's Blosc2 file, which contains the hash of its original."""
    return f"{volume.sha256[:32]}-{volume.frame}.b2nd"


def _packed(index: Index, folder: Path) -> Index:
    """Return an index of brick stores, reusing those that were packed earlier from the same files."""
    from dali_cr.tools.pack import INDEX

    out = folder / f"packed-{_name(index, folder)}"
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "index.json"
        index.save(path)
        done = dali_cr.pack(path, out, progress=sys.stderr.isatty())
    if done.problems:
        raise ValueError(
            f"{out}: expected every volume to be packed; {done.problems[0].path}: {done.problems[0].reason}"
        )
    return Index.load(out / INDEX)


def _preprocess(volume: Volume, root: Path, workload: Workload, kept: Path) -> None:
    """Write a volume in the format of nnU-Net's preprocessing with its own functions, atomically."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    scale = intensity(volume, workload.normalize)
    voxels = dali_cr.read_volume(root / volume.path)[volume.frame][None]
    data = np.clip((voxels - np.float32(scale.centre)) / np.float32(scale.width), scale.low, scale.high)
    blocks, chunks = comp_blosc2_params(data.shape, workload.crop, data.itemsize)
    labels: dict[str, Any] = {"seg": np.zeros((1, 1, 1, 1), np.int8), "properties": {}}  # not read
    labels |= {"chunks_seg": (1, 1, 1, 1), "blocks_seg": (1, 1, 1, 1)}
    with TemporaryDirectory(dir=kept) as scratch:
        nnUNetDatasetBlosc2.save_case(
            data=data, output_filename_truncated=f"{scratch}/case", chunks=chunks, blocks=blocks, **labels
        )
        (Path(scratch) / "case.b2nd").replace(kept / name_of(volume))


def _name(index: Index, folder: Path) -> str:
    """Return a folder name for an index's volumes, with a hash of their path if they are not in `folder`."""
    if index.root.parent == folder:
        return index.root.name
    return f"{index.root.name}-{hashlib.sha256(str(index.root.absolute()).encode()).hexdigest()[:8]}"


def sizes_of(copies: dict[Kind, Index]) -> dict[str, int]:
    """Return the total bytes of the copies by kind."""
    return {kind: sum(path.stat().st_size for path in copied_files(kind, index)) for kind, index in copies.items()}
