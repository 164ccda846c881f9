"""The `dataset.json` of nnU-Net and of the Medical Segmentation Decathlon: names of channels and labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "dataset.json"


@dataclass(frozen=True)
class Dataset:
    """What a `dataset.json` says.

    Attributes
    ----------
    path : Path
    channels : tuple of str
        Names in the order of their numbers; empty if it has none, or two are alike.
    labels : dict of str to tuple of int
        By name, without the background; several numbers are a region.
    regions_class_order : tuple of int
        What each region is written with; empty without regions.
    file_ending : str
        Such as ".nii.gz"; empty if it does not say.
    """

    path: Path
    channels: tuple[str, ...]
    labels: dict[str, tuple[int, ...]]
    regions_class_order: tuple[int, ...] = ()
    file_ending: str = ""


def find_dataset(folder: Path) -> Path | None:
    """Return the `dataset.json` of a folder, or of the one above a folder of images or labels; None without one."""
    above = [folder.parent] if folder.name.startswith(("images", "labels")) else []
    return next((place / NAME for place in (folder, *above) if (place / NAME).is_file()), None)


def read_dataset(path: Path) -> Dataset:
    """Read a `dataset.json`.

    Raises
    ------
    ValueError
        If it is none: it is no JSON object, or its channels or labels are not as nnU-Net or the Decathlon write them.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError("wanted a JSON object")
        channels = _channels(content.get("channel_names") or content.get("modality") or {})
        labels = _labels(content.get("labels", {}))
        order = tuple(map(int, content.get("regions_class_order", ())))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: wanted the {NAME} of nnU-Net or the Decathlon, got: {error}") from error
    return Dataset(path, channels, labels, order, str(content.get("file_ending", "")))


def _channels(named: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names by number, which must be 0, 1, 2 and so on."""
    numbers = sorted(named, key=int)
    if [int(number) for number in numbers] != list(range(len(numbers))):
        raise ValueError(f"channels numbered 0, 1, 2, ... wanted, got {', '.join(numbers)}")
    names = tuple(str(named[number]) for number in numbers)
    return names if len(set(names)) == len(names) else ()


def _labels(named: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return numbers by name: nnU-Net writes {"liver": 1}, its first version and the Decathlon {"1": "liver"}."""
    labels: dict[str, tuple[int, ...]] = {}
    for key, value in named.items():
        name, numbers = (value, key) if isinstance(value, str) and key.isdigit() else (key, value)
        if name in labels:
            raise ValueError(f"one number a label wanted, {name} has two")
        labels[name] = tuple(map(int, numbers)) if isinstance(numbers, list) else (int(numbers),)
    return {name: numbers for name, numbers in labels.items() if numbers != (0,)}
