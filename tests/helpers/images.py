"""Create small labelled images for tests of training in 2-D."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from train import pretrain
from train.data.split.make import make_split
from train.tasks.config.segment import Segment
from train.tasks.config.whole import Classify, Localize

SHAPE = (28, 44)
CROP = (1, 32, 48)
IMAGES = ("**/*.png",)


def draw(number: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return noise with an ellipse, bright for even and brighter for odd numbers, and its mask."""
    random = np.random.default_rng(number)
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    centre, radii = random.uniform((10, 14), (18, 30)), random.uniform((4, 6), (8, 11))
    inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
    image = random.normal(60, 8, SHAPE) + inside * (60 if number % 2 == 0 else 120)
    return image.clip(0, 255).astype(np.uint8), inside.astype(np.uint8) * 255


def write_images(folder: Path, count: int = 8) -> Path:
    """Write images, masks, boxes, classes and a split."""
    names = [f"{number:03d}.png" for number in range(count)]
    boxes, classes = [["case", "x0", "y0", "x1", "y1"]], [["case", "kind"]]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate(names):
        image, mask = draw(number)
        Image.fromarray(image).save(folder / "images" / name)
        Image.fromarray(mask).save(folder / "masks" / name)
        rows, columns = np.nonzero(mask)
        boxes.append([name, *map(str, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))])
        classes.append([name, "odd" if number % 2 else "even"])
    for file, lines in (("boxes.csv", boxes), ("classes.csv", classes)):
        with open(folder / file, "w", newline="") as opened:
            csv.writer(opened).writerows(lines)
    (folder / "splits.json").write_text(json.dumps(make_split(names, (0.5, 0.25, 0.25), seed=0).content()))
    return folder


def _common(folder: Path) -> dict[str, Any]:
    sizes = {"dims": 2, "crop": CROP, "filters": 2, "steps": 2, "batch_size": 2, "threads": 2, "device": "cpu"}
    return {"data": (folder / "images",), "pattern": IMAGES, "split": folder / "splits.json", **sizes}


def pretraining(folder: Path, out: Path, **changes: Any) -> pretrain.RestorationConfig:
    """Return the settings of a short run on the part train."""
    own = {"patch": (2, 6), "iterations": 4, "foreground": 0.0, "evaluate_samples": 1}
    return pretrain.RestorationConfig(out=out, **(_common(folder) | own | changes))


def segment(folder: Path, out: Path, **changes: Any) -> Segment:
    """Return the settings of a short run."""
    return Segment(out=out, **(_common(folder) | {"labels": folder / "masks", "label_pattern": IMAGES} | changes))


def localize(folder: Path, out: Path, **changes: Any) -> Localize:
    """Return the settings of a short run."""
    return Localize(out=out, **(_common(folder) | {"labels": folder / "boxes.csv"} | changes))


def classify(folder: Path, out: Path, **changes: Any) -> Classify:
    """Return the settings of a short run."""
    return Classify(out=out, **(_common(folder) | {"labels": folder / "classes.csv"} | changes))
