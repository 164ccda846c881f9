"""A pre-training run, as its folder tells it."""

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
"""Files beside images (nnU-Net, Decathlon, BIDS): the key of the data set's name, and those of its licence."""


@dataclass(frozen=True)
class Run:
    """The weights of a run, and what is known of it."""

    folder: Path
    tensors: dict[str, torch.Tensor]
    about: dict[str, Any]
    """What the weights' file says of them."""
    config: dict[str, Any]
    """The run's config.json."""
    report: dict[str, Any]
    """The run's report.json; empty of an unfinished run."""

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read the folder of a pre-training run.

        Raises
        ------
        ValueError
            If it is none.
        """
        weights, config = folder / "model.safetensors", folder / "config.json"
        for path in (weights, config):
            if not path.is_file():
                raise ValueError(f"run: expected the folder of a pre-training run, {path} is missing")
        tensors, about = read_weights(weights)
        if "task" in about:
            raise ValueError(f"run: expected a pre-training run, {folder} is one of finetune {about['task']['name']}")
        if "recipe" not in about:
            raise ValueError(f"run: expected a run that keeps its recipe, {weights} is of an earlier version")
        report = folder / "report.json"
        known = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
        return cls(folder, tensors, about, json.loads(config.read_text(encoding="utf-8")), known)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the run was asked for."""
        settings: Mapping[str, Any] = self.config["config"]
        return settings

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What its samples were made of."""
        recipe: Mapping[str, Any] = self.about["recipe"]
        return recipe

    @property
    def method(self) -> str:
        """How it pre-trained: a pretext of `dali_cr.Restoration`, or pcrlv2."""
        recipe = str(self.settings["recipe"])
        return str(self.recipe["pretext"]) if recipe == "restoration" else recipe

    @property
    def crop(self) -> Triple:
        """(D, H, W) of a crop."""
        depth, height, width = self.about["crop"]
        return depth, height, width

    @property
    def spacing(self) -> list[float] | None:
        """Spacing of crops in mm along D, H, W; None if each file kept its own, or data sets differ."""
        spacing = self.recipe.get("spacing")
        return [float(mm) for mm in spacing] if isinstance(spacing, list) else None

    @property
    def normalize(self) -> str:
        """Normalisation in words of the command line, by data set where they differ."""
        return _by_dataset(self.recipe.get("normalize"), "none")

    @property
    def spacing_text(self) -> str:
        """Spacing in words, by data set where they differ."""
        spacing = self.recipe.get("spacing")
        if not isinstance(spacing, dict):
            return _by_dataset(spacing, f"of each file, median {by(self.median_spacing)}") + " mm"
        own = {name: f"of each file, median {by(self._median_of(name))}" for name in spacing}
        return ", ".join(f"{name} {by(one) if one else own[name]}" for name, one in spacing.items()) + " mm"

    @cached_property
    def index(self) -> dali_cr.Index | None:
        """The images; None where index.json was not kept."""
        path = self.folder / "index.json"
        return dali_cr.Index.load(path) if path.is_file() else None

    @property
    def median_spacing(self) -> list[float]:
        """Of the files, in mm along D, H, W; that of the crops where the files are not known."""
        return self._median_of(None)

    def _median_of(self, dataset: str | None) -> list[float]:
        """Return the median of the files of one data set, or of all."""
        cases = self.index.cases if self.index else ()
        spacings = [case.volumes[0].spacing for case in cases if dataset in (None, case.dataset)]
        return np.median(spacings, 0).tolist() if spacings else self.spacing or [1.0, 1.0, 1.0]

    @property
    def data_name(self) -> str:
        """Name of the data: of the corpus's data sets, else from a file beside the images, else of their folders."""
        names = [one["name"] for one in self.datasets if one["name"]] or [name for name, _ in self._described() if name]
        folders = [Path(path).name for path in self.settings.get("data", ())]
        return ", ".join(dict.fromkeys(names or folders)) or "unnamed"

    @property
    def data_licence(self) -> str:
        """Licences of the data, as the corpus or a file beside the images states them; empty if neither does."""
        stated = sum((Counter(one["licences"]) for one in self.datasets), Counter[str]())
        if set(stated) - {NOT_STATED}:
            return ", ".join(f"{licence} ({counted(stated[licence], 'case')})" for licence in sorted(stated))
        return ", ".join(dict.fromkeys(licence for _, licence in self._described() if licence))

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """Cases, modalities and licences of the data sets; empty if nothing is known of them."""
        datasets: list[dict[str, Any]] = self.about.get("datasets", [])
        return datasets

    def _described(self) -> Iterator[tuple[str, str]]:
        """Yield name and licence in each file that describes the data, in their folders or their parents."""
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
    """Return what a JSON file holds; nothing where it is not there or is no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
