"""Conversion of a config.json's JSON values to the types of a settings class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints


def restore(kind: type, values: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, Any]:
    """Convert JSON values to settings of a class.

    Parameters
    ----------
    kind : dataclass
    values : mapping
        JSON values from `train.run.folder.config_file.plain`.
    names : iterable of str, optional
        Convert only these.

    Returns
    -------
    settings : dict
        Settings that the class has, with lists as tuples and paths as `Path`.
    """
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    wanted = known if names is None else known & set(names)
    return {name: _restore(value, _has_paths(hints[name])) for name, value in values.items() if name in wanted}


def _restore(value: Any, path: bool) -> Any:
    if isinstance(value, list):
        return tuple(_restore(one, path) for one in value)
    return Path(value) if path and isinstance(value, str) else value


def _has_paths(hint: Any) -> bool:
    return hint is Path or any(map(_has_paths, get_args(hint)))
