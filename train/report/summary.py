"""Summaries of the scores of single cases: by class and over cases, with standard deviations or intervals.

Scores of single cases (Dice, millimetres) are summarised by mean and standard deviation between cases. Scores of a set
of cases (F1, accuracy) get a 95 % bootstrap interval over cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..tasks.classify import score_classes
from .intervals import bootstrap_interval

Row = Mapping[str, str]
"""A row of scores.csv: the text of each column, by current names (see `train.report.keys`)."""

_COLUMNS = {"segment": ("dice", "hd95_mm"), "localize": ("face_mm", "centroid_mm", "baseline_face_mm")}
_RESAMPLES = 10_000


def summarise(task: str, rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    """Summarise the rows of a scores.csv.

    Parameters
    ----------
    task : "segment", "localize" or "classify"
    rows : sequence of mapping
    classes : sequence of str

    Returns
    -------
    dict
        "over_cases" (means over a case's classes first) and "by_class"; for boxes also "below_baseline_mm": by how much
        the error of the box faces is below that of the mean box, paired by case, with a 95 % interval. JSON-compatible.
    """
    if task == "classify":
        return _summarise_classes(rows, classes)
    columns = _COLUMNS[task]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    over_cases = {
        column: mean_and_std([np.mean(_numbers(rows, column, "case", case)) for case in cases]) for column in columns
    }
    by_class = {
        name: {
            "cases": len(_numbers(rows, columns[0], "class", name)),
            **{column: mean_and_std(_numbers(rows, column, "class", name)) for column in columns},
        }
        for name in classes
    }
    found: dict[str, Any] = {"over_cases": over_cases, "by_class": by_class}
    if task == "localize" and len(cases) > 1:
        below = [
            np.mean(_numbers(rows, "baseline_face_mm", "case", case)) - np.mean(_numbers(rows, "face_mm", "case", case))
            for case in cases
        ]
        interval = bootstrap_interval([below])
        found["below_baseline_mm"] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return found


def mean_and_std(values: Sequence[Any]) -> dict[str, float | None]:
    """Return the mean and the standard deviation; None if there are too few values.

    Examples
    --------
    >>> mean_and_std([1.0, 3.0])
    {'mean': 2.0, 'sd': 1.4142135623730951}
    """
    mean = float(np.mean(values)) if len(values) else None
    return {"mean": mean, "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _numbers(rows: Sequence[Row], column: str, where: str, name: str) -> list[float]:
    return [float(row[column]) for row in rows if row[where] == name]


def _summarise_classes(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    targets, predicted = (
        np.array([[name in row[column].split("|") for name in classes] for row in rows])
        for column in ("class", "predicted")
    )
    probabilities = np.array([[float(row[f"p {name}"]) for name in classes] for row in rows])
    measured = score_classes(*(torch.from_numpy(array) for array in (probabilities, predicted, targets)))
    by_class = {
        name: {"cases": int(own.sum()), **{key: None if np.isnan(value) else value for key, value in one.items()}}
        for name, own, one in zip(classes, targets.T, measured, strict=True)
    }
    return {"over_cases": resample_classes(predicted, targets), "by_class": by_class}


def resample_classes(
    predicted: npt.NDArray[np.bool_], targets: npt.NDArray[np.bool_], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return macro F1 (the mean over the classes that occur) and accuracy, each with a 95 % bootstrap interval.

    Parameters
    ----------
    predicted, targets : (N, K) bool
    seed : int
        Seed of the resampling.
    """
    once = np.ones((1, len(targets)))
    drawn = np.random.default_rng(seed).multinomial(len(targets), np.full(len(targets), 1 / len(targets)), _RESAMPLES)
    found = {}
    for name, score in (("f1", _macro_f1), ("accuracy", _accuracy)):
        low, high = np.nanpercentile(score(predicted, targets, drawn), (2.5, 97.5))
        found[name] = {"mean": float(score(predicted, targets, once)[0]), "low": float(low), "high": float(high)}
    return found


def _macro_f1(
    predicted: npt.NDArray[Any], targets: npt.NDArray[Any], counts: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return the macro F1 of each of R resamples (R, N) of cases, over the classes that occur in it."""
    there, both, either = counts @ targets, counts @ (predicted & targets), counts @ (predicted.astype(int) + targets)
    f1 = np.where(there > 0, 2 * both / np.maximum(either, 1), 0.0)
    occurring = (there > 0).sum(1)
    return np.asarray(f1.sum(1) / np.where(occurring > 0, occurring, np.nan))


def _accuracy(
    predicted: npt.NDArray[Any], targets: npt.NDArray[Any], counts: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    return np.asarray(counts @ (predicted == targets).all(1) / len(targets))
