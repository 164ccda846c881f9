"""A study's tables as Markdown: scores, differences with intervals, pre-training, learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..output.files import write_whole
from .declared import Study, lower_is_better
from .effects import Effect, Group
from .runs import arms_of


def write_tables(path: Path, study: Study, groups: Sequence[Group], effects: Sequence[Effect], about: Any) -> None:
    """Write all tables to one Markdown file."""
    lines = [f"# {study.name}", "", *_preamble(study, about["ran"]), ""]
    for task in study.tasks:
        metric = study.metric(task)
        better = "lower" if lower_is_better(metric) else "higher"
        count = len(next(group for group in groups if group.task == task).scores[0])
        lines += [f"## {task}: {metric}, {better} is better", ""]
        for length, steps in study.steps(task).items():
            own = [group for group in groups if (group.task, group.length) == (task, length)]
            lines += [f"**{length}, {steps} steps**, {count} test cases, mean ± standard deviation between runs", ""]
            lines += [*_score_table(study, task, own), ""]
            compared = [effect for effect in effects if (effect.group.task, effect.group.length) == (task, length)]
            lines += [*_effect_table(compared), ""]
    lines += ["## All comparisons", "", *_tally(study, effects), ""]
    lines += ["## Pre-training", "", *_gains(about["pretraining"]), ""]
    lines += ["## Learning rates", "", *_rates(about["rates"], study)]
    write_whole(path, ("\n".join(lines).rstrip() + "\n").encode())


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
    yield "A difference is the mean over test cases and seeds of the score minus the score of the same case from random"
    yield "weights, with the same labelled cases, seed and steps; its sign is such that positive is better. The 95 %"
    yield "intervals come from resampling cases and seeds. p is corrected by Holm's method, once over the tasks (same"
    yield "initialisation, length and rank of the budget) and once over all comparisons of this study. The verdict"
    yield "uses the latter at a level of 0.05. “No difference” means that none was shown: the interval bounds its size."
    yield "Short runs show which initialisation learns faster; only the longest show which one needs fewer labels."
    if len(protocol.seeds) == 1:
        yield "With a single seed the intervals hold for other test cases only, not for other seeds."


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))


def _score_table(study: Study, task: str, groups: Sequence[Group]) -> Iterator[str]:
    budgets, by_place = study.budgets(task), {(group.budget, group.arm): group for group in groups}
    arms = arms_of(study, task)
    counts = [f"all {by_place[one, arms[0]].cases}" if one == "all" else str(one) for one in budgets]
    yield "| initialisation | " + " | ".join(f"{count} labelled" for count in counts) + " |"
    yield "| --- |" + " ---: |" * len(budgets)
    for arm in arms:
        yield f"| {arm.label} | " + " | ".join(_mean(by_place[budget, arm]) for budget in budgets) + " |"


def _mean(group: Group) -> str:
    return f"{group.mean:.3f}" + (f" ± {group.std:.3f}" if group.std is not None else "")


def _effect_table(effects: Sequence[Effect]) -> Iterator[str]:
    yield "| labelled cases | initialisation | difference | 95 % interval | p | Holm, tasks | Holm, all | |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for effect in effects:
        found = effect.interval
        cells = [f"{found.mean:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}"]
        cells += [_p(value) for value in (found.p, effect.p_tasks, effect.p_all)]
        yield f"| {effect.group.budget} | {effect.group.arm.label} | " + " | ".join([*cells, effect.verdict]) + " |"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _tally(study: Study, effects: Sequence[Effect]) -> Iterator[str]:
    """Yield the table of verdict counts, with the best and the worst difference of each initialisation."""
    yield "| task | initialisation | length | better | no difference | worse | best | worst |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for task in study.tasks:
        for arm, length in product(arms_of(study, task), study.steps(task)):
            own = [e for e in effects if (e.group.task, e.group.arm, e.group.length) == (task, arm, length)]
            if own:
                counts = [sum(e.verdict == word for e in own) for word in ("better", "no difference", "worse")]
                ends = [pick(own, key=lambda e: e.interval.mean) for pick in (max, min)]
                shown = [f"{end.interval.mean:+.3f} ({end.group.budget})" for end in ends]
                yield f"| {task} | {arm.label} | {length} | " + " | ".join([*map(str, counts), *shown]) + " |"


def _gains(pretraining: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of pre-training gains and costs; the runs of several seeds share a row."""
    tiles = any("accuracy" in one["report"] for one in pretraining)
    columns = ["steps", "voxels changed", "gain at ¾", "gain", "MSE", *["accuracy", "chance"] * tiles]
    yield f"| data | initialisation | {' | '.join(columns)} | minutes | CPU minutes |"
    yield "| --- | --- |" + " ---: |" * (len(columns) + 2)
    for data, init in dict.fromkeys((one["data"], one["init"]) for one in pretraining):
        own = [one for one in pretraining if (one["data"], one["init"]) == (data, init)]
        steps, changed = own[0]["report"]["steps"], own[0]["changed_share"]
        cells = [data, init, str(steps), "–" if changed is None else f"{changed:.1%}"]
        cells += [_each_gain(own, 0.75 * steps), _each_gain(own, steps)]
        cells += [_each(one["report"].get("mse") for one in own)]
        if tiles:
            chance = own[0]["report"].get("chance")
            cells += [_each(one["report"].get("accuracy") for one in own), _each([chance])]
        cells += [f"{np.mean([one[name] for one in own]) / 60:.1f}" for name in ("seconds", "cpu_seconds")]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Gains and errors (MSE) are measured on held-out cases, one value per seed. The gain of context restoration"
    yield "is relative to returning the input, that of PCRLv2 to the best linear fit of the corrupted view. Minutes are"
    yield "the wall time and the CPU time of a run, averaged over seeds."
    if tiles:
        yield "Pretexts on tiles restore nothing: accuracy is the share of correct classes, chance that of guessing."


def _each_gain(runs: Sequence[dict[str, Any]], step: float) -> str:
    """Return the last gain of each run up to a step."""
    last = [[gain for at, gain in one["restoration_gain"] if 0 < at <= step][-1:] for one in runs]
    return _each(gain[0] if gain else None for gain in last)


def _each(numbers: Iterable[float | None]) -> str:
    return ", ".join("–" if number is None else f"{number:.3f}" for number in numbers)


def _rates(rates: Sequence[dict[str, Any]], study: Study) -> Iterator[str]:
    if not rates:
        yield f"{study.protocol.rates[0]:g} for all: the only one in the protocol."
        return
    names = [f"{rate:g}" for rate in study.protocol.rates]
    yield "| task | initialisation | " + " | ".join(f"val at {name}" for name in names) + " | chosen |"
    yield "| --- | --- |" + " ---: |" * (len(names) + 1)
    for one in rates:
        cells = [f"{one['val'][name]:.3f}" if one["val"][name] is not None else "diverged" for name in names]
        yield f"| {one['task']} | {one['arm']} | {' | '.join(cells)} | {one['chosen']:g} |"
