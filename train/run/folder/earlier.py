"""Checks before a run is started in a folder, or resumed: which settings of the earlier run may change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dali_cr
from dali_cr.system.owner import entries

from .config_file import holds_run, kind_of

_EARLY = {"config.json", "index.json", "splits.json", "metrics.jsonl"}
"""Files that a run writes before its first checkpoint, besides TensorBoard events."""


def _is_early(name: str) -> bool:
    return name in _EARLY or name.startswith("events.out.tfevents")


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
