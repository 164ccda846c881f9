"""Segmentation: Dice and cross-entropy over classes, or Dice and a sigmoid each over regions that may overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.plan.sample import SamplePlan

from ..data.batches import cut_labels
from ..data.label_values import MAX_VALUE
from ..data.labels import Labels, class_map, read_labels
from ..data.masks import write_mask, write_probabilities
from ..data.volumes import read_case, resample_labels, shape_at
from ..networks.network import Network
from ..output.mosaic import Column, to_grey
from ..output.names import mask_name, probabilities_name
from ..output.palette import tint
from ..run.device import upload
from .scoring import score_masks, slide
from .task import Batch, Scores, Task, TaskInput, ask, mean_of

Absent = Literal["empty", "unlabelled"]
Box = tuple[slice, ...]
_NEVER = -1e4
"""A logit of nothing."""

_PICTURES = 4
"""Cases of which a slice is drawn when they are scored."""


class Segmentation(Task):
    """Masks of classes or regions.

    Parameters
    ----------
    classes : sequence of str
    view : TaskInput
    members : sequence of sequence of int
        The label values that make up each class. Classes share none; regions may.
    values : sequence of int
        What a mask is written with, one a class.
    regions : bool
        Whether each output is a sigmoid of its own.
    absent : "empty" or "unlabelled"
        What it means that a class has no voxel in a case: that there is none, or that nobody has drawn it.
    files : mapping of str to Path
        From a case to its label volume.
    """

    name = "segment"

    def __init__(
        self,
        classes: Sequence[str],
        view: TaskInput,
        *,
        members: Sequence[Sequence[int]],
        values: Sequence[int],
        regions: bool = False,
        absent: Absent = "empty",
        files: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(classes, view)
        self.members, self.values = [list(member) for member in members], list(values)
        self.regions, self.absent, self._files = regions, absent, dict(files or {})
        self._table = np.zeros((len(self.members), MAX_VALUE + 1), bool)
        for row, member in zip(self._table, self.members, strict=True):
            row[member] = True
        self._labels: list[Labels] = []
        self._maps: list[npt.NDArray[np.uint32]] = []
        self._present: list[npt.NDArray[np.bool_]] = []

    @property
    def about(self) -> dict[str, Any]:
        """What builds the task again."""
        own = {"members": self.members, "values": self.values, "regions": self.regions, "absent": self.absent}
        return {"classes": self.classes, **own}

    @property
    def outputs(self) -> int:
        """One a region; or one a class, and the background before them."""
        return len(self.classes) if self.regions else len(self.classes) + 1

    @property
    def learnt(self) -> Sequence[npt.NDArray[Any]]:
        """The label volumes of the training cases, as they are seen."""
        return self._labels

    def build(self, network: Network) -> nn.Module:
        """Return the whole network: its last layer is the head."""
        return network.module

    def masks(self, labels: Labels) -> npt.NDArray[np.bool_]:
        """Return (K, D, H, W): which voxels are of each class."""
        return self._table[:, labels]

    def read(self, case: Case) -> Labels:
        """Read the labels of a case."""
        return read_labels(self._files[case.name], case)

    def learn(self, training: dali_cr.Index) -> None:
        """Keep the label volumes, a byte a voxel, and of each which classes it has, and where."""
        self._labels, self._present, self._maps = [], [], []
        for case in training.cases:
            labels = self.read(case).transpose(self.view.order)
            self._labels.append(resample_labels(labels, shape_at(self.view.turn(case), self.view.spacing)))
            self._present.append(np.asarray(self._table[:, np.unique(labels)].any(1)))
            self._maps.append(class_map(labels, self.masks))

    def centre_crops(self, training: dali_cr.Index) -> dali_cr.Index:
        """Return the cases as they are seen, with maps of their labels in place of those of their foreground."""
        cases = []
        for case, weights in zip(map(self.view.turn, training.cases), self._maps, strict=True):
            if weights.any():
                maps: dict[str, Any] = {"foreground": weights}
                volumes = tuple(replace(volume, **maps) for volume in case.volumes)
                case = replace(case, volumes=volumes)
            cases.append(case)
        return replace(training, cases=tuple(cases))

    def truth(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return the labels of the crop, and which classes the case has."""
        return {
            "labels": cut_labels(self._labels[plan.case], plan, self.view.crop),
            "present": self._present[plan.case],
        }

    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return Dice + cross-entropy, the background in the latter only."""
        from monai.losses.dice import DiceCELoss, DiceLoss

        image, labels = batch["image"], batch["labels"].long()
        table = upload(self._table, image.device)
        truth = table[:, labels].transpose(0, 1)
        answer = ask(module, image, self.view.dims)
        if self.regions:
            # DiceCELoss(sigmoid=True) would take a softmax over the regions for its cross-entropy.
            overlap: torch.Tensor = DiceLoss(sigmoid=True, batch=True)(answer, truth.float())
            return overlap + F.binary_cross_entropy_with_logits(answer, truth.float())
        if self.absent == "unlabelled":
            answer = hide_unlabelled(answer, batch["present"])
        # One-hot: cross-entropy against class numbers has no deterministic CUDA kernel.
        truth = torch.cat([~truth.any(1, keepdim=True), truth], 1).float()
        loss: torch.Tensor = DiceCELoss(softmax=True, include_background=False, batch=True)(answer, truth)
        return loss

    def decode(self, answer: torch.Tensor) -> Labels:
        """Return label values (D, H, W) from the network's answer (K, D, H, W)."""
        if not self.regions:
            values = np.array([0, *self.values], np.uint8)
            return np.asarray(values[answer.argmax(0).cpu().numpy()])
        labels = np.zeros(answer.shape[1:], np.uint8)
        for value, region in zip(self.values, (answer > 0).cpu().numpy(), strict=True):
            labels[region] = value
        return labels

    def segment(self, module: nn.Module, root: Path, case: Case) -> Labels:
        """Return the label values of a whole case, canonical (D, H, W)."""
        return self._segment(module, root, self.view.turn(case)).transpose(np.argsort(self.view.order))

    def _segment(self, module: nn.Module, root: Path, case: Case) -> Labels:
        """Return the label values of a case that is turned already."""
        answer, box, seen = self._ask(module, root, case)
        return self._decode_whole(answer, box, seen, case.shape)

    def _ask(self, module: nn.Module, root: Path, case: Case) -> tuple[torch.Tensor, Box, tuple[int, ...]]:
        """Return the network's answer on the content of a turned case, its box, and the shape of the volume seen."""
        volume = read_case(root, case, self.view.normalize, self.view.spacing)
        return *slide(module, volume, case, self.view), volume.shape[1:]

    def _decode_whole(self, answer: torch.Tensor, box: Box, seen: tuple[int, ...], own: tuple[int, ...]) -> Labels:
        """Return label values on a case's own grid; as `decode_on`."""
        if seen != own:
            return self.decode_on(answer, box, seen, own)
        labels = np.zeros(own, np.uint8)
        labels[box] = self.decode(answer)
        return labels

    def segment_with_shares(self, module: nn.Module, root: Path, case: Case) -> tuple[Labels, npt.NDArray[np.float32]]:
        """Return the label values of a whole case, canonical (D, H, W), and its probabilities (K, D, H, W).

        K are the background and the classes, or the regions alone.
        """
        turned = self.view.turn(case)
        answer, box, seen = self._ask(module, root, turned)
        back = np.argsort(self.view.order)
        labels = self._decode_whole(answer, box, seen, turned.shape).transpose(back)
        shares = np.stack([share.cpu().numpy() for share in self._spread(answer, box, seen, turned.shape)])
        return labels, shares.transpose(0, *(1 + back))

    def _spread(
        self, answer: torch.Tensor, box: Box, seen: tuple[int, ...], own: tuple[int, ...]
    ) -> Iterator[torch.Tensor]:
        """Yield the probability of each output on a case's own grid (D, H, W); parameters as of `decode_on`."""
        for place, share in enumerate(answer.sigmoid() if self.regions else answer.softmax(0)):
            background = place == 0 and not self.regions
            whole = torch.full(seen, float(background), device=answer.device)
            whole[box] = share
            if seen != own:
                whole = F.interpolate(whole[None, None], own, mode="trilinear", align_corners=False)[0, 0]
            yield whole

    def decode_on(self, answer: torch.Tensor, box: Box, seen: tuple[int, ...], own: tuple[int, ...]) -> Labels:
        """Return label values on a case's own grid, from the network's answer to the resampled volume.

        Probabilities are interpolated trilinearly, one class after the other: of all at once there may be too many.

        Parameters
        ----------
        answer : (K, d, h, w) float32
        box : (3,) slice
            Where in the resampled volume it lies; outside of it all is background.
        seen, own : (D, H, W) int
            Shapes of the resampled volume and of the case.
        """
        most = torch.full(own, 0.5 if self.regions else -1.0, device=answer.device)
        labels = torch.zeros(own, dtype=torch.uint8, device=answer.device)
        values = self.values if self.regions else [0, *self.values]
        for value, here in zip(values, self._spread(answer, box, seen, own), strict=True):
            labels[here > most] = value
            if not self.regions:
                most = torch.maximum(most, here)
        return labels.cpu().numpy()

    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score every class of every case: Dice, and HD95 in mm."""
        rows: list[dict[str, Any]] = []
        pictures: list[Column] = []
        module.eval()
        for case in index.cases:
            truth = self.masks(self.read(case))
            # What is scored is what would be written, where of overlapping regions the last is seen.
            predicted = self.masks(self.segment(module, index.root, case))
            scores = score_masks(predicted, truth, case.volumes[0].spacing)
            if len(pictures) < _PICTURES:
                pictures.append(draw_slice(read_case(index.root, case, "percentile")[0], predicted, truth))
            for name, true, score in zip(self.classes, truth, scores, strict=True):
                if true.any() or self.absent == "empty":
                    row = {"dice": score.dice, "hd95_mm": score.hd95, "missed": int(score.missed)}
                    rows.append({"case": case.name, "class": name, **row})
        module.train()
        summary: dict[str, float | None] = {column: _case_mean(rows, column) for column in ("dice", "hd95_mm")}
        summary["missed"] = sum(row["missed"] for row in rows)
        for name in self.classes:
            summary[f"dice {name}"] = mean_of([row["dice"] for row in rows if row["class"] == name])
        return Scores(rows, summary, pictures)

    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write a mask on the grid of each case's first file."""
        module.eval()
        for case in index.cases:
            if probabilities:
                labels, shares = self.segment_with_shares(module, index.root, case)
                write_probabilities(shares, index.root, case, out)
            else:
                labels = self.segment(module, index.root, case)
            # The mask last: where it is, all of the case is.
            write_mask(labels, index.root, case, out)
            yield case.name

    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return a mask a case, and a file of probabilities."""
        kinds = {"masks": mask_name} | ({"probabilities": probabilities_name} if probabilities else {})
        return {kind: {case.name: name(case) for case in index.cases} for kind, name in kinds.items()}


def draw_slice(
    image: npt.NDArray[np.float32], predicted: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_]
) -> Column:
    """Return the slice across D that has most of the target, with both masks over it.

    Parameters
    ----------
    image : (D, H, W) float32
        From 0 to 1.
    predicted, target : (K, D, H, W) bool
        Where regions overlap, the last is drawn.
    """
    sizes = target.sum((0, 2, 3))
    at = int(sizes.argmax()) if sizes.any() else len(image) // 2
    grey = to_grey(image[at], 0, 1)
    numbers = np.arange(1, len(target) + 1)[:, None, None]
    masks = {"predicted": predicted[:, at], "target": target[:, at]}
    return {"image": grey, **{name: tint(grey, (numbers * mask).max(0)) for name, mask in masks.items()}}


def hide_unlabelled(answer: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Count as background, in each case, the classes that nobody has drawn in it.

    What the network says of such a class is then neither right nor wrong: voxels called background in the labels may
    well be of it, and the loss sees only the probability of either.

    Parameters
    ----------
    answer : (B, 1 + K, D, H, W) float32
        Logits, the background first.
    present : (B, K) bool
    """
    hidden = torch.cat([torch.zeros_like(present[:, :1]), ~present], 1)[:, :, None, None, None]
    first = torch.zeros_like(hidden)
    first[:, 0] = True
    background = torch.where(hidden | first, answer, _NEVER).logsumexp(1, keepdim=True)
    return torch.cat([background, torch.where(hidden, _NEVER, answer)[:, 1:]], 1)


def _case_mean(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    """Return the mean over cases of the mean over a case's classes."""
    cases: dict[str, list[float]] = {}
    for row in rows:
        cases.setdefault(row["case"], []).append(row[column])
    return mean_of([float(np.mean(values)) for values in cases.values()])
