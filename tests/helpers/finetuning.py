"""Create small labelled data and runs for tests of fine-tuning and prediction."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from dali_cr.tools.phantom_files import write_phantoms
from train import finetune, pretrain
from train.data.split.make import make_split
from train.tasks.config.segment import Segment
from train.tasks.config.whole import Classify, Localize

CROP = (16, 16, 16)
WHOLE = (24, 24, 24)
SHAPE = (20, 24, 22)


def write_data(folder: Path, count: int = 8) -> Path:
    """Write images, labels (trunk, left lung, right lung, others), boxes, classes and a split."""
    write_phantoms(folder, count=count, shape=SHAPE)
    names = sorted(path.name for path in (folder / "images").iterdir())
    for name in names:
        # Three labels suffice; fewer labels make the runs faster.
        image = nib.load(folder / "labels" / name)
        labels = image.get_fdata().round()
        kept = (labels == 1) * 1 + (labels == 2) * 2 + (labels == 3) * 3
        nib.save(nib.Nifti1Image(kept.astype("u1"), image.affine), folder / "labels" / name)
    with open(folder / "classes.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "kind", "even", "third"])
        for number, name in enumerate(names):
            table.writerow([name, "even" if number % 2 == 0 else "odd", int(number % 2 == 0), int(number % 3 == 0)])
    split = make_split(names, (0.5, 0.25, 0.25), seed=0)
    (folder / "splits.json").write_text(json.dumps(split.content()))
    (folder / "names.json").write_text(json.dumps({"1": "trunk", "2": "right lung", "3": "left lung"}))
    return folder


def run_pretraining(folder: Path, out: Path, **changes: Any) -> Path:
    """Pre-train for one step on the part train, with changed settings."""
    settings: dict[str, Any] = {"data": (folder / "images",), "split": folder / "splits.json", "crop": CROP}
    settings |= {"patch": (2, 4), "iterations": 4}
    settings |= {"filters": 2, "steps": 1, "batch_size": 1, "evaluate_samples": 1, "device": "cpu"}
    pretrain.main(pretrain.RestorationConfig(out=out, **(settings | changes)))
    return out


_COMMON: dict[str, Any] = {"filters": 2, "steps": 2, "batch_size": 2, "threads": 2, "device": "cpu"}


def segment(folder: Path, out: Path, **changes: Any) -> Segment:
    """Return the settings of a short run."""
    settings = {
        "data": (folder / "images",),
        "labels": folder / "labels",
        "split": folder / "splits.json",
        "crop": CROP,
    }
    return Segment(out=out, **(settings | _COMMON | {"crop": CROP, "names": folder / "names.json"} | changes))


def localize(folder: Path, out: Path, **changes: Any) -> Localize:
    """Return the settings of a short run."""
    settings = {
        "data": (folder / "images",),
        "labels": folder / "labels",
        "split": folder / "splits.json",
        "crop": WHOLE,
    }
    return Localize(out=out, **(settings | _COMMON | {"crop": WHOLE, "names": folder / "names.json"} | changes))


def classify(folder: Path, out: Path, **changes: Any) -> Classify:
    """Return the settings of a short run."""
    settings = {"data": (folder / "images",), "labels": folder / "classes.csv", "split": folder / "splits.json"}
    return Classify(out=out, **(settings | _COMMON | {"crop": WHOLE, "columns": ("kind",)} | changes))


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks; 1 if both are empty."""
    size = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / size if size else 1.0


def prepared(config: Any) -> finetune.FinetuneRun:
    """Return a run before its first step, with its threads ended."""
    run = finetune.prepare(config)
    run.batches.loader.close()
    return run
