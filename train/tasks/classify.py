"""Classification: one class a case, or several that are there or not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

import dali_cr
from dali_cr.plan.sample import SamplePlan

from ..data.batches import draw_shifts, shift_images
from ..networks.heads import build_classifier
from ..networks.network import Network
from ..output.files import write_text
from ..run.device import upload
from .task import Batch, Scores, Task, TaskInput, ask, mean_of

Flags = npt.NDArray[np.bool_]


class Classification(Task):
    """Classes of whole cases.

    Parameters
    ----------
    classes : sequence of str
    view : TaskInput
    multilabel : bool
        Whether a case may be of several classes, or of none.
    shift, seed
        As of `train.tasks.localize.Localization`.
    flags : mapping of str to (K,) bool
        From a case to which classes it is of.
    """

    name = "classify"
    whole = True

    def __init__(
        self,
        classes: Sequence[str],
        view: TaskInput,
        *,
        multilabel: bool = False,
        shift: int = 0,
        seed: int = 0,
        flags: Mapping[str, Flags] | None = None,
    ) -> None:
        super().__init__(classes, view)
        self.multilabel, self._shift, self._seed = multilabel, shift, seed
        self._flags, self._training = dict(flags or {}), list[Flags]()

    @property
    def about(self) -> dict[str, Any]:
        """What builds the task again."""
        return {"classes": self.classes, "multilabel": self.multilabel}

    @property
    def learnt(self) -> Sequence[npt.NDArray[Any]]:
        """The classes of the training cases."""
        return self._training

    def build(self, network: Network) -> nn.Module:
        """Return the encoder with the network's own head, or a linear one."""
        return build_classifier(network, len(self.classes), self.view.shrink)

    def learn(self, training: dali_cr.Index) -> None:
        """Keep the classes of the training cases."""
        self._training = [self._flags[case.name] for case in training.cases]

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """What an error on each class costs: rare ones more, so that each costs as much in all; 1 on average."""
        counts = np.sum(self._training, axis=0)
        seen = counts > 0
        return np.where(seen, len(self._training) / (seen.sum() * np.maximum(counts, 1)), 1.0).astype(np.float32)

    @property
    def guess(self) -> Flags:
        """What to say of a case without looking: the most frequent class; of several, those that most are of."""
        counts = np.sum(self._training, axis=0)
        if self.multilabel:
            return np.asarray(2 * counts > len(self._training))
        return np.asarray(np.arange(len(counts)) == counts.argmax())

    def truth(self, plan: SamplePlan) -> dict[str, npt.NDArray[Any]]:
        """Return the classes of the case, and how far its crop is to be moved."""
        shift = draw_shifts(self._seed, plan.number, self.view.reach(self._shift))[0]
        return {"flags": self._training[plan.case].astype(np.float32), "shift": shift}

    def loss(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return cross-entropy with class weights, or the mean over classes of binary cross-entropies."""
        image = shift_images(batch["image"], batch["shift"].numpy())
        answer = ask(module, image, self.view.dims)
        if self.multilabel:
            return F.binary_cross_entropy_with_logits(answer, batch["flags"])
        weights = upload(self.weights, answer.device)
        return F.cross_entropy(answer, batch["flags"].argmax(1), weight=weights)

    def ask(self, module: nn.Module, index: dali_cr.Index) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Yield each case's name, the probabilities of its classes, and which it is said to be of."""
        module.eval()
        for case, _, answer in self.whole_volumes(module, index):
            if self.multilabel:
                probabilities, said = answer.sigmoid(), answer > 0
            else:
                probabilities, said = answer.softmax(0), torch.zeros_like(answer, dtype=torch.bool)
                said[answer.argmax()] = True
            yield case.name, probabilities, said
        module.train()

    def score(self, module: nn.Module, index: dali_cr.Index) -> Scores:
        """Score by class: precision, recall, F1, AUROC; their means over the classes that the cases have.

        `guess_f1` and `guess_accuracy` are what `guess` would get.
        """
        answers = list(self.ask(module, index))
        truth = torch.from_numpy(np.stack([self._flags[name] for name, _, _ in answers]))
        probabilities = torch.stack([values for _, values, _ in answers])
        said = torch.stack([out for _, _, out in answers])
        measured = score_classes(probabilities, said, truth)
        summary = {column: mean_of([one[column] for one in measured]) for column in measured[0]}
        summary["accuracy"] = float((said == truth).all(1).double().mean())
        blind = torch.from_numpy(self.guess).expand_as(truth)
        summary["guess_f1"] = mean_of([one["f1"] for one in score_classes(blind.double(), blind, truth)])
        summary["guess_accuracy"] = float((blind == truth).all(1).double().mean())
        summary |= {f"f1 {name}": one["f1"] for name, one in zip(self.classes, measured, strict=True)}
        rows = [
            {"case": name, "class": "|".join(_names(self.classes, true)), "said": "|".join(_names(self.classes, out))}
            | {f"p {one}": float(value) for one, value in zip(self.classes, values, strict=True)}
            for (name, values, out), true in zip(answers, truth, strict=True)
        ]
        return Scores(rows, {name: _known(value) for name, value in summary.items()})

    def predict(
        self, module: nn.Module, index: dali_cr.Index, out: Path, *, probabilities: bool = False
    ) -> Iterator[str]:
        """Write classes.csv: each case, what it is said to be, and the probability of every class."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["case", "class", *(f"p {name}" for name in self.classes)])
        for name, chances, said in self.ask(module, index):
            said_names = "|".join(_names(self.classes, said))
            table.writerow([name, said_names, *(f"{float(p):.6f}" for p in chances)])
            yield name
        write_text(out / "classes.csv", text.getvalue())

    def files(self, index: dali_cr.Index, *, probabilities: bool = False) -> dict[str, dict[str, str]]:
        """Return nothing: one table is of all cases, and has the probabilities too."""
        return {}


def score_classes(probabilities: torch.Tensor, said: torch.Tensor, truth: torch.Tensor) -> list[dict[str, float]]:
    """Score each class against all others.

    Parameters
    ----------
    probabilities, said, truth : (N, K) float, bool, bool

    Returns
    -------
    scores : list of dict
        Precision (0 where the class is never said), recall, F1 and AUROC. NaN for a class that no case is of; the
        AUROC too for a class that all are of.
    """
    from monai.metrics.confusion_matrix import compute_confusion_matrix_metric, get_confusion_matrix
    from monai.metrics.rocauc import compute_roc_auc

    scores = []
    for k in range(truth.shape[1]):
        matrix = get_confusion_matrix(said[:, k : k + 1].float(), truth[:, k : k + 1].float()).sum(0)[0]
        one = {
            name: float(compute_confusion_matrix_metric(metric, matrix).nan_to_num(0.0))
            for name, metric in (("f1", "f1 score"), ("precision", "precision"), ("recall", "sensitivity"))
        }
        there = bool(truth[:, k].any())
        one["auroc"] = float("nan")
        if there and not bool(truth[:, k].all()):
            one["auroc"] = float(np.asarray(compute_roc_auc(probabilities[:, k], truth[:, k].float())))
        scores.append(one if there else dict.fromkeys(one, float("nan")))
    return scores


def _names(classes: Sequence[str], flags: torch.Tensor) -> list[str]:
    return [name for name, flag in zip(classes, flags.tolist(), strict=True) if flag]


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value
