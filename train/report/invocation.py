"""The command line that makes a run, from what its config.json remembers."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..methods.pcrlv2.config import Pcrlv2Config
from ..methods.presets import PRESETS
from ..methods.restoration import RestorationConfig
from ..run.folder import kind_of
from ..tasks.config import Classify, Localize, Segment

_FIRST = ("data", "labels", "split", "init")
_LAST = ("out",)
PATHS = {"data", "labels", "split", "init", "out", "index", "names", "plans"}
"""Settings that are paths, or lists of them; init may be random too."""
_FINETUNING = {kind.task: kind for kind in (Segment, Classify, Localize)}
_PRETRAINING: dict[str, type] = {"restoration": RestorationConfig, "pcrlv2": Pcrlv2Config}


def command_of(about: Mapping[str, Any], place: Callable[[str], str] = str) -> str:
    """Return the command line of a run: every setting that is not the default.

    Parameters
    ----------
    about : mapping
        The content of its config.json.
    place : function
        From a path to how it is to be written.

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
    # What is not asked for is restoration, whichever class has the settings.
    defaults = {**_defaults(settings_class), "recipe": "restoration"}
    if settings.get("preset"):
        defaults |= json.loads(json.dumps(dict(PRESETS[settings["preset"]].settings)))
    # Runs of earlier versions kept settings that are none of their recipe.
    known = {field.name for field in dataclasses.fields(settings_class)}
    names = [name for name in settings if name in known and (name not in defaults or settings[name] != defaults[name])]
    for name in sorted(names, key=lambda name: (name in _LAST, name not in _FIRST)):
        words += _option(name, settings[name], place)
    return shlex.join(words)


def _defaults(settings_class: type) -> dict[str, Any]:
    """Return the default of each setting that has one, as JSON has it."""
    found = {}
    for field in dataclasses.fields(settings_class):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    kept: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return kept


def _option(name: str, value: Any, place: Callable[[str], str]) -> Iterator[str]:
    """Yield a setting as a command line has it; nothing for a flag that is not set."""
    if value is None or value is False:
        return
    yield "--" + name.replace("_", "-")
    if value is True:
        return
    for one in _flat(value):
        path = name in PATHS and not (name == "init" and one == "random")
        yield place(str(one)) if path else f"{one:.12g}" if isinstance(one, float) else str(one)


def _flat(value: Any) -> Iterator[Any]:
    """Yield the numbers and words of nested lists in order."""
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def public_path(path: str) -> str:
    """Return a path without what it says about a machine: from the working folder on, or else its name.

    Examples
    --------
    >>> public_path("/home/somebody/msd/images"), public_path("/scratch/ct"), public_path("runs/first")
    ('msd/images', 'ct', 'runs/first')
    """
    absolute = Path(path).absolute()
    if absolute.is_relative_to(Path.cwd()):
        return absolute.relative_to(Path.cwd()).as_posix()
    return "/".join(absolute.parts[-2:]) if absolute.name == "images" else absolute.name
