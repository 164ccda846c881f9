"""The config.json of a run, and what it says about the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch

from ...output.files import write_json
from ..checkpoint import CHECKPOINT
from ..device import device_name
from .versions import commit, versions

WORDS = {"init": ("random",), "encoder_weights": ("random", "imagenet")}
"""Values that are not paths, of settings that may also be paths."""


def plain(config: Any) -> dict[str, Any]:
    """Return the settings as JSON values with absolute paths, without `resume`.

    Parameters
    ----------
    config : dataclass instance
    """
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config), default=lambda path: str(path.absolute())))
    for name, words in WORDS.items():
        if settings.get(name, "random") not in words:
            settings[name] = str(Path(settings[name]).absolute())
    return {name: value for name, value in settings.items() if name != "resume"}


def defaults_of(config: Any) -> dict[str, Any]:
    """Return the defaults of settings as JSON values, for runs of versions without these settings.

    Parameters
    ----------
    config : dataclass instance
    """
    known = {setting.name: setting.default for setting in fields(config) if setting.default is not MISSING}
    defaults: dict[str, Any] = json.loads(json.dumps(known, default=str))
    return defaults


def holds_run(out: Path) -> bool:
    """Whether a folder has a run with a checkpoint or a report; an earlier state can be overwritten."""
    return any((out / name).exists() for name in (CHECKPOINT, "report.json"))


def kind_of(about: Mapping[str, Any]) -> str:
    """Return the kind of run of a config.json: pretrain, segment, classify or localize."""
    return str(about["network"]["task"]["name"]) if "task" in about["network"] else "pretrain"


def last_step_learns(earlier: Mapping[str, Any] | None) -> bool:
    """Whether the last step has a learning rate above 0; runs started by version 0.1.0 keep their schedule."""
    return earlier is None or bool(earlier.get("last_step_learns"))


def list_changes(earlier: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the changed settings of each resume: old and new value by name."""
    if earlier is None:
        return []
    was = earlier["config"]
    changed = {name: [was.get(name), now[name]] for name in now if was.get(name) != now[name]}
    return [*earlier["changes"], *([changed] if changed else [])]


def write_config(config: Any, device: torch.device, earlier: dict[str, Any] | None, found: Mapping[str, Any]) -> None:
    """Create the folder and write config.json: settings, results of the preparation, versions and device.

    Parameters
    ----------
    config : dataclass instance
    device : torch.device
    earlier : dict, optional
        The config.json of the run to resume.
    found : mapping
        Further entries, from the preparation of the run.
    """
    now = plain(config)
    config.out.mkdir(parents=True, exist_ok=True)
    content = {
        "config": now,
        "changes": list_changes(earlier, now),
        "last_step_learns": last_step_learns(earlier),
        **found,
        "versions": versions(),
        "commit": commit(),
        "device": {"type": device.type, "name": device_name(device), "torch_threads": torch.get_num_threads()},
    }
    write_json(config.out / "config.json", content)


def finished_report(out: Path, steps: int) -> dict[str, Any] | None:
    """Return the report of a run with at least `steps` steps; None otherwise."""
    path = out / "report.json"
    if not path.exists():
        return None
    report: dict[str, Any] = json.loads(path.read_text())
    return report if report["steps"] >= steps else None
