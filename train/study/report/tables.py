"""Tables of a study's results as Markdown lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..declared import Study
from ..effects import Effect
from ..probe.frozen import Frozen
from ..runs import arms_of
from .curves import Curve
from .results import Results


def score_table(results: Results, task: str, length: str) -> Iterator[str]:
    """Yield the table of scores after fine-tuning: initialisations and baselines by label budget."""
    study = results.study
    groups = [group for group in results.groups if (group.task, group.length) == (task, length)]
    budgets, by_place = study.budgets(task), {(group.budget, group.arm): group for group in groups}
    arms = arms_of(study, task)
    counts = [f"all {by_place[one, arms[0]].cases}" if one == "all" else str(one) for one in budgets]
    yield "| initialisation | " + " | ".join(f"{count} labelled" for count in counts) + " |"
    yield "| --- |" + " ---: |" * len(budgets)
    for arm in arms:
        own = [by_place[budget, arm] for budget in budgets]
        yield f"| {arm.label} | " + " | ".join(_spread(one.mean, one.std) for one in own) + " |"
    found = {(one.name, one.budget): one for one in results.baselines if one.task == task}
    for name in dict.fromkeys(name for name, _ in found):
        cells = [_spread(one.mean, one.std) if (one := found.get((name, b))) else "–" for b in budgets]
        yield f"| *{name}* | " + " | ".join(cells) + " |"


def frozen_table(frozen: Sequence[Frozen]) -> Iterator[str]:
    """Yield the table of linear probes: initialisations and baselines by label budget."""
    budgets = list(dict.fromkeys(one.budget for one in frozen))
    by_place = {(one.init, one.budget): one for one in frozen}
    yield "| initialisation | " + " | ".join(f"{budget} labelled" for budget in budgets) + " |"
    yield "| --- |" + " ---: |" * len(budgets)
    for name in dict.fromkeys(one.init for one in frozen):
        own = [by_place[name, budget] for budget in budgets]
        shown = name if own[0].pretrain_seeds else f"*{name}*"
        yield f"| {shown} | " + " | ".join(_frozen_cell(one) for one in own) + " |"


def _frozen_cell(one: Frozen) -> str:
    """Return the mean, the standard deviation between draws, and the means of the pre-training seeds."""
    means = one.accuracies
    cell = _spread(float(means.mean()), float(means.std(1, ddof=1).mean()) if means.shape[1] > 1 else None)
    return f"{cell} ({', '.join(f'{mean:.2f}' for mean in means.mean(1))})" if len(means) > 1 else cell


def _spread(mean: float, std: float | None) -> str:
    return f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else "")


def effect_table(effects: Sequence[Effect], where: bool = False) -> Iterator[str]:
    """Yield the table of differences.

    Parameters
    ----------
    effects : sequence of Effect
    where : bool
        Whether to show measure and task.
    """
    head = "| measure | task " if where else ""
    yield f"{head}| labelled cases | comparison | difference | 95 % interval | detectable | p | Holm | |"
    yield ("| --- | --- " if where else "") + "| ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for effect in effects:
        found, measure = effect.interval, "frozen probe" if effect.measure == "frozen" else "fine-tuned"
        cells = [measure, effect.task] if where else []
        cells += [str(effect.budget), f"{effect.init} − {effect.against}", f"{found.mean:+.3f}"]
        cells += [f"{found.low:+.3f} to {found.high:+.3f}", f"{found.detectable:.3f}"]
        cells += [_p(found.p), _p(effect.p_holm), effect.verdict]
        yield f"| {' | '.join(cells)} |"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def curve_table(curves: Sequence[Curve]) -> Iterator[str]:
    """Yield the table of learning curves: scores on val by step."""
    steps = list(dict.fromkeys(step for curve in curves for step in curve.steps))
    yield "| labelled cases | initialisation | " + " | ".join(f"step {step}" for step in steps) + " |"
    yield "| ---: | --- |" + " ---: |" * len(steps)
    for curve in curves:
        known = dict(zip(curve.steps, curve.means, strict=True))
        cells = [f"{known[step]:.3f}" if step in known else "–" for step in steps]
        yield f"| {curve.budget} | {curve.init} | " + " | ".join(cells) + " |"


def gain_table(pretraining: Sequence[dict[str, Any]]) -> Iterator[str]:
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
            cells += [_each(one["report"].get("accuracy") for one in own), _each([own[0]["report"].get("chance")])]
        cells += [f"{np.mean([one[name] for one in own]) / 60:.1f}" for name in ("seconds", "cpu_seconds")]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Gains and errors (MSE) are measured on held-out cases, one value per seed. The gain of context restoration"
    yield "is relative to returning the input, that of PCRLv2 to the best linear fit of the corrupted view. Minutes are"
    yield "the wall time and the CPU time of a run, averaged over seeds."
    if tiles:
        yield "Pretexts on tiles restore nothing: accuracy is the share of correct classes, chance its value for random"
        yield "classes."


def _each_gain(runs: Sequence[dict[str, Any]], step: float) -> str:
    """Return the last gain of each run up to a step."""
    last = [[gain for at, gain in one["restoration_gain"] if 0 < at <= step][-1:] for one in runs]
    return _each(gain[0] if gain else None for gain in last)


def _each(numbers: Iterable[float | None]) -> str:
    return ", ".join("–" if number is None else f"{number:.3f}" for number in numbers)


def rate_table(rates: Sequence[dict[str, Any]], study: Study) -> Iterator[str]:
    """Yield the table of learning rates with their scores on val."""
    if not rates:
        yield f"{study.protocol.rates[0]:g} for all: the only one in the protocol."
        return
    names = sorted({name for one in rates for name in one["val"]}, key=float)
    yield "| task | initialisation | " + " | ".join(f"val at {name}" for name in names) + " | chosen |"
    yield "| --- | --- |" + " ---: |" * (len(names) + 1)
    for one in rates:
        cells = [_tuned(one["val"], name) for name in names]
        yield f"| {one['task']} | {one['arm']} | {' | '.join(cells)} | {one['chosen']:g} |"


def _tuned(scores: dict[str, float | None], name: str) -> str:
    score = scores.get(name)
    return f"{score:.3f}" if score is not None else "diverged" if name in scores else "–"
