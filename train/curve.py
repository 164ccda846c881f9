"""Keep what a run showed: its numbers as JSON and its curve as a picture.

::

    python -m train.curve runs/first --out train/results/first

writes ``first.json`` (settings, versions, commit, device, every measurement; of the data only the folders' names) and
``first.png`` (restoration gain on held-out cases, and the training loss against that of doing nothing).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from matplotlib.figure import Figure

from train.checkpoint import write_json

_PLACES = ("out", "index")
"""Settings that say something about a machine and nothing about the result."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Keep what a finished run showed."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path
    """Where to write, without a suffix."""


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a finished run's folder tells.

    Raises
    ------
    ValueError
        If it holds no finished run.
    """
    missing = [name for name in ("config.json", "metrics.jsonl", "report.json") if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"run: wanted the folder of a finished run, {folder} lacks {', '.join(missing)}")
    about = json.loads((folder / "config.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    settings = {name: value for name, value in about["config"].items() if name not in _PLACES}
    settings["data"] = [
        Path(name).name if Path(name).name != "images" else "/".join(Path(name).parts[-2:]) for name in settings["data"]
    ]
    return {
        "settings": settings,
        "network": about["network"],
        "versions": about["versions"],
        "commit": about["commit"],
        "device": about["device"],
        "report": {
            name: value for name, value in json.loads((folder / "report.json").read_text()).items() if name != "run"
        },
        "measurements": lines,
    }


def draw_curve(story: dict[str, Any], out: Path) -> None:
    """Draw the gain on held-out cases, and the training loss beside that of returning the input."""
    lines = story["measurements"]
    figure = Figure(figsize=(8, 3), layout="constrained")
    gain, loss = figure.subplots(1, 2)
    measured = [(line["step"], line["restoration_gain"]) for line in lines if line.get("restoration_gain") is not None]
    gain.plot(*zip(*measured, strict=True), marker="o", markersize=3)
    gain.axhline(0, color="0.7", linewidth=1)
    gain.set(xlabel="step", ylabel="restoration gain, held-out cases", ylim=(-0.2, 1))
    for name, label in (("loss", "restored"), ("loss_of_idling", "disordered")):
        points = [(line["step"], line[name]) for line in lines if name in line]
        loss.plot(*zip(*points, strict=True), label=label)
    loss.set(xlabel="step", ylabel="mean squared error, training", yscale="log")
    loss.legend()
    figure.savefig(out, dpi=110)


def main(config: Config) -> int:
    """Read, write, and return the exit code."""
    try:
        story = read_run(config.run)
    except ValueError as error:
        print(f"curve: {error}", file=sys.stderr)
        return 2
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(config.out.with_suffix(".json"), story)
    draw_curve(story, config.out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, prog="python -m train.curve")))
