"""The curves of a kept run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..output.figure import write_figure

_SCORES = {
    "dice": "Dice",
    "wall_mm": "wall error, mm",
    "f1": "F1, mean over classes",
}
"""From the leading score of a task to what the axis is called."""


def draw_pretraining(story: Mapping[str, Any], out: Path) -> None:
    """Draw the gain on held-out cases, of masked ones R², and the training loss beside that of returning the input."""
    lines = story["measurements"]
    figure, (gain, loss) = _two_axes()
    masked = any(line.get("r2") is not None for line in lines)
    name, label = ("r2", "R² of masked foreground") if masked else ("restoration_gain", "restoration gain")
    measured = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    gain.plot(*zip(*measured, strict=True), marker="o", markersize=3)
    gain.axhline(0, color="0.7", linewidth=1)
    gain.set(xlabel="step", ylabel=f"{label}, held-out cases", ylim=(-0.2, 1))
    for name, label in (("loss", "restored"), ("loss_of_idling", "input")):
        points = [(line["step"], line[name]) for line in lines if name in line]
        loss.plot(*zip(*points, strict=True), label=label)
    loss.set(xlabel="step", ylabel="mean squared error, training", yscale="log")
    loss.legend()
    write_figure(figure, out, dpi=110)


def draw_finetuning(story: Mapping[str, Any], out: Path) -> None:
    """Draw the score on val while training, the test score, what is scored without looking, and the training loss."""
    lines = story["measurements"]
    figure, (score, loss) = _two_axes()
    name = next(name for name in _SCORES if name in story["scores"]["over_cases"])
    measured = [(line["step"], line[f"val_{name}"]) for line in lines if line.get(f"val_{name}") is not None]
    if measured:
        score.plot(*zip(*measured, strict=True), marker="o", markersize=3, label="val")
    reached = story["scores"]["over_cases"][name]["mean"]
    part = story["scores"]["part"]
    score.plot([story["report"]["steps"]], [reached], marker="D", linestyle="", label=f"{part}, last weights")
    if name in (guess := story.get("without_looking", {})):
        score.axhline(guess[name], color="0.6", linestyle="--", label=f"{part}, without looking")
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
    "comparison": "comparison",
    "comparison_of_locals": "comparison of local views",
}
"""From a term of the loss to what it is called."""

_SOUND = 0.5
"""Of a spread: 1 is as far as it goes, 0 a collapse."""


def draw_views(story: Mapping[str, Any], out: Path) -> None:
    """Draw what held-out views showed: the gain, and the spread of the projections; and the terms of the loss."""
    lines = story["measurements"]
    figure = Figure(figsize=(11, 3), layout="constrained")
    gain, spread, terms = figure.subplots(1, 3)
    for axis, name in ((gain, "restoration_gain"), (spread, "spread")):
        measured = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        axis.plot(*zip(*measured, strict=True), marker="o", markersize=3)
        axis.set(xlabel="step")
    gain.axhline(0, color="0.7", linewidth=1)
    gain.set(ylabel="restoration gain, held-out cases", ylim=(None, 1))
    spread.axhline(_SOUND, color="0.7", linewidth=1)
    spread.set(ylabel="least spread, held-out cases", ylim=(0, 1.05))
    for name, label in _TERMS.items():
        points = [(line["step"], line[name]) for line in lines if name in line]
        terms.plot(*zip(*points, strict=True), label=label, linewidth=1)
    terms.set(xlabel="step", ylabel="terms of the loss, training")
    terms.legend(fontsize=7)
    write_figure(figure, out, dpi=110)
