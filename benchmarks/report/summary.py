"""The README's table: one row a workload and device, at the most workers measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contenders.roster import counterparts

Result = dict[str, Any]

_LIMITS = ("igzip", "pil")
_CACHED = counterparts("monai-cache")
_HEAD = (
    "| hardware, workers | data → sample | limit | files | cached | packed | fastest peer (ours ÷ it) | commit |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |\n"
)


def summary(found: Sequence[Result]) -> str:
    """Return the loader's main rows as one table; empty where there are none.

    Of each device and workload, these are the newest result and, where it has no peers, the newest that has.

    Parameters
    ----------
    found : sequence of results
        As `benchmarks.report.__main__.newest` returns them.
    """
    main = main_results([result for result in found if result["kind"] == "loader"])
    return _HEAD + "\n".join(map(_row, main)) + "\n" if main else ""


def main_results(found: Sequence[Result]) -> list[Result]:
    """Return the results of the table: by device, workload and date."""
    kept: list[Result] = []
    kinds = {(result["device"], result["workload"]["name"]) for result in found}
    for device, workload in sorted(kinds):
        own = [one for one in found if (one["device"], one["workload"]["name"]) == (device, workload)]
        own.sort(key=lambda result: str(result["environment"]["date"]))
        with_peers = [result for result in own[:-1] if _fastest_peer(_rows(result))]
        kept += [*([] if _fastest_peer(_rows(own[-1])) else with_peers[-1:]), own[-1]]
    return kept


def _row(result: Result) -> str:
    """Return a result as a row of the table."""
    about, rows = result["environment"], _rows(result)
    names = (_LIMITS, ("ours-loader",), _CACHED, ("ours-packed",))
    workers = max(result["settings"]["workers"])
    cells = [
        f"{_hardware(result)}, {workers}",
        result["workload"]["about"],
        *(_text(_fastest(rows, own)) for own in names),
        _peer(rows),
        _commit(about.get("commit")),
    ]
    return "| " + " | ".join(cells) + " |"


def _hardware(result: Result) -> str:
    """Return the name of the GPU, or of the CPU, without what names every one of them."""
    about = result["environment"]
    name = str(about["gpu"] if result["device"] == "cuda" else about["cpu"])
    return name.replace("(R)", "").removesuffix(" Processor")


def _commit(name: str | None) -> str:
    """Return a commit's short name, marked where files had changed since."""
    return f"`{name[:7]}{'-dirty' * name.endswith('-dirty')}`" if name else "–"


def _rows(result: Result) -> dict[str, Result]:
    """Return the rows of a result at the most workers, by contender, without those that did not run."""
    workers = max(result["settings"]["workers"])
    return {row["contender"]: row for row in result["rows"] if row.get("workers") == workers and "summary" in row}


def _fastest(rows: dict[str, Result], names: Sequence[str]) -> float | None:
    """Return the highest rate among contenders, None if none ran."""
    return max((_rate(rows[name]) for name in names if name in rows), default=None)


def _fastest_peer(rows: dict[str, Result]) -> Result | None:
    """Return the row of the fastest peer, or None where none ran."""
    return max((row for row in rows.values() if row["role"] == "peer"), key=_rate, default=None)


def _peer(rows: dict[str, Result]) -> str:
    """Return the fastest peer's rate, and how many times as fast our row of its kind is."""
    row = _fastest_peer(rows)
    if row is None:
        return "–"
    rate, ours = _rate(row), _fastest(rows, counterparts(row["contender"]))
    ratio = f" ({ours / rate:.1f} ×)" if ours else ""
    return f"{row['label'].partition(',')[0]} {_text(rate)}{ratio}"


def _rate(row: Result) -> float:
    return float(row["summary"]["pairs_per_s"]["median"])


def _text(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"
