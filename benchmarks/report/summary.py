"""Short table for the README: one row per workload, with the highest number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.contenders.roster import counterparts

Result = dict[str, Any]

_LIMITS = ("igzip", "pil")
_CACHED = counterparts("monai-cache")


def summary(found: Sequence[Result]) -> str:
    """Return the results of the loader benchmark as one table per machine; "" if there are none."""
    machines: dict[tuple[str, int], list[Result]] = {}
    for result in found:
        if result["kind"] == "loader":
            machines.setdefault((_machine(result), max(result["settings"]["workers"])), []).append(result)
    return "\n".join(_table(where, workers, own) for (where, workers), own in machines.items())


def _machine(result: Result) -> str:
    about = result["environment"]
    return f"{about['gpu']}, {about['cpu']}" if result["device"] == "cuda" else str(about["cpu"])


def _table(where: str, workers: int, found: Sequence[Result]) -> str:
    """Return the table of one machine."""
    rates = f"{where}, {workers} worker{'s' * (workers != 1)}; samples a second, medians"
    lines = [
        f"| {rates} | decoder alone | dali-cr | cached | packed | others (ours ÷ it; packed ÷ it) |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for result in found:
        rows = {row["contender"]: row for row in result["rows"] if row.get("workers") == workers and "summary" in row}
        limit = next((_rate(rows[name]) for name in _LIMITS if name in rows), None)
        ours = [_fastest(rows, names) for names in (("ours-loader",), _CACHED, ("ours-packed",))]
        cells = [result["workload"]["about"], *map(_text, (limit, *ours)), ", ".join(_peers(rows)) or "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _fastest(rows: dict[str, Result], names: Sequence[str]) -> float | None:
    """Return the highest rate among contenders, None if none ran."""
    return max((_rate(rows[name]) for name in names if name in rows), default=None)


def _peers(rows: dict[str, Result]) -> Iterator[str]:
    """Yield each peer's rate, and our speed relative to it, with the same caching and packed."""
    packed = _fastest(rows, ("ours-packed",))
    for name, row in rows.items():
        if row["role"] != "peer":
            continue
        rate, mine = _rate(row), _fastest(rows, counterparts(name))
        ratios = [f"{mine / rate:.1f} ×"] if mine else []
        ratios += [f"packed {packed / rate:.1f} ×"] if packed and counterparts(name) != ("ours-packed",) else []
        yield f"{row['label'].partition(',')[0]} {_text(rate)}" + (f" ({'; '.join(ratios)})" if ratios else "")


def _rate(row: Result) -> float:
    return float(row["summary"]["pairs_per_s"]["median"])


def _text(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"
