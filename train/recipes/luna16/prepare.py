"""Prepare LUNA16 for pre-training, for the classification of candidates, and for FROC.

::

    python -m train.recipes.luna16.prepare data/LUNA16 runs/luna16/data --folds 0

The output folder has ``scans/`` (brick stores of the .mhd files) with ``scans.csv``; ``crops/`` (cubes around
candidates, NIfTI); and for each fold ``fold0/`` with ``images.csv`` and ``classes.csv`` of its candidates and
``splits.json``, which divides scans and candidates alike. ``candidates.csv`` and ``nodules.csv`` are for FROC.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ...start.interrupt import quit_on_interrupt

    quit_on_interrupt("prepare")

from ...start import needs  # noqa: F401 - before all that may be missing

# isort: split

import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from dali_cr import rng
from dali_cr.system.owner import own_folder

from ...data.split.parts import Split
from ...start.command import asked, end, read_arguments
from ..folder import images_csv, refuse_missing, split_json, table, write_all
from .crops import crop_path, write_crops
from .marks import Mark, find_table, read_marks
from .scans import SUBSETS, find_scans, import_scans, make_fold

FINDINGS = ("annotations.csv", "annotations_excluded.csv")
"""Tables of nodules, and of irrelevant findings."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Prepare LUNA16 for pre-training, for the classification of candidates, and for FROC."""

    source: tyro.conf.Positional[Path]
    """Data: folder with subset0 to subset9 and, in any sub-folder, the tables."""
    out: tyro.conf.Positional[Path]
    """Output: folder for stores, crops, tables and splits; more folds may be added later."""
    folds: tuple[int, ...] = (0,)
    """Split: folds to prepare. Of fold N subset N is the test part, the next one validation, the others training."""
    candidates: Literal["candidates_V2.csv", "candidates.csv"] = "candidates_V2.csv"
    """Data: table of candidates; the organisers advise against the first one, candidates.csv."""
    edge: int = 48
    """Crops: voxels along each axis."""
    spacing: float = 1.0
    """Crops: voxel size in mm."""
    negatives: int = 100
    """Crops: candidates without a nodule, of each scan for training or validation; all of a scan for the test."""
    seed: int = 0
    """Crops: seed of the choice of these candidates."""
    missing: Literal["refuse", "leave"] = "refuse"
    """Data: whether scans that are missing or cannot be read are an error (refuse) or excluded (leave)."""

    def __post_init__(self) -> None:
        """Check the settings, without the data."""
        if not self.folds or not set(self.folds) <= set(range(len(SUBSETS))):
            raise ValueError(f"--folds: expected numbers from 0 to {len(SUBSETS) - 1}, got {self.folds}")
        if self.edge < 1 or not 0 < self.spacing < float("inf") or self.negatives < 1:
            raise ValueError(
                f"expected --edge, --spacing and --negatives above 0, got {self.edge}, {self.spacing}, {self.negatives}"
            )


def choose(config: PrepareConfig, candidates: Mapping[str, Mark], split: Split) -> list[str]:
    """Return the candidates of a fold: all of the test part; nodules and drawn others of the other parts."""
    words = rng.draw_words(config.seed, np.arange(len(candidates)), rng.Purpose.ORDER, 1)[:, 0]
    chosen, others = set(), defaultdict(list)
    for (name, mark), word in zip(candidates.items(), words.tolist(), strict=True):
        if mark.value or mark.scan in split.test:
            chosen.add(name)
        else:
            others[mark.scan].append((word, name))
    for drawn in others.values():
        chosen |= {name for _, name in sorted(drawn)[: config.negatives]}
    return [name for name in candidates if name in chosen]


