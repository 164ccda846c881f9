"""`Finding`: the result of one check, with advice."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    name : str
    state : "ok", "missing" or "wrong"
    text : str
        Result of the check.
    advice : str
        Recommended action; empty if none.
    """

    name: str
    state: State
    text: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"\n{'':<22} -> {self.advice}" if self.advice else ""
        return f"{self.name:<14} {self.state:<7} {self.text}{advice}"


def check_package(name: str, advice: str = "pip install . in the checkout of dali-cr") -> Finding:
    """Import a package; any error is a finding."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        return Finding(name, "missing", f"{error}", advice)
    except Exception as error:
        return Finding(name, "wrong", f"cannot be imported: {error}", f"reinstall it: {advice}")
    try:
        version = getattr(module, "__version__", None) or importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown version"
    return Finding(name, "ok", str(version))


def attempt(name: str, do: Callable[[], str], advice: str = "see the lines above") -> Finding:
    """Run a check; any error is a finding."""
    try:
        return Finding(name, "ok", do())
    except Exception as error:
        lines = f"{type(error).__name__}: {error}".splitlines()
        return Finding(name, "wrong", lines[0][:300], advice)
