"""The curves of a kept run of PCRLv2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

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
    figure.savefig(out, dpi=110)
