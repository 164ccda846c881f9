"""Table of a breakdown: the time of each stage per batch, one column per shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Result = dict[str, Any]


def rows_of(result: Result) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each line: shapes, time per batch, time of each stage, and the wait for the interpreter."""
    rows = result["rows"]
    yield ("", *(f"{row['crop'][0]}³, B {row['batch_size']}" for row in rows))
    yield ("a batch, without timers", *(_times(row["bare"]) for row in rows))
    for name, about in result["stages"].items():
        yield (f"{name}: {about}", *(_times(row["stages"][name]) for row in rows))
    late = [1000 * row["interpreter"]["late"]["mean_s"] for row in rows]
    yield ("mean wait of a thread for the interpreter", *(f"{mean:.2f}" for mean in late))


def _times(found: Result) -> str:
    """Format ms of wall time, and in brackets ms of CPU time."""
    if "absent" in found:
        return "–"
    wall, cpu = (1000 * found[name]["median"] for name in ("wall_s", "cpu_s"))
    return f"{wall:.2f} ({cpu:.2f})"
