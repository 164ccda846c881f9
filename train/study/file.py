"""Reading of a study's TOML file."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from .checks import check_study
from .declared import Data, Init, Primary, Probe, Protocol, Study, StudyTask, Tuning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TABLES = ("protocol", "primary", "probe", "finetune", "data", "tasks", "inits")


def home_of(path: Path) -> Path:
    """Return the folder for a study's results: that of its study.toml, or one named after another file."""
    path = path.absolute()
    return path.parent if path.name == "study.toml" else path.with_name(path.name.removesuffix(".toml"))


def read_study(path: Path) -> Study:
    """Read a study's file.

    Raises
    ------
    ValueError
        If it cannot be read, or declares something that cannot be run or compared.
    """
    try:
        text = path.read_bytes()
        content = tomllib.loads(text.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"study: expected a TOML file, {path} cannot be read: {error}") from error
    if strange := set(content) - set(_TABLES):
        raise ValueError(f"study: expected some of {', '.join(_TABLES)} in {path}, got {min(strange)}")
    for table in ("protocol", "data", "tasks", "inits"):
        if not content.get(table):
            raise ValueError(f"study: expected [{table}] in {path}, it is missing")
    protocol = dict(content["protocol"])
    protocol["tuning"] = _make(Tuning, "protocol.tuning", protocol.get("tuning", {}))
    study = Study(
        name=home_of(path).name,
        digest=hashlib.sha256(text).hexdigest(),
        protocol=_make(Protocol, "protocol", protocol),
        finetune=content.get("finetune", {}),
        data={name: _make(Data, f"data.{name}", one) for name, one in content["data"].items()},
        tasks={name: _make(StudyTask, f"tasks.{name}", one) for name, one in content["tasks"].items()},
        inits={name: _make(Init, f"inits.{name}", one) for name, one in content["inits"].items()},
        primary=_make(Primary, "primary", content["primary"]) if "primary" in content else None,
        probe=_make(Probe, "probe", content["probe"]) if "probe" in content else None,
    )
    check_study(study)
    return study


def _make(kind: type, where: str, content: Any) -> Any:
    """Return a dataclass made from a table of the file; lists become tuples."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: expected a table, got {content!r}")
    known = {one.name: one for one in fields(kind)}
    if strange := set(content) - set(known):
        raise ValueError(f"{where}: expected some of {', '.join(known)}; got {min(strange)}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).split('() ')[-1]}") from error
