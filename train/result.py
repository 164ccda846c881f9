"""Save the results of a finished run: its numbers as JSON and its curves as a picture.

::

    python -m train.result runs/first --out train/results/first

writes ``first.json`` and ``first.png``. The JSON has the command, settings, versions, commit, device and all
measurements; paths are reduced to folder names. For a fine-tuning run it also has the scores by class and over cases
with standard deviations or intervals, the score of a baseline that ignores the image, and the pre-training run that it
was initialised from.
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
from dali_cr.system.interrupt import Outputs
from dali_cr.system.owner import own_file

from .output.files import write_json
from .report.curves import draw_classes, draw_finetuning, draw_pretraining, draw_views
from .report.invocation import PATHS, command_of, public_path
from .report.keys import current_names
from .report.summary import summarise
from .run.folder.config_file import WORDS, kind_of
from .start.command import read_arguments, refuse_several, stopped
from .start.interrupt import raise_interrupts

_PLACES = ("out", "index")
"""Settings that depend on the machine only and are not saved."""

_MEASURED = ("steps", "encoder_weights", "restoration_gain", "accuracy", "chance")
"""Entries of the report of a pre-training run that its fine-tuning runs quote."""

_BASELINE = {f"baseline_{name}": name for name in ("face_mm", "f1", "accuracy")}
"""Entries of a report with the score of a baseline: the mean box or the most frequent class of the training cases."""


@dataclass(frozen=True, kw_only=True)
class ResultConfig:
    """Save the results of a finished run as JSON and a picture."""

    run: tyro.conf.Positional[Path]
    """Data: folder of a pre-training or fine-tuning run."""
    out: Path
    """Output: path of the files, without a suffix."""


def read_run(folder: Path) -> dict[str, Any]:
    """Return the results of a finished run.

    Raises
    ------
    ValueError
        If the folder, or that of the run's initialisation, holds no finished run.
    """
    about, report = _read_finished(folder)
    result = {
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
            rows = [current_names(row) for row in csv.DictReader(file)]
        result["scores"] = {**report["scored"], **summarise(kind_of(about), rows, about["network"]["task"]["classes"])}
        if baseline := {name: report[key] for key, name in _BASELINE.items() if key in report}:
            result["baseline"] = baseline
        result["pretraining"] = _read_pretraining(about)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {**result, "measurements": [current_names(json.loads(line)) for line in lines]}


def _read_finished(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config.json and report.json of a finished run."""
    missing = [name for name in ("config.json", "metrics.jsonl", "report.json") if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"run: expected the folder of a finished run, {folder} lacks {', '.join(missing)}")
    about: dict[str, Any] = json.loads((folder / "config.json").read_text())
    report: dict[str, Any] = current_names(json.loads((folder / "report.json").read_text()))
    if kind_of(about) != "pretrain" and not (folder / "scores.csv").is_file():
        raise ValueError(f"run: expected the folder of a finished run, {folder} lacks scores.csv")
    # A finished run that was resumed for more steps still has the report of fewer steps.
    wanted = about["config"].get("steps") or 0
    if report["steps"] < wanted:
        raise ValueError(
            f"run: expected a finished run, {folder} has a report of {report['steps']} of {wanted} steps; "
            "continue it with --resume"
        )
    return about, report


def _read_pretraining(finetuned: dict[str, Any]) -> dict[str, Any] | None:
    """Return the entry for the weights that a run was initialised from; None for random weights."""
    init, known = finetuned["config"]["init"], finetuned["network"].get("init")
    if init == "random":
        return None
    if isinstance(known, dict) and "file" in known:
        return {"file": known["file"], "sha256": known["sha256"]}
    about, report = _read_finished(Path(init))
    shown: dict[str, Any] = {name: report[name] for name in _MEASURED if name in report}
    return {
        "command": command_of(about, public_path),
        "commit": about["commit"],
        **shown,
        "seconds": _seconds(about, report),
    }


def _seconds(about: dict[str, Any], report: dict[str, Any]) -> float | None:
    """Return the wall time of the training steps, without evaluation."""
    rate = report.get("samples_per_s")
    config = about["config"]
    samples = report["steps"] * config["batch_size"] * config.get("accumulate", 1)
    return round(samples / rate, 1) if rate else None


def _public_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without machine-dependent ones, with paths reduced to names."""
    found = {name: value for name, value in settings.items() if name not in _PLACES}
    for name in PATHS & found.keys():
        value = found[name]
        if isinstance(value, list):
            found[name] = [public_path(path) for path in value]
        elif value is not None and value not in WORDS.get(name, ()):
            found[name] = public_path(value)
    return found


def _with(out: Path, suffix: str) -> Path:
    """Return the output path with a suffix; other dots in the name, as in lr0.001, are kept."""
    name = out.name.removesuffix(".json").removesuffix(".png")
    return out.with_name(name + suffix)


def main(config: ResultConfig) -> int:
    """Read the run, write the files and return the exit code."""
    print_anything()
    raise_interrupts()
    outputs = Outputs()
    try:
        refuse_several()
        outputs.add(_with(config.out, ".json"), _with(config.out, ".png"))
        with own_file(_with(config.out, ".json")):
            result = read_run(config.run)
            draw = draw_finetuning if "scores" in result else draw_pretraining
            if result["settings"].get("recipe") == "pcrlv2":
                draw = draw_views
            elif "chance" in result["report"]:
                draw = draw_classes
            write_json(_with(config.out, ".json"), result)
            draw(result, _with(config.out, ".png"))
            print(_with(config.out, ".json"), _with(config.out, ".png"), sep="\n")
    except (ValueError, OSError) as error:
        print(f"result: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        return stopped("result", stop, outputs)
    return 0


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    return main(read_arguments(ResultConfig, "result", arguments))


if __name__ == "__main__":
    sys.exit(command_line())
