"""What lies beside predictions: the settings they were made with, and which file is of which case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dali_cr.system.owner import entries, refuse_full

from .files import write_json

SETTINGS = "predict.json"

_OF_A_MACHINE = ("versions", "commit", "device")
"""Entries that may differ where predictions that were cut are begun again."""


def read_predictions(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the predictions in a folder, None where there are none."""
    path = folder / SETTINGS
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something else than predictions that were begun and not finished.

    Raises
    ------
    ValueError
    """
    begun = read_predictions(out)
    if begun is None or begun["finished"]:
        refuse_full(out)


def begin_predictions(out: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings, before the first prediction.

    Parameters
    ----------
    out : Path
    settings : mapping
        Made of JSON values; `outputs` has the files of each kind by case.

    Raises
    ------
    ValueError
        If predictions were begun here with other settings, or other files lie here: they would look like some of these.
    """
    begun = read_predictions(out)
    if begun is not None:
        other = [name for name in settings if name not in _OF_A_MACHINE and begun.get(name) != settings[name]]
        if other:
            raise ValueError(
                f"out: predictions were begun in {out} with another {other[0]} and not finished; give another folder"
            )
        ours = {SETTINGS, *(Path(name).parts[0] for files in settings["outputs"].values() for name in files.values())}
        if strange := sorted(set(entries(out)) - ours):
            raise ValueError(f"out: expected a folder of unfinished predictions alone, {out} holds {strange[0]}")
    write_json(out / SETTINGS, {**settings, "finished": False})


def finish_predictions(out: Path, settings: Mapping[str, Any]) -> None:
    """Say that every prediction is there."""
    write_json(out / SETTINGS, {**settings, "finished": True})
