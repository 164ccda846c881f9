"""Result files: one JSON file per run, named after its kind and machine."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.machine import environment

FOLDER = Path(__file__).resolve().parents[1] / "results"
FORMAT = 1


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the 20th and 80th percentiles."""
    low, middle, high = np.percentile(values, (20, 50, 80))
    return {"p20": float(low), "median": float(middle), "p80": float(high)}


def new_result(kind: str, device: str, command: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its metadata.

    Parameters
    ----------
    kind : "loader", "breakdown", "kernels", "training", "emulation" or "gpu-…"
    device : "cpu" or "cuda"
    command : str
        The command, without paths.
    settings : dict
        All options.
    """
    head = {"format": FORMAT, "kind": kind, "device": device, "command": command, "settings": settings}
    return {**head, "environment": environment(device)}


def result_path(result: dict[str, Any], *words: str) -> Path:
    """Return the path of a result, named after its kind, machine, further words, date and time."""
    about = result["environment"]
    when = about["date"][:16].replace("-", "").replace(":", "").replace("T", "-")
    return FOLDER / ("-".join((result["kind"], about["machine"], *words, when)) + ".json")


def write_result(result: dict[str, Any], path: Path) -> None:
    """Write a result atomically; raise ValueError for NaN and Inf, which JSON does not have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_result(path: Path) -> dict[str, Any]:
    """Read a result.

    Raises
    ------
    ValueError
        If the file is not a result of this format.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if result["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {result['format']}")
        _ = result["kind"], result["environment"]["date"], result["environment"]["commit"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a benchmark result of this version ({error!r}); move the file") from error
    return result


def read_results(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Read all results in a folder, oldest first.

    Raises
    ------
    ValueError
        If a file is not a result of this format.
    """
    results = []
    for path in sorted(folder.glob("*.json")):
        result = read_result(path)
        results.append((result["environment"]["date"], path.name, result))
    return [result for _, _, result in sorted(results, key=lambda item: item[:2])]
