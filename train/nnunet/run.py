"""A pre-training run, read from its folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dali_cr
from dali_cr.index.corpus.about import NOT_STATED
from dali_cr.index.volumes import counted
from dali_cr.volume.geometry import Triple

from ..networks.weights import read_weights

_LICENCES = {"dataset.json": ("name", "licence", "license"), "dataset_description.json": ("Name", "License")}
"""Files about a data set (nnU-Net, Decathlon, BIDS): the key of its name, and the keys of its licence."""


@dataclass(frozen=True)
class Run:
    """Weights, metadata, settings and report of a run."""

    folder: Path
    tensors: dict[str, torch.Tensor]
    about: dict[str, Any]
    """Metadata of the file of weights."""
    config: dict[str, Any]
    """The run's config.json."""
    report: dict[str, Any]
    """The run's report.json; empty for an unfinished run."""

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read the folder of a pre-training run.

        Raises
        ------
        ValueError
            If it is not the folder of a pre-training run.
        """
        weights, config = folder / "model.safetensors", folder / "config.json"
        for path in (weights, config):
            if not path.is_file():
                raise ValueError(f"run: expected the folder of a pre-training run, {path} is missing")
        tensors, about = read_weights(weights)
        if "task" in about:
            raise ValueError(f"run: expected a pre-training run, {folder} is one of finetune {about['task']['name']}")
        if "recipe" not in about:
            raise ValueError(f"run: expected weights with their recipe, {weights} is from an earlier version")
        report = folder / "report.json"
        known = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
        return cls(folder, tensors, about, json.loads(config.read_text(encoding="utf-8")), known)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the run."""
        settings: Mapping[str, Any] = self.config["config"]
        return settings

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Recipe of its samples."""
        recipe: Mapping[str, Any] = self.about["recipe"]
        return recipe

    @property
    def method(self) -> str:
        """Method: a pretext, or pcrlv2."""
        recipe = str(self.settings["recipe"])
        return str(self.about.get("pretext", self.recipe.get("pretext"))) if recipe == "restoration" else recipe

    @property
    def crop(self) -> Triple:
        """Crop (D, H, W) in voxels."""
        depth, height, width = self.about["crop"]
        return depth, height, width

    @property
    def spacing(self) -> list[float] | None:
        """Spacing of crops in mm along D, H, W; None if each file kept its own or data sets differ."""
        spacing = self.recipe.get("spacing")
        return [float(mm) for mm in spacing] if isinstance(spacing, list) else None

    @property
    def normalize(self) -> str:
        """Normalisation as on the command line, by data set if they differ."""
        return _by_dataset(self.recipe.get("normalize"), "none")

    @property
    def spacing_text(self) -> str:
        """Spacing as text, by data set if they differ."""
        spacing = self.recipe.get("spacing")
        if not isinstance(spacing, dict):
            return _by_dataset(spacing, f"of each file, median {by(self.median_spacing)}") + " mm"
        own = {name: f"of each file, median {by(self._median_of(name))}" for name in spacing}
        return ", ".join(f"{name} {by(one) if one else own[name]}" for name, one in spacing.items()) + " mm"

    @cached_property
    def index(self) -> dali_cr.Index | None:
        """Index of the images; None without index.json."""
        path = self.folder / "index.json"
        return dali_cr.Index.load(path) if path.is_file() else None

    @property
    def median_spacing(self) -> list[float]:
        """Median spacing of the files in mm along D, H, W; without an index that of the crops."""
        return self._median_of(None)

    def _median_of(self, dataset: str | None) -> list[float]:
        """Return the median spacing of the files of one data set, or of all."""
        cases = self.index.cases if self.index else ()
        spacings = [case.volumes[0].spacing for case in cases if dataset in (None, case.dataset)]
        return np.median(spacings, 0).tolist() if spacings else self.spacing or [1.0, 1.0, 1.0]

    @property
    def data_name(self) -> str:
        """Name of the data: from the corpus, else from a file about the data set, else from its folders."""
        names = [one["name"] for one in self.datasets if one["name"]] or [name for name, _ in self._described() if name]
        folders = [Path(path).name for path in self.settings.get("data", ())]
        return ", ".join(dict.fromkeys(names or folders)) or "unnamed"

    @property
    def data_licence(self) -> str:
        """Licences of the data, from the corpus or a file about the data set; empty if neither has them."""
        stated = sum((Counter(one["licences"]) for one in self.datasets), Counter[str]())
        if set(stated) - {NOT_STATED}:
            return ", ".join(f"{licence} ({counted(stated[licence], 'case')})" for licence in sorted(stated))
        return ", ".join(dict.fromkeys(licence for _, licence in self._described() if licence))

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """Cases, modalities and licences of the data sets; empty if unknown."""
        datasets: list[dict[str, Any]] = self.about.get("datasets", [])
        return datasets

    def _described(self) -> Iterator[tuple[str, str]]:
        """Yield name and licence from each file about a data set, in the data's folders or their parents."""
        for place in map(Path, self.settings.get("data", ())):
            for folder in (place, place.parent):
                for file, (name, *licences) in _LICENCES.items():
                    content = _read_object(folder / file)
                    named = [str(content[key]) for key in licences if content.get(key)]
                    yield str(content.get(name) or ""), (named or [""])[0]


def by(numbers: Iterable[float]) -> str:
    """Return edges or spacings as text.

    Examples
    --------
    >>> by([1.0, 0.5, 0.5])
    '1 × 0.5 × 0.5'
    """
    return " × ".join(f"{number:g}" for number in numbers)


def _by_dataset(value: Any, default: str) -> str:
    """Return a field of a recipe as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_by_dataset(one, default)}" for name, one in value.items())
    if isinstance(value, list):
        return by(value) if all(isinstance(one, float | int) for one in value) else " ".join(map(str, value))
    return str(value or default)


def _read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if the file is missing or holds no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
