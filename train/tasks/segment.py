"""Segmentation task: exclusive classes (softmax) or overlapping regions (sigmoid)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.plan.sample import AffineView, SamplePlan

from ..data.batches import cut_labels, sample_labels
from ..data.label_values import MAX_VALUE
from ..data.labels import Labels, class_map, read_labels
from ..data.masks import write_mask, write_probabilities
from ..data.volumes import read_case, read_grey, resample_labels, shape_at
from ..networks.network import Network
from ..output.mosaic import Column, to_grey
from ..output.names import mask_name, probabilities_name
from ..output.palette import tint
from ..run.device import upload
from .decoding import Box, MaskDecoder
from .loss import LossName, hide_unlabelled, segmentation_loss
from .scoring import score_masks, slide
from .task import PICTURES, Batch, Scores, Task, TaskInput, mean_of, run_network

Absent = Literal["empty", "unlabelled"]

MISSED = "present_but_not_predicted"
"""Name of the score that counts classes of cases which are in the target and in no voxel of the prediction."""


class Segmentation(Task):
    """Segmentation of classes or regions.

    Parameters
    ----------
    classes : sequence of str
    view : TaskInput
    members : sequence of sequence of int
        Label values of each class. Classes are disjoint; regions may overlap.
    values : sequence of int
        The value of each class in written masks.
    regions : bool
        Whether the outputs are independent sigmoids.
    absent : "empty" or "unlabelled"
        Meaning of a class without voxels in a case: the structure is absent, or it was not annotated.
    loss : "dice-ce", "dice-bce" or "tversky"
        Loss function, see `train.tasks.loss.segmentation_loss`.
    affine : bool
        Whether training crops may be rotated or scaled; the labels on the grids of their files are then kept too.
    files : mapping of str to Path
        Label volumes by case.
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
        loss: LossName = "dice-ce",
        affine: bool = False,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(classes, view)
        if loss == "dice-bce" and not regions:
            raise ValueError(f"--loss: expected dice-ce or tversky for exclusive classes, got {loss}; give --regions")
        self._loss = loss
        self.members, self.values = [list(member) for member in members], list(values)
        self.regions, self.absent, self._affine, self._files = regions, absent, affine, dict(files or {})
        self.decoder = MaskDecoder(tuple(self.values), regions)
        self._table = np.zeros((len(self.members), MAX_VALUE + 1), bool)
        for row, member in zip(self._table, self.members, strict=True):
            row[member] = True
        self._labels: list[Labels] = []
        self._own: list[Labels] = []
        self._maps: list[npt.NDArray[np.uint32]] = []
        self._present: list[npt.NDArray[np.bool_]] = []

    @property
    def about(self) -> dict[str, Any]:
        """Arguments that rebuild the task."""
        own = {"members": self.members, "values": self.values, "regions": self.regions, "absent": self.absent}
        return {"classes": self.classes, **own}

    @property
    def outputs(self) -> int:
        """Output channels: one per region, or the background followed by one per class."""
        return len(self.classes) if self.regions else len(self.classes) + 1

    @property
    def targets(self) -> Sequence[npt.NDArray[Any]]:
        """The label volumes of the training cases, turned and resampled as the input."""
        return self._labels

    def build(self, network: Network) -> nn.Module:
        """Return the whole network; its last layer is the head."""
        return network.module

    def masks(self, labels: Labels) -> npt.NDArray[np.bool_]:
        """Return the masks (K, D, H, W) of the classes."""
        return self._table[:, labels]

    def read(self, case: Case) -> Labels:
        """Read the labels of a case."""
        return read_labels(self._files[case.name], case)

    def load_targets(self, training: dali_cr.Index) -> None:
        """Load the label volumes of the training cases (uint8), which classes they contain, and their sampling maps."""
        self._labels, self._own, self._present, self._maps = [], [], [], []
        for case in training.cases:
            labels, turned = self.read(case).transpose(self.view.order), self.view.turn(case)
            self._labels.append(resample_labels(labels, shape_at(turned, self.view.spacing)))
            if self._affine:
                self._own.append(labels)
            self._present.append(np.asarray(self._table[:, np.unique(labels)].any(1)))
            self._maps.append(class_map(labels, self.masks))

    def centre_crops(self, training: dali_cr.Index) -> dali_cr.Index:
        """Return the turned cases, with sampling maps of their labels in place of foreground maps."""
        cases = []
        for case, weights in zip(map(self.view.turn, training.cases), self._maps, strict=True):
            if weights.any():
                maps: dict[str, Any] = {"foreground": weights}
                volumes = tuple(replace(volume, **maps) for volume in case.volumes)
                case = replace(case, volumes=volumes)
            cases.append(case)
        return replace(training, cases=tuple(cases))

    def target(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return the labels of the crop and which classes the case contains."""
        view, crop = plan.views[0], self.view.crop
        if isinstance(view, AffineView) and view.moved:
            labels = sample_labels(self._own[plan.case], view, crop)
        else:
            labels = cut_labels(self._labels[plan.case], plan, crop)
        return {"labels": labels, "present": self._present[plan.case]}

    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, see `train.tasks.loss.segmentation_loss`."""
        image, labels = batch["image"], batch["labels"].long()
        table = upload(self._table, image.device)
        target = table[:, labels].transpose(0, 1)
        logits = run_network(module, image, self.view.dims)
        if not self.regions:
            if self.absent == "unlabelled":
                logits = hide_unlabelled(logits, batch["present"])
            # One-hot, since cross-entropy with class indices has no deterministic CUDA kernel.
            target = torch.cat([~target.any(1, keepdim=True), target], 1)
        return segmentation_loss(self._loss, logits, target.float(), regions=self.regions)

    def segment(self, module: nn.Module, root: Path, case: Case) -> Labels:
        """Return the predicted label values of a whole case, canonical (D, H, W)."""
        return self._segment(module, root, self.view.turn(case)).transpose(np.argsort(self.view.order))

    def _segment(self, module: nn.Module, root: Path, case: Case) -> Labels:
        """Return the predicted label values of a turned case."""
        output, box, seen = self._infer(module, root, case)
        return self.decoder.decode_whole(output, box, seen, case.shape)

    def _infer(self, module: nn.Module, root: Path, case: Case) -> tuple[torch.Tensor, Box, tuple[int, ...]]:
        """Return the network's output on the content of a turned case, the content's box, and the input's shape."""
        volume = read_case(root, case, self.view.normalize, self.view.spacing)
        return *slide(module, volume, case, self.view), volume.shape[1:]

    def segment_with_shares(self, module: nn.Module, root: Path, case: Case) -> tuple[Labels, npt.NDArray[np.float32]]:
        """Return the predicted label values (D, H, W) of a whole case and its probabilities (K, D, H, W), canonical.

        The K channels are the background and the classes, or the regions.
        """
        turned = self.view.turn(case)
        output, box, seen = self._infer(module, root, turned)
        back = np.argsort(self.view.order)
        labels = self.decoder.decode_whole(output, box, seen, turned.shape).transpose(back)
        found = self.decoder.probabilities(output, box, seen, turned.shape)
        shares = np.stack([share.cpu().numpy() for share in found])
        return labels, shares.transpose(0, *(1 + back))

    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score every class of every case by Dice and HD95 in mm."""
        rows: list[dict[str, Any]] = []
        pictures: list[Column] = []
        module.eval()
        for case in index.cases:
            target = self.masks(self.read(case))
            # Scores are those of the written mask, in which the last of overlapping regions prevails.
            predicted = self.masks(self.segment(module, index.root, case))
            scores = score_masks(predicted, target, case.volumes[0].spacing)
            if len(pictures) < PICTURES:
                pictures.append(draw_slice(read_grey(index.root, case), predicted, target))
            for name, true, score in zip(self.classes, target, scores, strict=True):
                if true.any() or self.absent == "empty":
                    row = {"dice": score.dice, "hd95_mm": score.hd95, MISSED: int(score.missed)}
                    rows.append({"case": case.name, "class": name, **row})
        module.train()
        summary: dict[str, float | None] = {column: _case_mean(rows, column) for column in ("dice", "hd95_mm")}
        summary[MISSED] = sum(row[MISSED] for row in rows)
        for name in self.classes:
            summary[f"dice {name}"] = mean_of([row["dice"] for row in rows if row["class"] == name])
        return Scores(rows, summary, pictures)

    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write a mask on the grid of each case's first file, and probabilities if requested."""
        module.eval()
        for case in index.cases:
            if probabilities:
                labels, shares = self.segment_with_shares(module, index.root, case)
                write_probabilities(shares, index.root, case, out)
            else:
                labels = self.segment(module, index.root, case)
            # The mask is written last: if it exists, the case is complete.
            write_mask(labels, index.root, case, out)
            yield case.name

    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return the mask file of each case and, if requested, the file of probabilities."""
        kinds = {"masks": mask_name} | ({"probabilities": probabilities_name} if probabilities else {})
        return {kind: {case.name: name(case) for case in index.cases} for kind, name in kinds.items()}


def draw_slice(
    image: npt.NDArray[np.float32], predicted: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_]
) -> Column:
    """Return the slice across D with the largest target, with both masks drawn over it.

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


def _case_mean(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    """Return the mean over cases of the mean over each case's classes."""
    cases: dict[str, list[float]] = {}
    for row in rows:
        cases.setdefault(row["case"], []).append(row[column])
    return mean_of([float(np.mean(values)) for values in cases.values()])
