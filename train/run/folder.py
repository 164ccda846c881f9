"""The folder of a run: what may be started or resumed in it, and what its config.json remembers."""

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
"""What a run writes before its first checkpoint, beside its events."""


def _is_early(name: str) -> bool:
    return name in _EARLY or name.startswith("events.out.tfevents")


def plain(config: Any) -> dict[str, Any]:
    """Return the settings as JSON values, paths absolute, without what is no setting: whether to resume.

    Parameters
    ----------
    config : dataclass instance
    """
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config), default=lambda path: str(path.absolute())))
    if settings.get("init", "random") != "random":
        settings["init"] = str(Path(settings["init"]).absolute())
    return {name: value for name, value in settings.items() if name != "resume"}


def defaults_of(config: Any) -> dict[str, Any]:
    """Return the defaults of settings as JSON values, those that a run had which a version without them began.

    Parameters
    ----------
    config : dataclass instance
    """
    known = {setting.name: setting.default for setting in fields(config) if setting.default is not MISSING}
    defaults: dict[str, Any] = json.loads(json.dumps(known, default=str))
    return defaults


def holds_run(out: Path) -> bool:
    """Whether a run in a folder came as far as a checkpoint, or to its end: before that, nothing of it is lost."""
    return any((out / name).exists() for name in (CHECKPOINT, "report.json"))


def earlier_run(
    out: Path,
    resume: bool,
    kind: str,
    now: dict[str, Any],
    fixed: Sequence[str],
    *,
    defaults: Mapping[str, Any] | None = None,
    begun: bool = False,
) -> dict[str, Any] | None:
    """Return the config.json of the run to go on with.

    Parameters
    ----------
    out : Path
        The folder.
    resume : bool
        Whether it may hold a run.
    kind : str
        What kind of run was asked for: pretrain, or a task.
    now : dict
        The settings asked for, from `plain`.
    fixed : sequence of str
        Those that must be the same as before.
    defaults : mapping, optional
        From `defaults_of`: what the run had of settings that the version which began it did not know.
    begun : bool
        Whether another process of this very run wrote what is there.

    Returns
    -------
    earlier : dict or None
        None for a new run, also where one was ended before its first checkpoint.

    Raises
    ------
    ValueError
        If the folder holds something else, or a run that is not to be resumed, or one with other settings or made by
        another version of this package.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: expected a folder, {out} is a file")
    held = entries(out)
    if not held:
        return None
    if not (begun or holds_run(out)) and ("config.json" in held if resume else all(map(_is_early, held))):
        return None
    if not resume:
        raise ValueError(
            f"out: expected a new or empty folder, {out} holds {held[0]}; --resume goes on with a run in it"
        )
    if "config.json" not in held:
        raise ValueError(f"out: expected the folder of a run to resume, {out} has no config.json; give another folder")
    earlier: dict[str, Any] = json.loads((out / "config.json").read_text())
    was, version = earlier["config"], earlier["versions"]["dali-cr"]
    if kind_of(earlier) != kind:
        raise ValueError(f"resume: expected a {kind} run in {out}, a {kind_of(earlier)} run is there")
    if version != dali_cr.__version__ and not now.get("any_version"):
        raise ValueError(
            f"resume: expected dali-cr {version}, which made the run in {out}, {dali_cr.__version__} came; its samples "
            "may differ. Install that version, or give --any-version to go on all the same"
        )
    was = {**(defaults or {}), **was}
    differ = "; ".join(
        f"{name} was {was[name]}, {now[name]} came" for name in fixed if name in was and was[name] != now[name]
    )
    if differ:
        raise ValueError(f"resume: expected the settings of the run in {out}: {differ}. Another --out starts a new run")
    return earlier


def kind_of(about: Mapping[str, Any]) -> str:
    """Return what a config.json is of: segment, classify or localize, or pretrain."""
    return str(about["network"]["task"]["name"]) if "task" in about["network"] else "pretrain"


def last_step_learns(earlier: Mapping[str, Any] | None) -> bool:
    """Whether the last step has a learning rate above 0; runs that version 0.1.0 began keep to their schedule."""
    return earlier is None or bool(earlier.get("last_step_learns"))


def list_changes(earlier: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Return, for each time that a run was resumed with other settings, those settings: the old and the new value."""
    if earlier is None:
        return []
    was = earlier["config"]
    changed = {name: [was.get(name), now[name]] for name in now if was.get(name) != now[name]}
    return [*earlier["changes"], *([changed] if changed else [])]


def write_config(config: Any, device: torch.device, earlier: dict[str, Any] | None, found: Mapping[str, Any]) -> None:
    """Make the folder, and write config.json: every setting, what came of it, and what it ran on.

    Parameters
    ----------
    config : dataclass instance
    device : torch.device
    earlier : dict, optional
        The config.json of the run that is gone on with.
    found : mapping
        What came of the settings.
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
    """Return the report of a run that did at least so many steps, None if it did not."""
    path = out / "report.json"
    if not path.exists():
        return None
    report: dict[str, Any] = json.loads(path.read_text())
    return report if report["steps"] >= steps else None


def tell_apart(kept: Path, index: dali_cr.Index) -> str:
    """Return in words how the cases of an index differ from those of the file `kept`."""
    if not kept.exists():
        return "other data came"
    before = {case.name: case for case in dali_cr.Index.load(kept).cases}
    now = {case.name: case for case in index.cases}
    for text, names in (("is gone", before.keys() - now.keys()), ("is new", now.keys() - before.keys())):
        if names:
            return f"of {len(before)} cases; {len(now)} came, {min(names)} {text}"
    contents = {name: [volume.sha256 for volume in case.volumes] for name, case in before.items()}
    other = [name for name, case in now.items() if contents[name] != [volume.sha256 for volume in case.volumes]]
    return f"of {len(before)} cases; as many came, {min(other, default='some')} with other contents"


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
    """Return the versions of Python, of this project and of what is installed of the packages it computes with."""
    found = {"python": platform.python_version(), "dali-cr": dali_cr.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit this file is of, with "-dirty" where it was changed since; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    ask = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(ask, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
