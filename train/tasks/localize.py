"""Localisation task: the faces of a box around each organ, predicted from the whole volume.

Organs that are not contoured in a case are ignored, in the loss and in the score.
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
from ..data.boxes import Boxes, centroid_mm, in_crop, to_file
from ..data.volumes import read_grey, shape_at
from ..networks.heads import Locator
from ..networks.network import Network
from ..output.files import write_json
from ..output.mosaic import Column, to_grey
from ..output.outline import outline
from .task import PICTURES, Batch, Scores, Task, TaskInput, mean_of, run_network

_BETA = 0.05
"""Beta of the smooth L1 loss, as a fraction of half a crop (project choice)."""


class Localization(Task):
    """Boxes of organs.

    Parameters
    ----------
    classes : sequence of str
        Names of organs.
    view : TaskInput
    shift : int
        Largest shift of a training sample along each axis, in voxels.
    seed : int
        Seed of the shifts.
    boxes : mapping of str to (K, 2, 3) float64
        Canonical boxes by case.
    guess : (K, 2, 3) nested lists of float, optional
        The mean boxes of the training cases in voxels of a crop: the baseline, and the initial output of the head. The
        argument has its name in stored weights.
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
        boxes: Mapping[str, Boxes] | None = None,
        guess: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(classes, view)
        self._shift, self._seed = shift, seed
        self._boxes, self._training = dict(boxes or {}), list[Boxes]()
        unknown = np.full((len(self.classes), 2, 3), np.nan)
        self._baseline = unknown if guess is None else np.array(guess, np.float64)

    @property
    def about(self) -> dict[str, Any]:
        """Arguments that rebuild the task."""
        # JSON has no NaN: null stands for an organ that no training case has.
        boxes = [[[None if np.isnan(at) else at for at in end] for end in box] for box in self._baseline.tolist()]
        return {"classes": self.classes, "guess": boxes}

    @property
    def _half(self) -> npt.NDArray[np.float64]:
        return np.array(self.view.crop) / 2

    @property
    def targets(self) -> Sequence[npt.NDArray[Any]]:
        """The boxes of the training cases, in voxels of the crop."""
        return self._training

    def build(self, network: Network) -> nn.Module:
        """Return the encoder with a head whose initial output is the mean box."""
        module = Locator(network, self.view.crop, 2 * self.view.dims * len(self.classes), self.view.shrink)
        with torch.no_grad():
            scaled = np.nan_to_num((self._baseline - self._half) / self._half)[:, :, self.view.axes]
            module.head.bias.copy_(torch.from_numpy(scaled.reshape(-1)))
        return module

    def load_targets(self, training: dali_cr.Index) -> None:
        """Store the boxes of the training cases, in voxels of the crop, and their mean."""
        self._training = [self._boxes[case.name] * self._scale(case) for case in training.cases]
        placed = self._place(training)
        known = ~np.isnan(placed)
        self._baseline = np.where(known, placed, 0).sum(0) / np.maximum(known.sum(0), 1)
        self._baseline[~known.any(0)] = np.nan

    def whole_targets(self, index: dali_cr.Index) -> npt.NDArray[np.float64]:
        """Return the box faces of whole cases (N, 2 × dims × K), scaled as in `target`; NaN if not contoured."""
        scaled = (self._place(index) - self._half) / self._half
        return np.asarray(scaled[..., self.view.axes].reshape(len(scaled), -1))

    def target(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return the boxes in the crop, scaled such that -1 and 1 are its ends; NaN if not contoured."""
        shift = draw_shifts(self._seed, plan.number, self.view.reach(self._shift))[0]
        boxes = in_crop(self._training[plan.case], plan.views[0], self.view.crop) + shift
        scaled = ((boxes - self._half) / self._half).astype(np.float32)
        return {"boxes": scaled[:, :, self.view.axes], "shift": shift}

    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the mean smooth L1 loss over the box faces of contoured organs."""
        image = shift_images(batch["image"], batch["shift"].numpy())
        output = run_network(module, image, self.view.dims)
        target = batch["boxes"].flatten(1)
        known = torch.isfinite(target)
        # Masked, not indexed, so that the loss of a batch without any contoured organ is 0.
        error = F.smooth_l1_loss(output, torch.where(known, target, 0.0), reduction="none", beta=_BETA)
        return (error * known).sum() / known.sum().clamp(min=1)

    def locate(self, module: nn.Module, index: dali_cr.Index) -> Iterator[tuple[Case, Boxes]]:
        """Yield each case with its predicted canonical boxes in voxels, lower faces first."""
        module.eval()
        for case, first, output in self.whole_volumes(module, index):
            scaled = np.empty((len(self.classes), 2, 3))
            # Images are one voxel thick, and boxes contain all of it.
            scaled[...] = [[-1.0], [1.0]]
            scaled[:, :, self.view.axes] = output.double().numpy().reshape(-1, 2, self.view.dims)
            boxes = scaled * self._half + self._half - np.array(first)
            yield case, np.sort(boxes / self._scale(case), axis=1)
        module.train()

    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score every contoured organ in mm: mean error of its box faces (six; four for images) and of its centroid."""
        rows: list[dict[str, Any]] = []
        pictures: list[Column] = []
        for case, boxes in self.locate(module, index):
            if len(pictures) < PICTURES:
                pictures.append(draw_boxes(read_grey(index.root, case), boxes, self._boxes[case.name]))
            target, spacing = self._boxes[case.name], np.array(case.volumes[0].spacing)
            baseline = (self._baseline - self._first(case)) / self._scale(case)
            for name, box, true, mean in zip(self.classes, boxes, target, baseline, strict=True):
                if np.isfinite(true).all():
                    off = ((box - true) * spacing)[:, self.view.axes]
                    row = {"face_mm": float(np.abs(off).mean()), "centroid_mm": float(np.linalg.norm(off.mean(0)))}
                    row["baseline_face_mm"] = float(np.abs((mean - true) * spacing)[:, self.view.axes].mean())
                    rows.append({"case": case.name, "class": name, **row})
        summary: dict[str, float | None] = {}
        for column in ("face_mm", "centroid_mm", "baseline_face_mm"):
            summary[column] = mean_of([_mean_of_case(rows, case.name, column) for case in index.cases])
        for name in self.classes:
            summary[f"face_mm {name}"] = mean_of([row["face_mm"] for row in rows if row["class"] == name])
        return Scores(rows, summary, pictures)

    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write boxes.json: for each case and organ, the half-open box along the file's axes and its centre in mm."""
        found: dict[str, Any] = {}
        for case, boxes in self.locate(module, index):
            geometry = case.volumes[0].geometry
            stored = to_file(boxes, geometry)
            centres = centroid_mm(boxes[:, :, ::-1], geometry.affine)
            found[case.name] = {
                name: {"lo": box[0].tolist(), "hi": box[1].tolist(), "centroid_mm": centre.tolist()}
                for name, box, centre in zip(self.classes, stored, centres, strict=True)
            }
            yield case.name
        write_json(out / "boxes.json", found)

    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return an empty dict: boxes.json holds all cases."""
        if probabilities:
            raise ValueError("--probabilities: expected a run of segment or classify, got localize, which has none")
        return {}

    def _place(self, index: dali_cr.Index) -> Boxes:
        """Return the boxes (N, K, 2, 3) of cases in voxels of the crop that contains the whole case."""
        return np.stack([self._boxes[case.name] * self._scale(case) + self._first(case) for case in index.cases])

    def _first(self, case: Case) -> npt.NDArray[np.int64]:
        """Return the position of a volume's first voxel in the crop that contains it."""
        return np.asarray((np.array(self.view.crop) - np.array(shape_at(case, self.view.spacing))) // 2)

    def _scale(self, case: Case) -> npt.NDArray[np.float64]:
        """Return the size of a volume's voxel in voxels of the crop, along D, H and W."""
        return np.asarray(np.array(shape_at(case, self.view.spacing)) / np.array(case.shape))


def draw_boxes(image: npt.NDArray[np.float32], predicted: Boxes, target: Boxes) -> Column:
    """Return the slice across D in the middle of the contoured organs, with both kinds of boxes drawn over it.

    Parameters
    ----------
    image : (D, H, W) float32
        From 0 to 1.
    predicted, target : (K, 2, 3) float64
        Half-open boxes in voxels, drawn for contoured organs; NaN if not contoured.
    """
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(target).all((1, 2)))
    centre = float(target[known, :, 0].mean()) if known.any() else len(image) / 2
    at = min(max(int(centre), 0), len(image) - 1)
    grey, shown = to_grey(image[at], 0, 1), np.where(known[:, None, None], predicted, np.nan)
    return {"image": grey, "predicted": outline(grey, list(shown), at), "target": outline(grey, list(target), at)}


def _mean_of_case(rows: Sequence[Mapping[str, Any]], case: str, column: str) -> float:
    values = [row[column] for row in rows if row["case"] == case]
    return float(np.mean(values)) if values else float("nan")
