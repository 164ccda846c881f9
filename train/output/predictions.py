"""Reading and writing of predict.json, the settings of predictions and the files of each case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dali_cr.system.owner import entries, refuse_full

from .files import write_json

SETTINGS = "predict.json"

_OF_A_MACHINE = ("versions", "commit", "device")
"""Entries that may differ when interrupted predictions are continued."""


def read_predictions(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the predictions in a folder; None if there are none."""
    path = folder / SETTINGS
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def check_folder(out: Path) -> None:
    """Check that a folder is empty or holds unfinished predictions.

    Raises
    ------
    ValueError
    """
    unfinished = read_predictions(out)
    if unfinished is None or unfinished["finished"]:
        refuse_full(out)


def begin_predictions(out: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings before the first prediction.

    Parameters
    ----------
    out : Path
    settings : mapping
        JSON values; `outputs` has the files of each kind by case.

    Raises
    ------
    ValueError
        If the folder has unfinished predictions with other settings, or other files, which could be mistaken for
        predictions.
    """
    unfinished = read_predictions(out)
    if unfinished is not None:
        other = [name for name in settings if name not in _OF_A_MACHINE and unfinished.get(name) != settings[name]]
        if other:
            raise ValueError(
                f"out: expected the {other[0]} of the unfinished predictions in {out}, got another; give another folder"
            )
        ours = {SETTINGS, *(Path(name).parts[0] for files in settings["outputs"].values() for name in files.values())}
        if strange := sorted(set(entries(out)) - ours):
            raise ValueError(
                f"out: expected only unfinished predictions in {out}, which also has {strange[0]}; give another folder"
            )
    write_json(out / SETTINGS, {**settings, "finished": False})


def finish_predictions(out: Path, settings: Mapping[str, Any]) -> None:
    """Mark the predictions as complete."""
    write_json(out / SETTINGS, {**settings, "finished": True})
