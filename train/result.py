"""Keep what a run showed: its numbers as JSON and its curve as a picture.

::

    python -m train.result runs/first --out train/results/first

writes ``first.json`` (the command, settings, versions, commit, device, every measurement; of the data only the folders'
names) and ``first.png``. Of a fine-tuning run the file also has its scores, by class and over cases with their spread,
beside what would be scored without looking at the images, and the pre-training run that it began with.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("result")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from dali_cr.system.console import print_anything
from dali_cr.system.owner import own_file

from .output.files import write_json
from .report.curves import draw_finetuning, draw_pretraining, draw_views
from .report.invocation import PATHS, command_of, public_path
from .report.summary import summarise
from .run.folder import kind_of
from .start.command import read_arguments, refuse_several
from .start.interrupt import EXIT_CODE, STARTS_AGAIN, raise_interrupts

_PLACES = ("out", "index")
"""Settings that say something about a machine and nothing about the result."""

_GUESS = {"guess_wall_mm": "wall_mm", "guess_f1": "f1", "guess_accuracy": "accuracy"}
"""Of a report, what would be scored without looking: by the mean box or the most frequent class of the pool."""


@dataclass(frozen=True, kw_only=True)
class ResultConfig:
    """Keep what a finished run showed."""

    run: tyro.conf.Positional[Path]
    """The run's folder, of pre-training or fine-tuning."""
    out: Path
    """Where to write, without a suffix."""


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a finished run's folder tells.

    Raises
    ------
    ValueError
        If it holds no finished run, or names one to begin with that is not there.
    """
    about, report = _read_finished(folder)
    story = {
        "command": command_of(about, public_path),
        "settings": _public_settings(about["config"]),
        "network": about["network"],
        "changes": [
            {name: values for name, values in change.items() if name not in PATHS}
            for change in about.get("changes", [])
        ],
        **{name: about[name] for name in ("versions", "commit", "device")},
        "report": _public_settings({name: value for name, value in report.items() if name != "run"}),
        "seconds": _seconds(about, report),
    }
    if kind_of(about) != "pretrain":
        with open(folder / "scores.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        story["scores"] = {**report["scored"], **summarise(kind_of(about), rows, about["network"]["task"]["classes"])}
        if guess := {name: report[key] for key, name in _GUESS.items() if key in report}:
            story["without_looking"] = guess
        story["pretraining"] = _read_pretraining(about)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {**story, "measurements": [json.loads(line) for line in lines]}


def _read_finished(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config.json and report.json of a finished run."""
    missing = [name for name in ("config.json", "metrics.jsonl", "report.json") if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"run: expected the folder of a finished run, {folder} lacks {', '.join(missing)}")
    about: dict[str, Any] = json.loads((folder / "config.json").read_text())
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    if kind_of(about) != "pretrain" and not (folder / "scores.csv").is_file():
        raise ValueError(f"run: expected the folder of a finished run, {folder} lacks scores.csv")
    # A finished run that was taken up again for more steps has the report of the fewer.
    wanted = about["config"].get("steps") or 0
    if report["steps"] < wanted:
        raise ValueError(
            f"run: expected a finished run, {folder} has a report of {report['steps']} of {wanted} steps; "
            "continue it with --resume"
        )
    return about, report


def _read_pretraining(finetuned: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is kept of the weights that a fine-tuning run began with; None where they were random."""
    init, known = finetuned["config"]["init"], finetuned["network"].get("init")
    if init == "random":
        return None
    if isinstance(known, dict) and "file" in known:
        return {"file": known["file"], "sha256": known["sha256"]}
    about, report = _read_finished(Path(init))
    told: dict[str, Any] = {name: report[name] for name in ("steps", "restoration_gain") if name in report}
    return {
        "command": command_of(about, public_path),
        "commit": about["commit"],
        **told,
        "seconds": _seconds(about, report),
    }


def _seconds(about: dict[str, Any], report: dict[str, Any]) -> float | None:
    """Return the wall time of the training steps, without measuring and scoring."""
    rate = report.get("pairs_per_s")
    return round(report["steps"] * about["config"]["batch_size"] / rate, 1) if rate else None


def _public_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings, of their paths what they do not say about a machine."""
    found = {name: value for name, value in settings.items() if name not in _PLACES}
    for name in PATHS & found.keys():
        value = found[name]
        if isinstance(value, list):
            found[name] = [public_path(path) for path in value]
        elif value is not None and value != "random":
            found[name] = public_path(value)
    return found


def _with(out: Path, suffix: str) -> Path:
    """Return the file that a name and a suffix make; a dot in the name, as in lr0.001, belongs to it."""
    name = out.name.removesuffix(".json").removesuffix(".png")
    return out.with_name(name + suffix)


def main(config: ResultConfig) -> int:
    """Read, write, and return the exit code."""
    print_anything()
    raise_interrupts()
    try:
        refuse_several()
        with own_file(_with(config.out, ".json")):
            story = read_run(config.run)
            draw = draw_finetuning if "scores" in story else draw_pretraining
            if story["settings"].get("recipe") == "pcrlv2":
                draw = draw_views
            write_json(_with(config.out, ".json"), story)
            draw(story, _with(config.out, ".png"))
            print(_with(config.out, ".json"), _with(config.out, ".png"), sep="\n")
    except (ValueError, OSError) as error:
        print(f"result: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"result: {STARTS_AGAIN}", file=sys.stderr)
        return EXIT_CODE
    return 0


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    return main(read_arguments(ResultConfig, "result", arguments))


if __name__ == "__main__":
    sys.exit(command_line())
