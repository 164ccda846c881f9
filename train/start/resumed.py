"""Settings of a resumed run: options that are not given are those of the run in ``--out``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

from ..run.config.training import RunSettings
from .restore import restore

Settings = TypeVar("Settings", bound=RunSettings)

_OF_A_COMMAND = ("out", "resume", "any_version")
"""Settings of a single start, not of the run."""


def find_out(arguments: Sequence[str]) -> tuple[Path | None, bool]:
    """Return the folder in --out, or None, and whether --resume is given."""
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument("--resume", action="store_true")
    words.add_argument("--out", type=Path)
    typed = words.parse_known_args(arguments)[0]
    return typed.out, typed.resume


def find_resumed(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return the config.json of the run to resume; None for a new run.

    Raises
    ------
    ValueError
        If it cannot be read, or is missing and no data are given to start a new run.
    """
    out, resume = find_out(arguments)
    path = out / "config.json" if resume and out else None
    if path is None:
        return None
    if not path.is_file():
        if not {word.partition("=")[0] for word in arguments} & {"--data", "--index", "--corpus"}:
            raise ValueError(f"resume: expected a run in {out}, it has no config.json; give --data to start a new run")
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = content["config"], content["network"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"resume: expected the config.json of a run, got {path}: {error}") from error
    return content


def settings_of(kind: type[Settings], about: Mapping[str, Any], out: Path) -> Settings:
    """Return the settings of a run from its config.json, with its current folder."""
    kept = {name: value for name, value in about["config"].items() if name not in _OF_A_COMMAND}
    return kind(**restore(kind, kept), out=out)


def parse(
    kind: type[Settings],
    prog: str,
    arguments: Sequence[str],
    known: Settings | None = None,
    preset: Mapping[str, Any] | None = None,
) -> Settings:
    """Parse the settings of a command line.

    Parameters
    ----------
    kind : dataclass
    prog : str
        Name of the program in the help.
    arguments : sequence of str
    known : dataclass instance, optional
        Values of options that are not given.
    preset : mapping, optional
        Defaults in place of those of the class, without `known`.
    """
    how: Any = {"prog": prog, "args": arguments, "config": (tyro.conf.FlagCreatePairsOff,)}
    config: Settings
    if known is None:
        config = tyro.cli(kind, default=_defaults(kind, preset or {}), **how)
        return config
    # A flag whose default is True could not be given: flags of the run are set afterwards.
    names = [field.name for field in dataclasses.fields(known) if getattr(known, field.name) is True]
    flags: dict[str, Any] = dict.fromkeys(names, True)
    off: dict[str, Any] = dict.fromkeys(flags, False)
    config = tyro.cli(kind, default=replace(known, **off), **how)
    return replace(config, **flags)


def _defaults(kind: type[Settings], preset: Mapping[str, Any]) -> Settings:
    """Return an instance whose fields are defaults, tyro.MISSING where something must be typed."""
    # Not made by its class, which would check settings before all of them are there.
    defaults = object.__new__(kind)
    for field in dataclasses.fields(kind):
        value = tyro.MISSING if field.default is dataclasses.MISSING else field.default
        object.__setattr__(defaults, field.name, preset.get(field.name, value))
    return defaults
