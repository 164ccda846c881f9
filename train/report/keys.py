"""Current names of the numbers in a run's files, for files that earlier versions wrote under other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

RENAMED = {
    "loss_of_idling": "identity_loss",
    "comparison": "contrastive",
    "comparison_of_locals": "contrastive_local",
    "explained": "r2",
    "spread": "collapse_metric",
    **{f"spread_of_level_{level}": f"collapse_metric_level_{level}" for level in range(3)},
    "said": "predicted",
    "wall_mm": "face_mm",
    "guess_wall_mm": "baseline_face_mm",
    "guess_f1": "baseline_f1",
    "guess_accuracy": "baseline_accuracy",
    "pairs_per_s": "samples_per_s",
    "missed": "present_but_not_predicted",
}
"""From a name in runs of earlier versions to the current one: in metrics.jsonl, report.json and scores.csv."""


def current_name(name: str) -> str:
    """Return the current name of a number, which may start with `val_` and end with a class.

    Examples
    --------
    >>> current_name("val_guess_f1"), current_name("wall_mm left kidney"), current_name("loss")
    ('val_baseline_f1', 'face_mm left kidney', 'loss')
    """
    prefix = "val_" if name.startswith("val_") else ""
    first, space, of_class = name[len(prefix) :].partition(" ")
    return prefix + RENAMED.get(first, first) + space + of_class


def current_names(numbers: Mapping[str, Value]) -> dict[str, Value]:
    """Return a mapping with current names as keys."""
    return {current_name(name): value for name, value in numbers.items()}
