"""Figures of a run's curves: losses and metrics over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..output.figure import write_figure

_SCORES = {
    "dice": "Dice",
    "face_mm": "error of box faces, mm",
    "f1": "F1, mean over classes",
}
"""Axis label of each task's main score."""


def draw_pretraining(result: Mapping[str, Any], out: Path) -> None:
    """Draw the restoration gain on held-out cases, or R² if masked, and the training loss with that of the input."""
    lines = result["measurements"]
    figure, (gain, loss) = _two_axes()
    name, label = ("restoration_gain", "restoration gain, held-out cases")
    if any(line.get("r2") is not None for line in lines):
        name, label = "r2", "R², masked foreground, held out"
    measured = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    gain.plot(*zip(*measured, strict=True), marker="o", markersize=3)
    gain.axhline(0, color="0.7", linewidth=1)
    gain.set(xlabel="step", ylabel=label, ylim=(-0.2, 1))
    for name, label in (("loss", "restored"), ("identity_loss", "input")):
        points = [(line["step"], line[name]) for line in lines if name in line]
        loss.plot(*zip(*points, strict=True), label=label)
    loss.set(xlabel="step", ylabel="mean squared error, training", yscale="log")
    loss.legend()
    write_figure(figure, out, dpi=110)


def draw_classes(result: Mapping[str, Any], out: Path) -> None:
    """Draw accuracy and cross-entropy of tiles on held-out cases, their values at chance, and the training loss."""
    lines, chance = result["measurements"], result["report"]["chance"]
    figure, (accuracy, loss) = _two_axes()
    for axis, name in ((accuracy, "accuracy"), (loss, "cross_entropy")):
        measured = [(line["step"], line[name]) for line in lines if "chance" in line]
        axis.plot(*zip(*measured, strict=True), marker="o", markersize=3, label="held-out cases")
        axis.set(xlabel="step", ylabel=name.replace("_", "-"))
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    loss.plot(*zip(*points, strict=True), label="training", zorder=1)
    accuracy.axhline(chance, color="0.6", linestyle="--", label="chance")
    loss.axhline(-math.log(chance), color="0.6", linestyle="--", label="chance")
    accuracy.set(ylim=(0, 1))
    for axis in (accuracy, loss):
        axis.legend()
    write_figure(figure, out, dpi=110)


def draw_finetuning(result: Mapping[str, Any], out: Path) -> None:
    """Draw the score on val over steps, the final score, the score of the baseline, and the training loss."""
    lines = result["measurements"]
    figure, (score, loss) = _two_axes()
    name = next(name for name in _SCORES if name in result["scores"]["over_cases"])
    measured = [(line["step"], line[f"val_{name}"]) for line in lines if line.get(f"val_{name}") is not None]
    if measured:
        score.plot(*zip(*measured, strict=True), marker="o", markersize=3, label="val")
    reached = result["scores"]["over_cases"][name]["mean"]
    part = result["scores"]["part"]
    score.plot([result["report"]["steps"]], [reached], marker="D", linestyle="", label=f"{part}, last weights")
    if name in (baseline := result.get("baseline", {})):
        score.axhline(baseline[name], color="0.6", linestyle="--", label=f"{part}, baseline")
    score.set(xlabel="step", ylabel=_SCORES[name], xlim=(0, None))
    score.legend()
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    loss.plot(*zip(*points, strict=True))
    loss.set(xlabel="step", ylabel="training loss", yscale="log")
    write_figure(figure, out, dpi=110)


def _two_axes() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


_TERMS = {
    "restoration": "restoration",
    "restoration_of_level": "restoration of a level",
    "contrastive": "contrastive",
    "contrastive_local": "contrastive, local views",
}
"""Legend label of each term of the loss."""

_SOUND = 0.5
"""Collapse metric above which projections are considered sound (1 is the maximum, 0 is a collapse)."""


def draw_views(result: Mapping[str, Any], out: Path) -> None:
    """Draw the restoration gain and the collapse metric on held-out views, and the terms of the training loss."""
    lines = result["measurements"]
    figure = Figure(figsize=(11, 3), layout="constrained")
    gain, collapse, terms = figure.subplots(1, 3)
    for axis, name in ((gain, "restoration_gain"), (collapse, "collapse_metric")):
        measured = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        axis.plot(*zip(*measured, strict=True), marker="o", markersize=3)
        axis.set(xlabel="step")
    gain.axhline(0, color="0.7", linewidth=1)
    gain.set(ylabel="restoration gain, held-out cases", ylim=(None, 1))
    collapse.axhline(_SOUND, color="0.7", linewidth=1)
    collapse.set(ylabel="minimum collapse metric, held-out cases", ylim=(0, 1.05))
    for name, label in _TERMS.items():
        points = [(line["step"], line[name]) for line in lines if name in line]
        terms.plot(*zip(*points, strict=True), label=label, linewidth=1)
    terms.set(xlabel="step", ylabel="terms of the loss, training")
    terms.legend(fontsize=7)
    write_figure(figure, out, dpi=110)
