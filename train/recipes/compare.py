"""Compare the initialisations of a recipe: scores on the test part, and paired differences to random weights.

::

    python -m train.recipes.compare runs/fetal_planes/baselines

The folder has finished runs of a recipe as ``INIT/SEED``, from ``baselines.sh``; those from random weights are
``random/SEED``. One table is printed and written to ``baselines.md`` in the folder.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..start.interrupt import quit_on_interrupt

    quit_on_interrupt("compare")

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from ..output.files import write_whole
from ..report.intervals import bootstrap_interval, paired_difference
from ..start.command import asked, end, read_arguments
from ..study.declared import METRICS, lower_is_better
from ..study.scores import case_scores

CONTROL = "random"
"""Folder of the runs from random weights."""

_MAY_DIFFER = {"init", "transfer", "seed"} | {
    *("device", "threads", "cache", "deterministic", "compile", "memory_format"),
    *("any_version", "checkpoint_every", "log_every"),
}
"""Settings that runs with comparable scores may differ in."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare the initialisations of a recipe by the scores of finished runs."""

    runs: tyro.conf.Positional[Path]
    """Data: folder of finished runs INIT/SEED, with those from random weights in random/SEED."""


@dataclass(frozen=True)
class Arm:
    """The runs of an initialisation, one for each seed."""

    name: str
    results: tuple[dict[str, Any], ...]
    """Content of result.json."""
    scores: tuple[dict[str, float], ...]
    """Score of each test case, in the metric of the differences."""
    empty: bool = False
    """Whether every predicted mask is empty."""

    @property
    def task(self) -> str:
        """Name of the fine-tuning task."""
        return str(self.results[0]["network"]["task"]["name"])


def read_arms(folder: Path) -> list[Arm]:
    """Return the initialisations of a folder of runs, random weights first.

    Raises
    ------
    ValueError
        If runs are missing, unfinished, or differ in more than their initialisation.
    """
    seeds = sorted(path.name for path in folder.glob(f"{CONTROL}/*") if path.is_dir())
    if not seeds:
        raise ValueError(f"runs: expected runs from random weights in {folder / CONTROL}, got none; use baselines.sh")
    others = sorted({path.parent.parent.name for path in folder.glob("*/*/result.json")} - {CONTROL})
    arms = [_read_arm(folder, name, seeds) for name in (CONTROL, *others)]
    first = arms[0].results[0]["settings"]
    for arm in arms:
        for seed, result in zip(seeds, arm.results, strict=True):
            now = result["settings"]
            for name in sorted((first.keys() | now.keys()) - _MAY_DIFFER):
                if first.get(name) != now.get(name):
                    raise ValueError(
                        f"runs: expected runs that differ in their initialisation alone, --{name.replace('_', '-')} is "
                        f"{first.get(name)} in {CONTROL}/{seeds[0]} and {now.get(name)} in {arm.name}/{seed}"
                    )
    return arms


def _read_arm(folder: Path, name: str, seeds: Sequence[str]) -> Arm:
    """Read the runs of an initialisation."""
    results, scores, empty = [], [], []
    for seed in seeds:
        run = folder / name / seed
        if not (run / "result.json").is_file():
            raise ValueError(f"runs: expected a finished run in {run}, result.json is missing; repeat baselines.sh")
        results.append(json.loads((run / "result.json").read_text()))
        metric = METRICS[results[-1]["network"]["task"]["name"]]
        scores.append(case_scores(run / "finetune" / "scores.csv", metric))
        empty.append(metric == "dice" and predicts_nothing(run / "finetune" / "scores.csv"))
    return Arm(name, tuple(results), tuple(scores), all(empty))


def predicts_nothing(path: Path) -> bool:
    """Return whether every mask is empty: all regions that a case has are missed, and those it lacks score 1."""
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = [(int(row["missed"]), float(row["dice"])) for row in csv.DictReader(file)]
    return any(missed for missed, _ in rows) and all(missed or dice == 1 for missed, dice in rows)


