"""What the scores of single cases come to: by class and over cases, with their spread.

A score that a case has (Dice, millimetres) gets its mean and standard deviation between cases. One that only many cases
have together (F1, accuracy) gets an interval of 95 %, by drawing as many cases again with replacement.
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
"""Of a scores.csv: the text of each column."""

_COLUMNS = {"segment": ("dice", "hd95_mm"), "localize": ("wall_mm", "centroid_mm", "guess_wall_mm")}
_RESAMPLES = 10_000


def summarise(task: str, rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    """Sum the rows of a scores.csv up.

    Parameters
    ----------
    task : "segment", "localize" or "classify"
    rows : sequence of mapping
    classes : sequence of str

    Returns
    -------
    dict
        "over_cases", the mean over a case's classes first, and "by_class"; of boxes also "below_guess_mm": by how much
        the walls of the same case are nearer than those of the mean box, with an interval of 95 %. JSON-able.
    """
    if task == "classify":
        return _summarise_classes(rows, classes)
    columns = _COLUMNS[task]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    over_cases = {
        column: mean_and_deviation([np.mean(_numbers(rows, column, "case", case)) for case in cases])
        for column in columns
    }
    by_class = {
        name: {
            "cases": len(_numbers(rows, columns[0], "class", name)),
            **{column: mean_and_deviation(_numbers(rows, column, "class", name)) for column in columns},
        }
        for name in classes
    }
    found: dict[str, Any] = {"over_cases": over_cases, "by_class": by_class}
    if task == "localize" and len(cases) > 1:
        below = [
            np.mean(_numbers(rows, "guess_wall_mm", "case", case)) - np.mean(_numbers(rows, "wall_mm", "case", case))
            for case in cases
        ]
        interval = bootstrap_interval([below])
        found["below_guess_mm"] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return found


def mean_and_deviation(values: Sequence[Any]) -> dict[str, float | None]:
    """Return the mean and the standard deviation; None where there are too few for one.

    Examples
    --------
    >>> mean_and_deviation([1.0, 3.0])
    {'mean': 2.0, 'sd': 1.4142135623730951}
    """
    mean = float(np.mean(values)) if len(values) else None
    return {"mean": mean, "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _numbers(rows: Sequence[Row], column: str, where: str, name: str) -> list[float]:
    return [float(row[column]) for row in rows if row[where] == name]


def _summarise_classes(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    truth, said = (
        np.array([[name in row[column].split("|") for name in classes] for row in rows]) for column in ("class", "said")
    )
    probabilities = np.array([[float(row[f"p {name}"]) for name in classes] for row in rows])
    measured = score_classes(*(torch.from_numpy(array) for array in (probabilities, said, truth)))
    by_class = {
        name: {"cases": int(own.sum()), **{key: None if np.isnan(value) else value for key, value in one.items()}}
        for name, own, one in zip(classes, truth.T, measured, strict=True)
    }
    return {"over_cases": resample_classes(said, truth), "by_class": by_class}


def resample_classes(
    said: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return F1 (the mean over the classes that the cases have) and accuracy, each with its interval of 95 %.

    Parameters
    ----------
    said, truth : (N, K) bool
    seed : int
        Of the resampling.
    """
    once = np.ones((1, len(truth)))
    drawn = np.random.default_rng(seed).multinomial(len(truth), np.full(len(truth), 1 / len(truth)), _RESAMPLES)
    found = {}
    for name, score in (("f1", _macro_f1), ("accuracy", _accuracy)):
        low, high = np.nanpercentile(score(said, truth, drawn), (2.5, 97.5))
        found[name] = {"mean": float(score(said, truth, once)[0]), "low": float(low), "high": float(high)}
    return found


def _macro_f1(said: npt.NDArray[Any], truth: npt.NDArray[Any], counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the mean F1 of (R, N) draws of cases: over the classes that each draw has."""
    there, both, either = counts @ truth, counts @ (said & truth), counts @ (said.astype(int) + truth)
    f1 = np.where(there > 0, 2 * both / np.maximum(either, 1), np.nan)
    return np.asarray(np.nanmean(f1, axis=1))


def _accuracy(said: npt.NDArray[Any], truth: npt.NDArray[Any], counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(counts @ (said == truth).all(1) / len(truth))
