"""Check that the initial weights given for a run to resume are those that it was started from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..run.folder.config_file import WORDS

_DIGITS = 12
"""Shown hexadecimal digits of a hash."""


def hash_weights(path: Path) -> str | None:
    """Return the SHA-256 of a file of weights, or of the weights in a run's folder; None if there are none."""
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        return None
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check_initial(out: Path, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that --init and --encoder-weights are the weights that a run was started from; paths may change.

    Parameters
    ----------
    out : Path
        Folder of the run.
    earlier : mapping
        The config.json of the run.
    now : mapping
        The new settings, from `train.run.folder.config_file.plain`.

    Raises
    ------
    ValueError
        If the weights differ from those of the run, or cannot be compared because files are missing.
    """
    for name, words in WORDS.items():
        was, given = earlier["config"].get(name, "random"), now.get(name, "random")
        if given not in words and was not in words:
            _check(f"--{name.replace('_', '-')}", out, was, given, _recorded(earlier, name))


def _recorded(earlier: Mapping[str, Any], name: str) -> str | None:
    """Return the SHA-256 of the initial weights in a config.json; None for runs of versions that did not record it."""
    origin = earlier["network"].get(name)
    return origin.get("sha256") if isinstance(origin, dict) else None


def _check(option: str, out: Path, was: str, given: str, known: str | None) -> None:
    """Raise ValueError unless the weights in `given` are those of the run, from `was` with the hash `known`."""
    found = hash_weights(Path(given))
    if known is None:
        if was == given:
            return
        known = hash_weights(Path(was))
    elif found is None and was == given:
        return  # a finished run does not need them; others are refused when the weights are read
    if known and found == known:
        return
    run, other = (f", SHA-256 {digest[:_DIGITS]}…" if digest else ", missing" for digest in (known, found))
    changed = "" if was != given else ", since that file has changed"
    raise ValueError(
        f"resume: expected the initial weights of the run in {out}: {option} was {was}{run}; got {given}{other}"
        f"{changed}. Give the weights of the run, or another --out to start a new run"
    )
