"""Reconstruction of a run's command line from its config.json."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..methods.pcrlv2.config import Pcrlv2Config
from ..methods.presets import PRESETS
from ..methods.restoration import RestorationConfig
from ..run.folder.config_file import WORDS, kind_of
from ..tasks.config.segment import Segment
from ..tasks.config.whole import Classify, Localize

_FIRST = ("data", "labels", "split", "init")
_LAST = ("out",)
PATHS = {"data", "labels", "split", "init", "out", "index", "names", "plans", "encoder_weights", "cache"}
"""Settings that are paths or lists of paths, or one of `train.run.folder.config_file.WORDS`."""
_DISK = re.compile(r"disk:(.+?)(:[^:/]+)?")
"""A level of --cache: its folder, and its size if given."""

_FINETUNING = {kind.task: kind for kind in (Segment, Classify, Localize)}
_PRETRAINING: dict[str, type] = {"restoration": RestorationConfig, "pcrlv2": Pcrlv2Config}


def command_of(about: Mapping[str, Any], place: Callable[[str], str] = str) -> str:
    """Return the command line of a run, with all settings that differ from their defaults.

    Parameters
    ----------
    about : mapping
        The content of its config.json.
    place : function
        Maps a path to its form in the command line.

    Returns
    -------
    str
        Quoted for a shell.
    """
    kind, settings = kind_of(about), about["config"]
    settings_class: type = (
        _FINETUNING[kind] if kind in _FINETUNING else _PRETRAINING[settings.get("recipe", "restoration")]
    )
    words = ["python", "-m", *(["train.pretrain"] if kind == "pretrain" else ["train.finetune", kind])]
    # The command's default recipe is restoration, whatever the class of the settings.
    defaults = {**_defaults(settings_class), "recipe": "restoration"}
    if settings.get("preset"):
        defaults |= json.loads(json.dumps(dict(PRESETS[settings["preset"]].settings)))
    # Earlier versions stored settings that do not belong to the recipe.
    known = {field.name for field in dataclasses.fields(settings_class)}
    names = [name for name in settings if name in known and (name not in defaults or settings[name] != defaults[name])]
    for name in sorted(names, key=lambda name: (name in _LAST, name not in _FIRST)):
        words += _option(name, settings[name], place)
    return shlex.join(words)


def _defaults(settings_class: type) -> dict[str, Any]:
    """Return the default of each setting that has one, as JSON values."""
    found = {}
    for field in dataclasses.fields(settings_class):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    kept: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return kept


def _option(name: str, value: Any, place: Callable[[str], str]) -> Iterator[str]:
    """Yield the words of an option; none for a flag that is off."""
    if value is None or value is False:
        return
    yield "--" + name.replace("_", "-")
    if value is True:
        return
    for one in _flat(value):
        path = name in PATHS and one not in WORDS.get(name, ())
        yield place(str(one)) if path else f"{one:.12g}" if isinstance(one, float) else str(one)


def _flat(value: Any) -> Iterator[Any]:
    """Flatten nested lists."""
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def public_path(path: str) -> str:
    """Return a path without machine-specific parts: relative to the working folder, or else its last name.

    Examples
    --------
    >>> public_path("/home/somebody/msd/images"), public_path("/scratch/ct"), public_path("runs/first")
    ('msd/images', 'ct', 'runs/first')
    >>> public_path("disk:/scratch/cache:20GB"), public_path("host:1GB")
    ('disk:cache:20GB', 'host:1GB')
    """
    if level := _DISK.fullmatch(path):
        return f"disk:{public_path(level[1])}{level[2] or ''}"
    absolute = Path(path).absolute()
    if absolute.is_relative_to(Path.cwd()):
        return absolute.relative_to(Path.cwd()).as_posix()
    return "/".join(absolute.parts[-2:]) if absolute.name == "images" else absolute.name