def about(config: PrepareConfig, candidates: Path, subsets: Mapping[str, Sequence[str]]) -> bytes:
    """Return what crops depend on, for a folder that is prepared in several calls."""
    files = sorted(path for name in subsets for path in (config.source / name).iterdir())
    sizes = "".join(f"{path.name} {path.stat().st_size}\n" for path in files if path.is_file())
    content = {
        "candidates": config.candidates,
        "candidates_sha256": hashlib.sha256(candidates.read_bytes()).hexdigest(),
        "scans_sha256": hashlib.sha256(sizes.encode()).hexdigest(),
        **{name: getattr(config, name) for name in ("edge", "spacing", "negatives", "seed", "missing")},
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def tables(
    candidates: Mapping[str, Mark], findings: Sequence[Sequence[Mark]], stores: Mapping[str, Path]
) -> dict[str, bytes]:
    """Return the tables of all folds."""
    rows = [
        [mark.scan, *mark.position, mark.value, excluded]
        for excluded, marks in enumerate(findings)
        for mark in marks
        if mark.scan in stores
    ]
    listed = [[name, mark.scan, *mark.position, int(mark.value)] for name, mark in candidates.items()]
    return {
        "scans.csv": images_csv([(scan, "", store) for scan, store in sorted(stores.items())]),
        "candidates.csv": table(["case", "seriesuid", "x", "y", "z", "class"], listed),
        "nodules.csv": table(["seriesuid", "x", "y", "z", "diameter_mm", "excluded"], rows),
    }


def fold_tables(out: Path, fold: int, candidates: Mapping[str, Mark], split: Split) -> dict[str, bytes]:
    """Return the tables and the split of a fold."""
    classes = [[name, "nodule" if mark.value else "other"] for name, mark in candidates.items()]
    return {
        f"fold{fold}/images.csv": images_csv([(name, "", (out / crop_path(name)).absolute()) for name in candidates]),
        f"fold{fold}/classes.csv": table(["case", "class"], classes),
        f"fold{fold}/splits.json": split_json(split),
    }


def main(config: PrepareConfig) -> dict[str, Any]:
    """Write the folder and return the number of scans, and of candidates in each part of each fold.

    Raises
    ------
    ValueError, OSError
        If the source is incomplete or inconsistent, or the folder cannot be written.
    """
    complete = config.missing == "refuse"
    subsets = find_scans(config.source, complete=complete)
    path, *others = (find_table(config.source, name) for name in (config.candidates, *FINDINGS))
    listed = {f"{mark.scan}_{row:06d}": mark for row, mark in enumerate(read_marks(path, "class"))}
    findings = [read_marks(other, "diameter_mm") for other in others]
    known = {scan for scans in subsets.values() for scan in scans}
    missing = {mark.scan for mark in (*listed.values(), *findings[0])} - known
    if complete:
        refuse_missing(missing, "the scans of the tables", "unpack all archives, or give --missing leave")
    with own_folder(config.out):
        write_all(config.out, {"prepared.json": about(config, path, subsets)})
        stores = import_scans(config.source, config.out.absolute() / "scans", subsets, complete=complete)
        subsets = {name: [scan for scan in scans if scan in stores] for name, scans in subsets.items()}
        splits = {fold: make_fold(subsets, fold) for fold in config.folds}
        candidates = {name: mark for name, mark in listed.items() if mark.scan in stores}
        chosen = {fold: choose(config, candidates, split) for fold, split in splits.items()}
        needed = {name: candidates[name] for name in sorted(set().union(*chosen.values()))}
        write_crops(config.out, needed, stores, config.edge, config.spacing)
        content = tables(candidates, findings, stores)
        for fold, names in chosen.items():
            content |= fold_tables(config.out, fold, {name: candidates[name] for name in names}, splits[fold])
        write_all(config.out, content)
    parts = {fold: Counter(splits[fold].part_of(name) for name in names) for fold, names in chosen.items()}
    return {
        "out": str(config.out),
        "scans": len(stores),
        "missing": len((missing | known) - set(stores)),
        "folds": parts,
    }


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.luna16.prepare"
    return end("prepare", lambda: asked(lambda: main(read_arguments(PrepareConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
