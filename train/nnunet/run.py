"""A pre-training run, as its folder tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dali_cr
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
        """Of a crop's voxels, in mm along D, H, W; None where each file kept its own."""
        spacing = self.recipe.get("spacing")
        return [float(mm) for mm in spacing] if spacing else None

    @property
    def normalize(self) -> str:
        """How intensities were scaled, in the words of the command line."""
        how = self.recipe.get("normalize")
        return " ".join(map(str, how)) if isinstance(how, list) else str(how or "none")

    @cached_property
    def index(self) -> dali_cr.Index | None:
        """The images; None where index.json was not kept."""
        path = self.folder / "index.json"
        return dali_cr.Index.load(path) if path.is_file() else None

    @property
    def median_spacing(self) -> list[float]:
        """Of the files, in mm along D, H, W; that of the crops where the files are not known."""
        spacings = [case.volumes[0].spacing for case in self.index.cases] if self.index else []
        return np.median(spacings, 0).tolist() if spacings else self.spacing or [1.0, 1.0, 1.0]

    @property
    def data_name(self) -> str:
        """Of the data: as a file beside them says, else of their folders."""
        names = [name for name, _ in self._described() if name]
        folders = [Path(path).name for path in self.settings.get("data", ())]
        return ", ".join(dict.fromkeys(names or folders)) or "unnamed"

    @property
    def data_licence(self) -> str:
        """Of the data, as a file beside them says; empty where none does."""
        return ", ".join(dict.fromkeys(licence for _, licence in self._described() if licence))

    def _described(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the licence in each file that describes the data, in their folders or right above."""
        for place in map(Path, self.settings.get("data", ())):
            for folder in (place, place.parent):
                for file, (name, *licences) in _LICENCES.items():
                    content = _read_object(folder / file)
                    named = [str(content[key]) for key in licences if content.get(key)]
                    yield str(content.get(name) or ""), (named or [""])[0]


def _read_object(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where it is not there or is no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
