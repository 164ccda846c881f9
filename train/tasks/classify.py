"""Classification task: one class per case, or several (multi-label)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
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

from ..data.batches import draw_shifts, shift_images
from ..data.volumes import read_grey
from ..networks.heads import build_classifier
from ..networks.network import Network
from ..output.files import write_text
from ..output.mosaic import Column, to_grey
from ..run.device import upload
from .task import PICTURES, Batch, Scores, Task, TaskInput, mean_of, run_network

Flags = npt.NDArray[np.bool_]

Metric = Literal["f1", "auroc", "accuracy"]
"""Scores of which one is the main score: means over classes, and the share of cases with all classes right."""

_CAPTION = (("target", "class"), ("predicted", "predicted"))
"""Lines under a picture, each with the column of a row that it is from."""
LEAST_PROBABILITY = 1e-6
"""Lower bound in log scores: the logarithm of 0 would outweigh all other cases (project choice)."""


class Classification(Task):
    """Classification of whole cases.

    Parameters
    ----------
    classes : sequence of str
    view : TaskInput
    multilabel : bool
        Whether a case may have several classes, or none.
    metric : "f1", "auroc" or "accuracy"
        The main score.
    shift, seed
        As for `train.tasks.localize.Localization`.
    flags : mapping of str to (K,) bool
        The classes of each case.
    """

    name = "classify"
    whole = True

    def __init__(
        self,
        classes: Sequence[str],
        view: TaskInput,
        *,
        multilabel: bool = False,
        metric: Metric = "f1",
        shift: int = 0,
        seed: int = 0,
        flags: Mapping[str, Flags] | None = None,
    ) -> None:
        super().__init__(classes, view)
        self.multilabel, self.metric, self._shift, self._seed = multilabel, metric, shift, seed
        self._flags, self._training = dict(flags or {}), list[Flags]()

    @property
    def about(self) -> dict[str, Any]:
        """Arguments that rebuild the task."""
        return {"classes": self.classes, "multilabel": self.multilabel}

    @property
    def targets(self) -> Sequence[npt.NDArray[Any]]:
        """The classes of the training cases."""
        return self._training

    def build(self, network: Network) -> nn.Module:
        """Return the encoder with the network's classification head, or with a linear one."""
        return build_classifier(network, len(self.classes), self.view.shrink)

    def load_targets(self, training: dali_cr.Index) -> None:
        """Store the classes of the training cases."""
        self._training = [self._flags[case.name] for case in training.cases]

    def whole_targets(self, index: dali_cr.Index) -> npt.NDArray[np.float64]:
        """Return the classes (N, K) of cases as 0 and 1."""
        return np.stack([self._flags[case.name] for case in index.cases]).astype(np.float64)

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """Class weights of the loss, inversely proportional to class frequency, 1 on average over cases."""
        counts = np.sum(self._training, axis=0)
        seen = counts > 0
        return np.where(seen, len(self._training) / (seen.sum() * np.maximum(counts, 1)), 1.0).astype(np.float32)

    @property
    def baseline(self) -> Flags:
        """A prediction that ignores the image: the most frequent class; for multi-label, the classes of most cases."""
        counts = np.sum(self._training, axis=0)
        if self.multilabel:
            return np.asarray(2 * counts > len(self._training))
        return np.asarray(np.arange(len(counts)) == counts.argmax())

    def target(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return the classes of the case and the shift of its crop."""
        shift = draw_shifts(self._seed, plan.number, self.view.reach(self._shift))[0]
        return {"flags": self._training[plan.case].astype(np.float32), "shift": shift}

    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return cross-entropy with class weights, or for multi-label the mean binary cross-entropy over classes."""
        image = shift_images(batch["image"], batch["shift"].numpy())
        logits = run_network(module, image, self.view.dims)
        if self.multilabel:
            return F.binary_cross_entropy_with_logits(logits, batch["flags"])
        weights = upload(self.weights, logits.device)
        return F.cross_entropy(logits, batch["flags"].argmax(1), weight=weights)

    def infer(self, module: nn.Module, index: dali_cr.Index) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Yield the name, the class probabilities and the predicted classes of each case."""
        module.eval()
        for case, _, logits in self.whole_volumes(module, index):
            if self.multilabel:
                probabilities, predicted = logits.sigmoid(), logits > 0
            else:
                probabilities, predicted = logits.softmax(0), torch.zeros_like(logits, dtype=torch.bool)
                predicted[logits.argmax()] = True
            yield case.name, probabilities, predicted
        module.train()

    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score by class: F1, precision, recall, AUROC; and their means over the classes that occur, main score first.

        `baseline_f1` and `baseline_accuracy` are the scores of `baseline`.
        """
        found = list(self.infer(module, index))
        targets = torch.from_numpy(np.stack([self._flags[name] for name, _, _ in found]))
        probabilities = torch.stack([values for _, values, _ in found])
        predicted = torch.stack([out for _, _, out in found])
        measured = score_classes(probabilities, predicted, targets)
        summary = {column: mean_of([one[column] for one in measured]) for column in measured[0]}
        summary["accuracy"] = float((predicted == targets).all(1).double().mean())
        summary["log_score"] = float(log_scores(probabilities, targets, multilabel=self.multilabel).mean())
        baseline = torch.from_numpy(self.baseline).expand_as(targets)
        summary["baseline_f1"] = mean_of([one["f1"] for one in score_classes(baseline.double(), baseline, targets)])
        summary["baseline_accuracy"] = float((baseline == targets).all(1).double().mean())
        summary |= {f"f1 {name}": one["f1"] for name, one in zip(self.classes, measured, strict=True)}
        rows = [
            {
                "case": name,
                "class": "|".join(_names(self.classes, true)),
                "predicted": "|".join(_names(self.classes, out)),
            }
            | {f"p {one}": float(value) for one, value in zip(self.classes, values, strict=True)}
            for (name, values, out), true in zip(found, targets, strict=True)
        ]
        first = {self.metric: summary.pop(self.metric)}
        pictures = [_middle_slice(index.root, case) for case in index.cases[:PICTURES]]
        captions = [[f"{column} {row[key] or 'none'}" for column, key in _CAPTION] for row in rows[:PICTURES]]
        return Scores(rows, {name: _known(value) for name, value in (first | summary).items()}, pictures, captions)

    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write classes.csv: each case with its predicted class and the probability of every class."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["case", "class", *(f"p {name}" for name in self.classes)])
        for name, chances, predicted in self.infer(module, index):
            names = "|".join(_names(self.classes, predicted))
            table.writerow([name, names, *(f"{float(p):.6f}" for p in chances)])
            yield name
        write_text(out / "classes.csv", text.getvalue())

    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return an empty dict: classes.csv holds all cases, with probabilities."""
        return {}


def log_scores(probabilities: torch.Tensor, targets: torch.Tensor, *, multilabel: bool = False) -> torch.Tensor:
    """Return the log score of each case: of the probability of its class, or the sum over classes if `multilabel`.

    Parameters
    ----------
    probabilities, targets : (N, K) float, bool
    multilabel : bool

    Returns
    -------
    scores : (N,) float64
        At most 0. Probabilities are at least `LEAST_PROBABILITY`.

    Examples
    --------
    >>> log_scores(torch.tensor([[0.25, 0.75], [1.0, 0.0]]), torch.tensor([[False, True], [False, True]])).tolist()
    [-0.2876820724517809, -13.815510557964274]
    """
    shares = torch.where(targets | (not multilabel), probabilities.double(), 1 - probabilities.double())
    logs = shares.clamp(min=LEAST_PROBABILITY).log()
    return logs.sum(1) if multilabel else (logs * targets).sum(1)


def score_classes(
    probabilities: torch.Tensor, predicted: torch.Tensor, targets: torch.Tensor
) -> list[dict[str, float]]:
    """Score each class one-vs-rest.

    Parameters
    ----------
    probabilities, predicted, targets : (N, K) float, bool, bool

    Returns
    -------
    scores : list of dict
        Precision (0 if the class is never predicted), recall, F1 and AUROC. All are NaN for a class without cases;
        AUROC is NaN as well for a class that all cases have.
    """
    from monai.metrics.confusion_matrix import compute_confusion_matrix_metric, get_confusion_matrix
    from monai.metrics.rocauc import compute_roc_auc

    scores = []
    for k in range(targets.shape[1]):
        matrix = get_confusion_matrix(predicted[:, k : k + 1].float(), targets[:, k : k + 1].float()).sum(0)[0]
        one = {
            name: float(compute_confusion_matrix_metric(metric, matrix).nan_to_num(0.0))
            for name, metric in (("f1", "f1 score"), ("precision", "precision"), ("recall", "sensitivity"))
        }
        there = bool(targets[:, k].any())
        one["auroc"] = float("nan")
        if there and not bool(targets[:, k].all()):
            one["auroc"] = float(np.asarray(compute_roc_auc(probabilities[:, k], targets[:, k].float())))
        scores.append(one if there else dict.fromkeys(one, float("nan")))
    return scores


def _middle_slice(root: Path, case: Case) -> Column:
    """Return the middle slice of a case across D."""
    image = read_grey(root, case)
    return {"image": to_grey(image[len(image) // 2], 0, 1)}


def _names(classes: Sequence[str], flags: torch.Tensor) -> list[str]:
    return [name for name, flag in zip(classes, flags.tolist(), strict=True) if flag]


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value
