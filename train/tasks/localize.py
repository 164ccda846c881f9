"""Localisation: the walls of a box around each organ, from the whole volume.

An organ that is not contoured in a case counts for nothing there, neither in the loss nor in the score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.plan.sample import SamplePlan

from ..data.batches import draw_shifts, shift_images
from ..data.boxes import Walls, centroid_mm, in_crop, to_file
from ..data.volumes import shape_at
from ..networks.heads import Locator
from ..networks.network import Network
from ..output.files import write_json
from .task import Batch, Scores, Task, TaskInput, ask, mean_of

_BETA = 0.05
"""Share of half a crop below which an error counts squared, above which as it is (project choice)."""


class Localization(Task):
    """Boxes of organs.

    Parameters
    ----------
    classes : sequence of str
        Organs.
    view : TaskInput
    shift : int
        Voxels by which a training sample is moved, at most, along each axis.
    seed : int
        Of these moves.
    walls : mapping of str to (K, 2, 3) float64
        From a case to its canonical boxes.
    guess : (K, 2, 3) nested lists of float, optional
        The mean box of the training cases, as it lies in a crop.
    """

    name = "localize"
    whole = True

    def __init__(
        self,
        classes: Sequence[str],
        view: TaskInput,
        *,
        shift: int = 0,
        seed: int = 0,
        walls: Mapping[str, Walls] | None = None,
        guess: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(classes, view)
        self._shift, self._seed = shift, seed
        self._walls, self._training = dict(walls or {}), list[Walls]()
        self._guess = np.array(guess, np.float64) if guess is not None else np.full((len(self.classes), 2, 3), np.nan)

    @property
    def about(self) -> dict[str, Any]:
        """What builds the task again."""
        # JSON has no NaN: None is an organ that no training case has.
        guess = [[[None if np.isnan(at) else at for at in end] for end in box] for box in self._guess.tolist()]
        return {"classes": self.classes, "guess": guess}

    @property
    def _half(self) -> npt.NDArray[np.float64]:
        return np.array(self.view.crop) / 2

    @property
    def learnt(self) -> Sequence[npt.NDArray[Any]]:
        """The boxes of the training cases."""
        return self._training

    def build(self, network: Network) -> nn.Module:
        """Return the encoder with a head that begins by saying the mean box."""
        seen = self.view.axes
        module = Locator(network, self.view.crop, 2 * self.view.dims * len(self.classes), self.view.shrink)
        with torch.no_grad():
            scaled = np.nan_to_num((self._guess - self._half) / self._half)[:, :, seen]
            module.head.bias.copy_(torch.from_numpy(scaled.reshape(-1)))
        return module

    def learn(self, training: dali_cr.Index) -> None:
        """Keep the boxes, in voxels of the crop, and their mean."""
        self._training = [self._walls[case.name] * self._scale(case) for case in training.cases]
        pairs = zip(training.cases, self._training, strict=True)
        placed = [walls + self._first(case) for case, walls in pairs]
        known = ~np.isnan(placed)
        self._guess = np.where(known, placed, 0).sum(0) / np.maximum(known.sum(0), 1)
        self._guess[~known.any(0)] = np.nan

    def truth(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return the walls in the crop: -1 and 1 are its ends, NaN is not contoured."""
        shift = draw_shifts(self._seed, plan.number, self.view.reach(self._shift))[0]
        walls = in_crop(self._training[plan.case], plan.views[0], self.view.crop) + shift
        scaled = ((walls - self._half) / self._half).astype(np.float32)
        return {"walls": scaled[:, :, self.view.axes], "shift": shift}

    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the mean smooth L1 error over the walls of contoured organs."""
        image = shift_images(batch["image"], batch["shift"].numpy())
        answer = ask(module, image, self.view.dims)
        truth = batch["walls"].flatten(1)
        known = torch.isfinite(truth)
        # Replaced, not indexed: a batch without any contoured organ has a loss of 0, not of nothing.
        error = F.smooth_l1_loss(answer, torch.where(known, truth, 0.0), reduction="none", beta=_BETA)
        return (error * known).sum() / known.sum().clamp(min=1)

    def locate(self, module: nn.Module, index: dali_cr.Index) -> Iterator[tuple[Case, Walls]]:
        """Yield each case and its canonical boxes in voxels, lower walls first."""
        module.eval()
        for case, first, answer in self.whole_volumes(module, index):
            scaled = np.empty((len(self.classes), 2, 3))
            # An image is one voxel thick: along D it is all in the box.
            scaled[...] = [[-1.0], [1.0]]
            scaled[:, :, self.view.axes] = answer.double().numpy().reshape(-1, 2, self.view.dims)
            walls = scaled * self._half + self._half - np.array(first)
            yield case, np.sort(walls / self._scale(case), axis=1)
        module.train()

    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score every contoured organ in mm: the mean error of its walls (six; of images four), and its centroid's."""
        rows: list[dict[str, Any]] = []
        for case, walls in self.locate(module, index):
            truth, spacing = self._walls[case.name], np.array(case.volumes[0].spacing)
            guess = (self._guess - self._first(case)) / self._scale(case)
            for name, box, true, mean in zip(self.classes, walls, truth, guess, strict=True):
                if np.isfinite(true).all():
                    off = ((box - true) * spacing)[:, self.view.axes]
                    row = {"wall_mm": float(np.abs(off).mean()), "centroid_mm": float(np.linalg.norm(off.mean(0)))}
                    row["guess_wall_mm"] = float(np.abs((mean - true) * spacing)[:, self.view.axes].mean())
                    rows.append({"case": case.name, "class": name, **row})
        summary: dict[str, float | None] = {}
        for column in ("wall_mm", "centroid_mm", "guess_wall_mm"):
            summary[column] = mean_of([_mean_of_case(rows, case.name, column) for case in index.cases])
        for name in self.classes:
            summary[f"wall_mm {name}"] = mean_of([row["wall_mm"] for row in rows if row["class"] == name])
        return Scores(rows, summary)

    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write boxes.json: of each case and organ the half-open box along the file's axes, and its centre in mm."""
        found: dict[str, Any] = {}
        for case, walls in self.locate(module, index):
            geometry = case.volumes[0].geometry
            boxes = to_file(walls, geometry)
            centres = centroid_mm(walls[:, :, ::-1], geometry.affine)
            found[case.name] = {
                name: {"lo": box[0].tolist(), "hi": box[1].tolist(), "centroid_mm": centre.tolist()}
                for name, box, centre in zip(self.classes, boxes, centres, strict=True)
            }
            yield case.name
        write_json(out / "boxes.json", found)

    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return nothing: one file is of all cases."""
        if probabilities:
            raise ValueError("probabilities: expected a run of segment or classify, boxes have none")
        return {}

    def _first(self, case: Case) -> npt.NDArray[np.int64]:
        """Return where the first voxel of a volume lies in a crop that holds it."""
        return np.asarray((np.array(self.view.crop) - np.array(shape_at(case, self.view.spacing))) // 2)

    def _scale(self, case: Case) -> npt.NDArray[np.float64]:
        """Return how many voxels of the crop one of the volume's own is long, along D, H and W."""
        return np.asarray(np.array(shape_at(case, self.view.spacing)) / np.array(case.shape))


def _mean_of_case(rows: Sequence[Mapping[str, Any]], case: str, column: str) -> float:
    values = [row[column] for row in rows if row["case"] == case]
    return float(np.mean(values)) if values else float("nan")
