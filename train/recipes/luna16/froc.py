"""Score predicted candidates of LUNA16 by FROC: sensitivity at 1/8 to 8 false positives per scan, and their mean.

::

    python -m train.recipes.luna16.froc runs/luna16/data runs/fold0/finetune/scores.csv runs/fold1/finetune/scores.csv \
        --folds 0 1 --out froc.json
"""

from __future__ import annotations

if __name__ == "__main__":
    from ...start.interrupt import quit_on_interrupt

    quit_on_interrupt("froc")

from ...start import needs  # noqa: F401 - before all that may be missing

# isort: split

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from ...data.split.make import load_split
from ...data.tables import read_table
from ...output.files import write_json
from ...start.command import asked, end, read_arguments
from ..folder import refuse_missing
from .curve import RATES, froc_curve, match_candidates, sensitivities
from .marks import Mark, read_findings


@dataclass(frozen=True, kw_only=True)
class FrocConfig:
    """Score predicted candidates of LUNA16 by FROC."""

    prepared: tyro.conf.Positional[Path]
    """Data: folder that prepare.py wrote."""
    predicted: tyro.conf.Positional[tuple[Path, ...]]
    """Data: CSV files with the probabilities of candidates, one for each fold: scores.csv of a fine-tuning run, or
    classes.csv of a prediction, which is rounded."""
    folds: tuple[int, ...] = (0,)
    """Data: folds whose test scans are scored, together."""
    out: Path
    """Output: JSON file for the scores and the curve."""


def read_probabilities(paths: Sequence[Path]) -> dict[str, float]:
    """Return the probability of a nodule of each candidate.

    Raises
    ------
    ValueError
        If a table is missing or invalid, or a candidate is in two.
    """
    found: dict[str, float] = {}
    for path in paths:
        columns, rows = read_table(path)
        refuse_missing({"p nodule"} - set(columns), f"the columns of {path}", "give one of a run of this recipe")
        if twice := found.keys() & rows:
            raise ValueError(f"predicted: expected each candidate once, {min(twice)} is in several files")
        found |= {case: float(row["p nodule"]) for case, row in rows.items()}
    return found


def main(config: FrocConfig) -> dict[str, Any]:
    """Write the scores and return them.

    Raises
    ------
    ValueError, OSError
        If a file is missing or invalid, or a candidate of the test scans has no prediction.
    """
    splits = [load_split(config.prepared / f"fold{fold}" / "splits.json") for fold in config.folds]
    scans = sorted({scan for split in splits for scan in split.test})
    tested = set(scans)
    _, rows = read_table(config.prepared / "candidates.csv")
    rows = {case: row for case, row in rows.items() if row["seriesuid"] in tested}
    found = read_probabilities(config.predicted)
    refuse_missing(rows.keys() - found.keys(), "a prediction for each candidate of the test scans", "predict all folds")
    candidates = [
        Mark(row["seriesuid"], (float(row["x"]), float(row["y"]), float(row["z"])), found[case])
        for case, row in rows.items()
    ]
    findings = read_findings(config.prepared / "nodules.csv")
    matched = match_candidates(scans, candidates, *findings)
    measured = sensitivities(matched)
    report = {
        "folds": list(config.folds),
        "scans": matched.scans,
        "nodules": matched.nodules,
        "nodules_with_candidate": len(matched.hits),
        "candidates": len(candidates),
        "sensitivity": {f"{rate:g}": value for rate, value in zip(RATES, measured, strict=True)},
        "mean_sensitivity": float(np.mean(measured)),
    }
    rates, curve = froc_curve(matched)
    write_json(config.out, {**report, "curve": {"false_per_scan": rates.tolist(), "sensitivity": curve.tolist()}})
    return report


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.luna16.froc"
    return end("froc", lambda: asked(lambda: main(read_arguments(FrocConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
