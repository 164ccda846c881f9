"""Figure of a study: score over labelled cases, or score of each initialisation for a single label budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...output.figure import write_figure
from ..declared import Study, lower_is_better
from ..effects import Group
from ..probe.frozen import Frozen
from ..runs import arms_of
from .results import Results


def draw_scores(path: Path, results: Results) -> None:
    """Draw a column of panels per task, a row per length, a line per initialisation; error bars are one std.

    Linear probes are the last row of panels.
    """
    study = results.study
    rows = max(len(study.steps(task)) for task in study.tasks)
    probed = bool(results.frozen)
    shape = rows + probed, len(study.tasks)
    # The legend of linear probes has long names.
    figure = Figure(figsize=(3.6 * shape[1] + (3.2 if probed else 1.6), 2.8 * shape[0]), layout="constrained")
    panels = figure.subplots(*shape, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for column, task in enumerate(study.tasks):
        for panel, length in zip(panels[:, column], study.steps(task), strict=False):
            panel.set_axis_on()
            draw = _draw_panel if len(study.budgets(task)) > 1 else _draw_initialisations
            draw(panel, study, [g for g in results.groups if (g.task, g.length) == (task, length)])
        if own := [one for one in results.frozen if one.task == task]:
            panels[-1, column].set_axis_on()
            _draw_frozen(panels[-1, column], study, own)
    found = {line.get_label(): line for panel in panels.flat for line in panel.containers}
    if found:
        figure.legend(list(found.values()), list(found), loc="outside right upper", fontsize=8)
    # No date and no random element names: equal numbers give equal files.
    with matplotlib.rc_context({"svg.hashsalt": study.name}):
        write_figure(figure, path, metadata={"Date": None})


def _draw_frozen(panel: Axes, study: Study, frozen: Sequence[Frozen]) -> None:
    """Draw the accuracy of linear probes over the label budget; baselines are dashed."""
    names = list(dict.fromkeys(one.init for one in frozen))
    for number, name in enumerate(names):
        own = [one for one in frozen if one.init == name]
        baseline = not own[0].pretrain_seeds
        untrained = not baseline and study.inits[name].pretrain is None
        panel.errorbar(
            [one.budget * _shift(number, len(names)) for one in own],
            [float(one.accuracies.mean()) for one in own],
            [float(one.accuracies.std(1).mean()) for one in own],
            label=f"{name} (probe)",
            color="grey" if baseline else "black" if untrained else f"C{number}",
            linestyle="--" if baseline else "-",
            marker="o",
            markersize=3,
            linewidth=1,
            capsize=2,
        )
    _set_counts(panel, sorted({one.budget for one in frozen}))
    panel.set_title(f"{frozen[0].task}, linear probe\nof the frozen encoder", fontsize=9)
    panel.set_ylabel("accuracy (higher is better)", fontsize=8)
    panel.tick_params(labelsize=7)


def _shift(number: int, count: int) -> float:
    """Return the factor that shifts a line slightly, so that error bars do not hide each other."""
    return float(1.03 ** (number - (count - 1) / 2))


def _set_counts(panel: Axes, counts: Sequence[int]) -> None:
    """Set up the axis of the numbers of labelled cases."""
    panel.set_xscale("log")
    panel.set_xticks(counts, [str(count) for count in counts])
    panel.minorticks_off()
    panel.set_xlabel("labelled cases", fontsize=8)


def _draw_panel(panel: Axes, study: Study, groups: Sequence[Group]) -> None:
    task, length = groups[0].task, groups[0].length
    arms, metric = arms_of(study, task), study.metric(task)
    for number, arm in enumerate(arms):
        own = sorted((group for group in groups if group.arm == arm), key=lambda group: group.cases)
        panel.errorbar(
            [group.cases * _shift(number, len(arms)) for group in own],
            [group.mean for group in own],
            [group.std or 0.0 for group in own],
            label=arm.label,
            color="black" if arm.transfer is None else f"C{number}",
            marker="o",
            markersize=3,
            linewidth=1,
            capsize=2,
        )
    _set_counts(panel, sorted({group.cases for group in groups}))
    arrow = "lower" if lower_is_better(metric) else "higher"
    panel.set_title(f"{task}, {length} ({groups[0].runs[0].options['steps']} steps)", fontsize=9)
    panel.set_ylabel(f"{metric} ({arrow} is better)", fontsize=8)
    panel.tick_params(labelsize=7)


def _draw_initialisations(panel: Axes, study: Study, groups: Sequence[Group]) -> None:
    """Draw a row per initialisation: a dot per run, a bar for their mean, a vertical line at random weights' mean."""
    task, length = groups[0].task, groups[0].length
    for row, group in enumerate(groups):
        colour = "black" if group.arm.transfer is None else f"C{row % 10}"
        panel.plot(group.means, [row] * len(group.means), "o", color=colour, markersize=3, alpha=0.6)
        panel.plot(group.mean, row, "|", color=colour, markersize=14, markeredgewidth=2)
        if group.arm.transfer is None:
            panel.axvline(group.mean, color="black", linewidth=0.6, linestyle=":")
    panel.set_yticks(range(len(groups)), [group.arm.label for group in groups], fontsize=7)
    panel.invert_yaxis()
    metric = study.metric(task)
    arrow = "lower" if lower_is_better(metric) else "higher"
    steps = groups[0].runs[0].options["steps"]
    panel.set_title(f"{task}, {length} ({steps} steps),\n{groups[0].cases} labelled cases", fontsize=9)
    panel.set_xlabel(f"{metric} ({arrow} is better)", fontsize=8)
    panel.tick_params(axis="x", labelsize=7)
