"""Folder of a run: config.json, and checks before a run is started or resumed in it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import dali_cr
from dali_cr.system.owner import entries

from ..output.files import write_json
from .checkpoint import CHECKPOINT
from .device import device_name

_EARLY = {"config.json", "index.json", "splits.json", "metrics.jsonl"}
"""Files that a run writes before its first checkpoint, besides TensorBoard events."""

WORDS = {"init": ("random",), "encoder_weights": ("random", "imagenet")}
"""Values that are not paths, of settings that may also be paths."""


def _is_early(name: str) -> bool:
    return name in _EARLY or name.startswith("events.out.tfevents")


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


def earlier_run(
    out: Path,
    resume: bool,
    kind: str,
    now: dict[str, Any],
    fixed: Sequence[str],
    *,
    defaults: Mapping[str, Any] | None = None,
    started: bool = False,
) -> dict[str, Any] | None:
    """Return the config.json of the run to resume, after checking that it can be resumed.

    Parameters
    ----------
    out : Path
        Folder of the run.
    resume : bool
        Whether to resume a run in it.
    kind : str
        Requested kind of run: pretrain, or a task.
    now : dict
        The new settings, from `plain`.
    fixed : sequence of str
        Settings that must not change.
    defaults : mapping, optional
        From `defaults_of`: values of settings that the version of the earlier run did not have.
    started : bool
        Whether another process of the same run wrote the content of the folder.

    Returns
    -------
    earlier : dict or None
        None for a new run, also if a run ended before its first checkpoint.

    Raises
    ------
    ValueError
        If the folder has other content, a run without `resume`, or a run with other settings or from another version of
        this package.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: expected a folder, {out} is a file")
    held = entries(out)
    if not held:
        return None
    if not (started or holds_run(out)) and ("config.json" in held if resume else all(map(_is_early, held))):
        return None
    if not resume:
        raise ValueError(
            f"out: expected a new or empty folder, {out} holds {held[0]}; use --resume to continue a run in it"
        )
    if "config.json" not in held:
        raise ValueError(f"out: expected the folder of a run to resume, {out} has no config.json; give another folder")
    earlier: dict[str, Any] = json.loads((out / "config.json").read_text())
    was, version = earlier["config"], earlier["versions"]["dali-cr"]
    if kind_of(earlier) != kind:
        raise ValueError(f"resume: expected a {kind} run in {out}, a {kind_of(earlier)} run is there")
    if version != dali_cr.__version__ and not now.get("any_version"):
        raise ValueError(
            f"resume: expected dali-cr {version}, which made the run in {out}, got {dali_cr.__version__}, whose "
            "samples may differ. Install that version, or give --any-version to continue anyway"
        )
    was = {**(defaults or {}), **was}
    differ = "; ".join(
        f"--{name.replace('_', '-')} was {_shown(was[name])}, got {_shown(now[name])}"
        for name in (*fixed, *_exchanged(was, now))
        if name in was and _current(name, was[name]) != _current(name, now[name])
    )
    if differ:
        raise ValueError(
            f"resume: expected the settings of the run in {out}: {differ}. Give another --out to start a new run"
        )
    return earlier


def _exchanged(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return "init" if one of two runs is from random weights and the other is not; the path alone may change."""
    before, after = (settings.get("init", "random") == "random" for settings in (was, now))
    return ["init"] * (before != after)


def _shown(value: Any) -> str:
    """Return a setting's value as on a command line."""
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    if value is None:
        return "not set"
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


_OF_A_START = ("out", "any_version", "steps", "device", "threads", "cache")
"""Settings whose changes do not matter for a finished run."""


def unused_changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting of a finished run that was given another value, which has no effect."""
    differ = [name for name in now if name not in _OF_A_START and was.get(name, now[name]) != now[name]]
    return [
        f"--{name.replace('_', '-')} {_shown(now[name])}: the run was made with {_shown(was[name])}" for name in differ
    ]


def _current(name: str, value: Any) -> Any:
    """Return the current name of a setting's value: version 0.1.0 called the part train pool."""
    return "train" if (name, value) == ("part", "pool") else value


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


def describe_changes(kept: Path, index: dali_cr.Index) -> str:
    """Describe how the cases of an index differ from those of the index file `kept`."""
    if not kept.exists():
        return "got other data"
    before = {case.name: case for case in dali_cr.Index.load(kept).cases}
    now = {case.name: case for case in index.cases}
    for text, names in (("is gone", before.keys() - now.keys()), ("is new", now.keys() - before.keys())):
        if names:
            return f"of {len(before)} cases; got {len(now)}, {min(names)} {text}"
    contents = {name: [volume.sha256 for volume in case.volumes] for name, case in before.items()}
    other = [name for name, case in now.items() if contents[name] != [volume.sha256 for volume in case.volumes]]
    return f"of {len(before)} cases; got as many, {min(other, default='some')} with other content"


_PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "isal",
    "nvidia-dali-cuda120",
    "nvidia-dali-cuda130",
    "cupy-cuda12x",
    "cupy-cuda13x",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the installed packages that affect results."""
    found = {"python": platform.python_version(), "dali-cr": dali_cr.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the git commit of this file, with "-dirty" if there are changes; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    ask = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(ask, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
