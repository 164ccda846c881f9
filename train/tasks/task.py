"""What the three tasks have in common: outputs, truth, loss, score."""

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
from ..output.mosaic import Column
from ..run.device import autocast

Batch = dict[str, torch.Tensor]

_SIDES = re.compile(r"(?i)left|right|(^|[_\W])[lr]($|[_\W])")


@dataclass(frozen=True)
class Scores:
    """What a trained network reached."""

    rows: list[dict[str, Any]]
    """One for each case, or each class of a case."""
    summary: dict[str, float | None]
    """Means over cases; the first is the one to compare runs by."""
    pictures: Sequence[Column] = ()
    """Slices of the first cases, where there is something to draw."""


@dataclass(frozen=True, kw_only=True)
class TaskInput:
    """How a task's network looks at a case."""

    crop: Triple
    normalize: Normalize
    shrink: Triple = (1, 1, 1)
    """Voxels that are averaged to one."""
    batch_size: int = 1
    spacing: Spacing | None = None
    """Of the voxels that a crop is made of; each case's own without it."""
    dims: int = 3
    """2 where the network takes images: (B, C, H, W)."""
    slices: Literal["D", "H", "W"] = "D"
    """The axis that a network of images cuts volumes across; `crop` is then 1 and the edges within a slice."""

    @property
    def axes(self) -> slice:
        """The axes of (D, H, W) that the network sees."""
        return slice(3 - self.dims, 3)

    @property
    def order(self) -> Triple:
        """A volume's axes in the order in which the network sees them."""
        return ORDERS[self.slices]

    def turn(self, case: Case) -> Case:
        """Return a case with its axes in this order."""
        return Slices(self.slices).turn(dali_cr.Index(Path(), (case,))).cases[0]

    def flips(self, axes: Sequence[str]) -> tuple[str, ...]:
        """Return what axes of a volume are called when it is turned."""
        return tuple(name for name, axis in zip(AXES, self.order, strict=True) if AXES[axis] in axes)

    def reach(self, shift: int) -> Triple:
        """Return by how much a sample may be moved along D, H and W: not where it is one voxel thick."""
        depth, height, width = (shift if edge > 1 else 0 for edge in self.crop)
        return depth, height, width


def ask(module: nn.Module, images: torch.Tensor, dims: int) -> torch.Tensor:
    """Return a network's answer to (B, C, D, H, W) in float32; one of images answers slice by slice.

    Returns
    -------
    torch.Tensor
        (B, K, D, H, W), or (B, K) where the network answers with numbers; then D is 1 for a network of images.
    """
    with autocast(images.device):
        if dims == 3:
            whole: torch.Tensor = module(images)
            return whole.float()
        depth = images.shape[2]
        answer: torch.Tensor = module(images.transpose(1, 2).flatten(0, 1))
    if answer.ndim == 4:
        answer = answer.reshape(-1, depth, *answer.shape[1:]).transpose(1, 2)
    return answer.float()


class Task(ABC):
    """A task that is learnt from labelled cases.

    Attributes
    ----------
    name : str
        Of the command.
    classes : list of str
        What it tells apart or finds.
    view : TaskInput
    """

    name: str
    whole = False
    """Whether a crop must hold all of a volume."""

    def __init__(self, classes: Sequence[str], view: TaskInput) -> None:
        self.classes, self.view = list(classes), view

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What builds the task again, JSON-able."""

    @property
    def outputs(self) -> int:
        """Channels that its network has at the end of its decoder."""
        return len(self.classes)

    @abstractmethod
    def build(self, network: Network) -> nn.Module:
        """Return the module to train: an encoder, or all of a network, and the new head."""

    @abstractmethod
    def learn(self, training: dali_cr.Index) -> None:
        """Keep what is true of the training cases."""

    @property
    @abstractmethod
    def learnt(self) -> Sequence[npt.NDArray[Any]]:
        """What `learn` kept, one array a case."""

    @property
    def fingerprint(self) -> str:
        """Hash of the classes and of what is true of the training cases."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for array in self.learnt:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @abstractmethod
    def truth(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return what is true of a sample of the training cases."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch."""

    @abstractmethod
    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score cases that the task has labels of."""

    @abstractmethod
    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write what the network says of each case, labelled or not; yield each case's name when it is written.

        Parameters
        ----------
        module : nn.Module
        index : Index
        out : Path
            Where the files lie.
        probabilities : bool
            Whether to write the probabilities of the classes too.
        """

    @abstractmethod
    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return the names of the files that `predict` writes for each case, by kind and case; none for a table of all.

        Raises
        ------
        ValueError
            If the task has no probabilities.
        """

    def centre_crops(self, training: dali_cr.Index) -> dali_cr.Index:
        """Return the cases with maps of where crops are to be centred."""
        return training

    def check_sides(self, flips: Sequence[str]) -> None:
        """Refuse to mirror what is told apart by its side.

        Raises
        ------
        ValueError
            Naming the class.
        """
        sides = [name for name in self.classes if _SIDES.search(name)]
        if "W" in flips and sides:
            raise ValueError(f"flips: expected none along W where a side is a class, got W with {sides[0]}")

    def whole_volumes(self, module: nn.Module, index: dali_cr.Index) -> Iterator[tuple[Case, Triple, torch.Tensor]]:
        """Yield each case, where its first voxel lies in the crop, and the module's answer to the whole of it."""
        device = next(module.parameters()).device
        for case in index.cases:
            volume = read_case(index.root, case, self.view.normalize, self.view.spacing)
            padded, first = pad_evenly(volume, self.view.crop, outside(case, self.view.normalize))
            with torch.no_grad():
                answer = ask(module, torch.from_numpy(padded)[None].to(device), self.view.dims)
            yield case, first, answer[0].cpu()


def refuse_larger(index: dali_cr.Index, view: TaskInput) -> None:
    """Refuse volumes that a crop does not hold, at its spacing.

    Raises
    ------
    ValueError
        With the crop that would.
    """
    crop, shapes = view.crop, [shape_at(case, view.spacing) for case in index.cases]
    largest = np.max(shapes, axis=0)
    for case, shape in zip(index.cases, shapes, strict=True):
        if any(length > edge for length, edge in zip(shape, crop, strict=True)):
            raise ValueError(
                f"crop: expected one that holds every volume, up to {' '.join(map(str, largest))}; got "
                f"{' '.join(map(str, crop))}, and {case.name} is {' '.join(map(str, shape))}. "
                "--shrink 2 2 2 averages the voxels of a large crop"
            )


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean of the numbers that are no NaN, None without any."""
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else None