def write_table(arms: Sequence[Arm]) -> str:
    """Return the table and its notes as Markdown."""
    control, seeds = arms[0], len(arms[0].results)
    rows = [_cells(arm, control) for arm in arms]
    header = list(rows[0])
    lines = [_line(header), _line(["---", *["---:"] * (len(header) - 1)]), *(_line(row.values()) for row in rows)]
    return "\n".join([*lines, "", *_notes(control, seeds), *_empty_note(arms), ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _notes(control: Arm, seeds: int) -> Iterator[str]:
    """Yield sentences about the columns."""
    spread = "; mean ± standard deviation between seeds" if seeds > 1 else ""
    yield f"{len(control.scores[0])} test cases, {seeds} seed{'s' * (seeds > 1)}{spread}."
    metric = "accuracy" if METRICS[control.task] == "correct" else METRICS[control.task]
    yield f"Difference: mean of {metric} minus that of the same case and seed from random weights, with a sign such"
    yield "that positive is better, and its 95 % interval, not corrected for the number of comparisons."
    if seeds == 1:
        yield "With one seed the interval holds for other test cases only, not for other seeds."


def _empty_note(arms: Sequence[Arm]) -> Iterator[str]:
    """Yield sentences about initialisations whose scores are equal because they predict no region at all."""
    if names := [arm.name for arm in arms if arm.empty]:
        yield f"**Every predicted mask of {', '.join(names)} is empty**: whatever the weights are, the Dice of a region"
        yield "is then 0 in cases that have it, else 1. Train longer, or with a higher rate."


def _cells(arm: Arm, control: Arm) -> dict[str, str]:
    """Return the cells of an initialisation by column."""
    cells = {
        "initialisation": arm.name,
        "transferred": "–" if arm is control else str(arm.results[0]["report"]["transfer"]),
        "pre-training": _pretrained(arm),
    }
    scores = [result["scores"] for result in arm.results]
    for column in scores[0]["over_cases"]:
        cells[column] = _mean([one["over_cases"][column]["mean"] for one in scores], column)
    first = next(iter(scores[0]["over_cases"]))
    for name in scores[0]["by_class"]:
        cells[f"{first} {name}"] = _mean([_of_class(one["by_class"][name][first]) for one in scores], first)
    return cells | {"difference": "–" if arm is control else _difference(arm, control)}


def _pretrained(arm: Arm) -> str:
    """Return the measure of the pre-training on held-out samples as text."""
    known = [result["pretraining"] or {} for result in arm.results]
    for key, name in (("restoration_gain", "gain"), ("accuracy", "accuracy")):
        if any(one.get(key) is not None for one in known):
            chance = f" (chance {known[0]['chance']:.3f})" if "chance" in known[0] else ""
            return f"{name} {_mean([one.get(key) for one in known])}{chance}"
    return "–"


def _of_class(value: Mapping[str, float | None] | float | None) -> float | None:
    """Return the mean of a class's score; those of a set of cases are single numbers."""
    return value["mean"] if isinstance(value, Mapping) else value


def _mean(values: Sequence[float | None], column: str = "") -> str:
    """Return the mean over seeds as text, with the standard deviation if there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    digits = 2 if column.endswith("_mm") else 3
    spread = f" ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else ""
    return f"{np.mean(known):.{digits}f}{spread}"


def _difference(arm: Arm, control: Arm) -> str:
    """Return the paired difference to random weights with its interval as text."""
    metric = METRICS[arm.task]
    sign, digits = (-1, 2) if lower_is_better(metric) else (1, 3)
    found = bootstrap_interval(sign * paired_difference(arm.scores, control.scores))
    return f"{found.mean:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})"


def main(config: CompareConfig) -> dict[str, Any]:
    """Print and write the table; return its path and the compared initialisations.

    Raises
    ------
    ValueError, OSError
        If the runs cannot be compared or read, or the table cannot be written.
    """
    arms = read_arms(config.runs)
    text, path = write_table(arms), config.runs / "baselines.md"
    write_whole(path, text.encode())
    print(text)
    return {"table": str(path), "initialisations": [arm.name for arm in arms]}


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    return end("compare", lambda: asked(lambda: main(read_arguments(CompareConfig, "recipes.compare", arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
