"""A study's report as Markdown: primary comparisons, scores, differences with intervals, learning curves, costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...output.files import write_whole
from ..declared import Study, lower_is_better
from .results import Results
from .tables import curve_table, effect_table, frozen_table, gain_table, rate_table, score_table

_ABOUT = (
    "A difference is the mean over test cases, seeds and pre-training runs, paired by test case, labelled cases, seed",
    "and steps; its sign is such that positive is better. The 95 % intervals come from resampling test cases, seeds",
    "and pre-training seeds, the latter as clusters of runs. *Detectable* is the smallest difference that a test at a",
    "level of 0.05, uncorrected, finds with a probability of 0.8. p is corrected by Holm's method, within the primary",
    "and within all other comparisons of this study; the verdict uses it at a level of 0.05. “None detected” means",
    "that no difference was shown: the interval bounds its size.",
)
"""How to read the differences."""


def write_tables(path: Path, results: Results) -> None:
    """Write all tables to one Markdown file."""
    study = results.study
    lines = [f"# {study.name}", "", *_preamble(study, results.ran), "", *_primary(results)]
    for task in study.tasks:
        lines += _finetuned(results, task)
        lines += _frozen(results, task)
    lines += ["## Pre-training", "", *gain_table(results.pretraining), ""]
    lines += ["## Learning rates", "", *rate_table(results.rates, study)]
    write_whole(path, ("\n".join(lines).rstrip() + "\n").encode())


def _primary(results: Results) -> Iterator[str]:
    """Yield the section of the primary comparisons."""
    if results.study.primary:
        yield from ("## Primary comparisons", "")
        yield from effect_table([effect for effect in results.effects if effect.primary], where=True)
        yield ""


def _finetuned(results: Results, task: str) -> Iterator[str]:
    """Yield the section of a task after fine-tuning."""
    study, metric = results.study, results.study.metric(task)
    better = "lower" if lower_is_better(metric) else "higher"
    count = len(next(group for group in results.groups if group.task == task).scores[0])
    yield from (f"## {task}: {metric} after fine-tuning, {better} is better", "")
    for length, steps in study.steps(task).items():
        yield f"**{length}, {steps} steps**, {count} test cases, mean ± standard deviation between runs. Baselines are"
        yield "in italics; they have the same labelled cases."
        yield from ("", *score_table(results, task, length), "")
        compared = [one for one in results.effects if (one.task, one.length, one.primary) == (task, length, False)]
        yield from (*effect_table(compared), "")
        curves = [curve for curve in results.curves if (curve.task, curve.length) == (task, length)]
        if curves:
            yield from ("Learning curves: mean score on val, with the chosen rates.", "", *curve_table(curves), "")


def _frozen(results: Results, task: str) -> Iterator[str]:
    """Yield the section of the linear probes of a task."""
    frozen, probe = [one for one in results.frozen if one.task == task], results.study.probe
    if not frozen or probe is None:
        return
    yield from (f"## {task}: accuracy of linear probes of frozen encoders", "")
    yield f"{probe.draws} draws of labelled cases, stratified by class; {len(frozen[0].cases)} test cases; mean ±"
    yield "standard deviation between draws (in brackets the mean of each pre-training seed). Baselines are in italics."
    yield from ("", *frozen_table(frozen), "")
    compared = [one for one in results.effects if (one.task, one.measure, one.primary) == (task, "frozen", False)]
    yield from (*effect_table(compared), "")


def _preamble(study: Study, ran: dict[str, Any]) -> Iterator[str]:
    protocol = study.protocol
    hours, worked = (sum(ran[name].values()) / 3600 for name in ("seconds", "cpu_seconds"))
    device = ", ".join(f"{one['name']} ({one['torch_threads']} threads)" for one in ran["devices"])
    yield f"{ran['runs']} runs, {hours:.1f} h together, {ran['jobs']} at a time; {worked:.1f} h of CPU time; {device}."
    yield f"Seeds {_listed(protocol.seeds)}, pre-training seeds {_listed(protocol.pretrain_seeds)} in turn."
    if len(protocol.rates) > 1:
        yield f"Learning rates {_listed(f'{rate:g}' for rate in protocol.rates)} were compared on val with seed"
        yield f"{protocol.tuning.seed}, for every task and initialisation."
    yield "The last weights of each run were tested once."
    yield ""
    yield from _ABOUT
    if len(protocol.steps) > 1:
        yield "Short runs show which initialisation learns faster; only the longest show which one needs fewer labels."
    if len(protocol.seeds) == 1:
        yield "With a single seed the intervals hold for other test cases only, not for other seeds."


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))
