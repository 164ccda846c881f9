"""The short table of the front page: one row a workload, everybody at the most workers measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.contenders.roster import CACHED

Result = dict[str, Any]

_LIMITS = ("igzip", "pil")


def summary(found: Sequence[Result]) -> str:
    """Return the loader's results as one table a machine; empty where there are none."""
    machines: dict[tuple[str, int], list[Result]] = {}
    for result in found:
        if result["kind"] == "loader":
            machines.setdefault((_machine(result), max(result["settings"]["workers"])), []).append(result)
    return "\n".join(_table(where, workers, own) for (where, workers), own in machines.items())


def _machine(result: Result) -> str:
    about = result["environment"]
    return f"{about['gpu']}, {about['cpu']}" if result["device"] == "cuda" else str(about["cpu"])


def _table(where: str, workers: int, found: Sequence[Result]) -> str:
    """Return the rows of one machine."""
    rates = f"{where}, {workers} worker{'s' * (workers != 1)}; samples a second, medians"
    lines = [
        f"| {rates} | decoder alone | dali-cr | cached | others (ours ÷ it) |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for result in found:
        rows = {row["contender"]: row for row in result["rows"] if row.get("workers") == workers and "summary" in row}
        limit = next((_rate(rows[name]) for name in _LIMITS if name in rows), None)
        ours, cached = (_rate(rows[name]) if name in rows else None for name in ("ours-loader", _best(rows)))
        peers = ", ".join(_peers(rows, ours, cached)) or "–"
        lines.append(f"| {result['workload']['about']} | {_text(limit)} | {_text(ours)} | {_text(cached)} | {peers} |")
    return "\n".join(lines) + "\n"


def _best(rows: dict[str, Result]) -> str:
    """Return the cache that is compared: the GPU's where it ran, else the host's, with processes if they are faster."""
    there = [name for name in ("ours-host", "ours-processes") if name in rows]
    return "ours-gpu" if "ours-gpu" in rows else max(there, key=lambda name: _rate(rows[name]), default="ours-host")


def _peers(rows: dict[str, Result], ours: float | None, cached: float | None) -> Iterator[str]:
    """Yield each peer's rate, and how many times as fast we are: from a cache where it has one."""
    for name, row in rows.items():
        mine = cached if name in CACHED else ours
        if row["role"] == "peer":
            yield f"{row['label'].partition(',')[0]} {_text(_rate(row))}" + (
                f" ({mine / _rate(row):.1f} ×)" if mine else ""
            )


def _rate(row: Result) -> float:
    return float(row["summary"]["pairs_per_s"]["median"])


def _text(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"
