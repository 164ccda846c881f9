"""Interface of fine-tuning tasks: targets, loss, scores and predictions."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.plan.sample import SamplePlan
from dali_cr.recipe.checks import AXES, Normalize
from dali_cr.recipe.slices import ORDERS, Slices
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import Spacing

from ..data.volumes import outside, pad_evenly, read_case, shape_at
from ..networks.network import Network
from ..output.figure import Origin
from ..output.mosaic import Column, Picture, join
from ..run.device import autocast

Batch = dict[str, torch.Tensor]

PICTURES = 4
"""Cases of which a slice is drawn when they are scored."""

_SIDES = re.compile(r"(?i)left|right|(^|[_\W])[lr]($|[_\W])")


@dataclass(frozen=True)
class Scores:
    """Scores of a trained network."""

    rows: list[dict[str, Any]]
    """One row for each case, or for each class of a case."""
    summary: dict[str, float | None]
    """Means over cases; the first entry is the main score."""
    pictures: Sequence[Column] = ()
    """Slices of the first cases."""
    captions: Sequence[Sequence[str]] = ()
    """Lines about each picture: the target and the prediction, for classification."""

    def draw(self, origin: Origin) -> Picture:
        """Return the pictures, of which there must be one, as one (height, width, 3)."""
        return join(self.pictures, origin, self.captions)


@dataclass(frozen=True, kw_only=True)
class TaskInput:
    """Input settings of a task's network: crop, normalisation, spacing and dimensions."""

    crop: Triple
    normalize: Normalize
    shrink: Triple = (1, 1, 1)
    """Blocks of voxels that are averaged to one."""
    batch_size: int = 1
    spacing: Spacing | None = None
    """Spacing to resample cases to; by default each case keeps its own."""
    dims: int = 3
    """2 for networks with input (B, C, H, W), 3 for (B, C, D, H, W)."""
    slices: Literal["D", "H", "W"] = "D"
    """Axis across which a 2-D network slices volumes; `crop` is then 1 and the edges within a slice."""

    @property
    def axes(self) -> slice:
        """The spatial axes of (D, H, W) that the network has."""
        return slice(3 - self.dims, 3)

    @property
    def order(self) -> Triple:
        """The order of a volume's axes in the network's input."""
        return ORDERS[self.slices]

    def turn(self, case: Case) -> Case:
        """Return a case with its axes in the order of the network's input."""
        return Slices(self.slices).turn(dali_cr.Index(Path(), (case,))).cases[0]

    def flips(self, axes: Sequence[str]) -> tuple[str, ...]:
        """Return the names of a volume's axes after `turn`."""
        return tuple(name for name, axis in zip(AXES, self.order, strict=True) if AXES[axis] in axes)

    def reach(self, shift: int) -> Triple:
        """Return the largest shift along D, H and W: 0 along axes of one voxel."""
        depth, height, width = (shift if edge > 1 else 0 for edge in self.crop)
        return depth, height, width


def run_network(module: nn.Module, images: torch.Tensor, dims: int) -> torch.Tensor:
    """Return a network's output on (B, C, D, H, W) in float32; 2-D networks process it slice by slice.

    Returns
    -------
    torch.Tensor
        (B, K, D, H, W), or (B, K) if the network has no spatial output; D must then be 1 for a 2-D network.
    """
    with autocast(images.device):
        if dims == 3:
            whole: torch.Tensor = module(images)
            return whole.float()
        depth = images.shape[2]
        output: torch.Tensor = module(images.transpose(1, 2).flatten(0, 1))
    if output.ndim == 4:
        output = output.reshape(-1, depth, *output.shape[1:]).transpose(1, 2)
    return output.float()


class Task(ABC):
    """A fine-tuning task with labelled cases.

    Attributes
    ----------
    name : str
        Name of the subcommand.
    classes : list of str
        Names of its classes or organs.
    view : TaskInput
    """

    name: str
    whole = False
    """Whether a crop must contain a whole volume."""

    def __init__(self, classes: Sequence[str], view: TaskInput) -> None:
        self.classes, self.view = list(classes), view

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Arguments that rebuild the task, JSON-compatible."""

    @property
    def outputs(self) -> int:
        """Output channels of the network's decoder."""
        return len(self.classes)

    @abstractmethod
    def build(self, network: Network) -> nn.Module:
        """Return the module to train: an encoder or a whole network, with the new head."""

    @abstractmethod
    def load_targets(self, training: dali_cr.Index) -> None:
        """Load the targets of the training cases."""

    @property
    @abstractmethod
    def targets(self) -> Sequence[npt.NDArray[Any]]:
        """The targets of the training cases from `load_targets`, one array per case."""

    @property
    def fingerprint(self) -> str:
        """Hash of the classes and of the targets of the training cases."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for array in self.targets:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @abstractmethod
    def target(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return the target arrays of a training sample."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch."""

    @abstractmethod
    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score labelled cases."""

    @abstractmethod
    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write the predictions for each case and yield its name once its files are written.

        Parameters
        ----------
        module : nn.Module
        index : Index
        out : Path
            Output folder.
        probabilities : bool
            Whether to write class probabilities too.
        """

    @abstractmethod
    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return the names of the files that `predict` writes per case, by kind and case; empty for a single table.

        Raises
        ------
        ValueError
            If the task has no probabilities.
        """

    def centre_crops(self, training: dali_cr.Index) -> dali_cr.Index:
        """Return the cases with maps from which crop centres are drawn."""
        return training

    def check_sides(self, flips: Sequence[str]) -> None:
        """Check that classes that name a side are not mirrored.

        Raises
        ------
        ValueError
            If flips include W and a class is named left or right.
        """
        sides = [name for name in self.classes if _SIDES.search(name)]
        if "W" in flips and sides:
            raise ValueError(f"flips: expected no W with classes that name a side, got W with class {sides[0]}")

    def whole_volumes(self, module: nn.Module, index: dali_cr.Index) -> Iterator[tuple[Case, Triple, torch.Tensor]]:
        """Yield each case, the position of its first voxel in the crop, and the module's output on the whole volume."""
        device = next(module.parameters()).device
        for case in index.cases:
            volume = read_case(index.root, case, self.view.normalize, self.view.spacing)
            padded, first = pad_evenly(volume, self.view.crop, outside(case, self.view.normalize))
            with torch.no_grad():
                output = run_network(module, torch.from_numpy(padded)[None].to(device), self.view.dims)
            yield case, first, output[0].cpu()


def check_crop_holds(index: dali_cr.Index, view: TaskInput) -> None:
    """Check that the crop contains every volume, at its spacing.

    Raises
    ------
    ValueError
        With the crop that is needed.
    """
    crop, shapes = view.crop, [shape_at(case, view.spacing) for case in index.cases]
    largest = np.max(shapes, axis=0)
    for case, shape in zip(index.cases, shapes, strict=True):
        if any(length > edge for length, edge in zip(shape, crop, strict=True)):
            raise ValueError(
                f"crop: expected a crop that contains every volume, {' '.join(map(str, largest))} or more; got "
                f"{' '.join(map(str, crop))}, and {case.name} is {' '.join(map(str, shape))}. Give a larger --crop; "
                "--shrink 2 2 2 averages its voxels"
            )


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean of the values that are not NaN; None if there are none."""
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else None
