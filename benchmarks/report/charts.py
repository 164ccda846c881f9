"""Charts: pairs per second over cores for each contender, and speeds relative to the limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.contenders.roster import CACHED, COLD, PREPARED, ROSTER

Result = dict[str, Any]

_COLOURS = {
    "limit": ("#8a8a8a",),
    "ours": ("#0b6e4f", "#3a9d6f", "#74c69d", "#a3d9b8", "#cdebd8", "#1d6fa5", "#7fb2d6", "#5b7c6b"),
    "peer": ("#b5431f", "#d98324", "#8e5ea2", "#c49bb8", "#e0b03a", "#7a2e2e", "#d4708a", "#a67c52"),
}
"""Colours by role: green and blue for our loaders, warm colours for peers."""

_PANEL = (5.2, 3.9)
"""Size of a panel in inches."""

_LEGEND = 2.2
"""Width of the legend in inches."""


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draw all charts that the results allow as SVG and return the files; equal results give equal files."""
    loaders = [result for result in results if result["kind"] == "loader"]
    kernels = _by_machine([one for one in results if one["kind"] == "kernels" and one["device"] == "cuda"])
    drawn = []
    if loaders:
        figure, grid = _panels(len(loaders), _LEGEND)
        for axes, result in zip(grid, loaders, strict=True):
            _throughput(axes, result)
        _legend(figure)
        drawn.append(_save(figure, folder / "throughput.svg"))
    limited = [result for result in loaders if _cold(result)]
    if panels := [*((_shares, result) for result in limited), *((_copies, result) for result in kernels)]:
        figure, grid = _panels(len(panels))
        for axes, (panel, result) in zip(grid, panels, strict=True):
            panel(axes, result)
        drawn.append(_save(figure, folder / "limit.svg"))
    return drawn


def _by_machine(results: Sequence[Result]) -> list[Result]:
    """Merge results into one per machine."""
    found: dict[str, Result] = {}
    for result in results:
        rows = found.get(result["environment"]["machine"], {"rows": []})["rows"]
        found[result["environment"]["machine"]] = {**result, "rows": [*rows, *result["rows"]]}
    return list(found.values())


def _panels(count: int, beside: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels, two per row, and room beside them in inches."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure((_PANEL[0] * columns + beside, _PANEL[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for empty in grid[count:]:
        empty.remove()
    return figure, grid[:count]


def _throughput(axes: Axes, result: Result) -> None:
    """Draw pairs per second over cores on logarithmic axes, on which linear scaling is a straight line."""
    ticks: set[int] = set()
    for label, colour, rows in _by_contender(result):
        rows = [row for row in rows if row["workers"] > 0]
        if not rows:
            continue
        cores = [row["workers"] for row in rows]
        rates = [row["summary"]["pairs_per_s"] for row in rows]
        middle = [rate["median"] for rate in rates]
        errors = [[r["median"] - r["p20"] for r in rates], [r["p80"] - r["median"] for r in rates]]
        style = {"igzip": ":", "igzip-needed": "--"}.get(rows[0]["contender"], "-")
        axes.errorbar(cores, middle, yerr=errors, label=label, color=colour, marker="o", ms=4, lw=1.4, ls=style)
        ticks.update(cores)
    axes.set(xscale="log", yscale="log", xlabel="cores", ylabel="pairs a second", title=_title(result))
    axes.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.3, lw=0.6)


def _legend(figure: Figure) -> None:
    """Draw the legend with each contender once, beside the panels."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        entries |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", fontsize=7, frameon=False)


def _cold(result: Result) -> list[tuple[str, str, float]]:
    """Return label, colour and speed relative to igzip of contenders that read compressed files, at the most cores."""
    last = [(label, colour, rows[-1]) for label, colour, rows in _by_contender(result)]
    rates = {row["contender"]: row["summary"]["pairs_per_s"]["median"] for _, _, row in last}
    limit = rates.get("igzip-needed")
    others = CACHED | PREPARED | COLD
    cold = [(label, colour, row) for label, colour, row in last if row["contender"] not in others]
    cold = [(label, colour, row) for label, colour, row in cold if row["role"] != "limit" and limit]
    return [(label, colour, rates[row["contender"]] / limit) for label, colour, row in cold]


def _shares(axes: Axes, result: Result) -> None:
    """Draw the speed of contenders without a cache relative to igzip alone, at the most cores."""
    _bars(axes, _cold(result))
    axes.set(xlabel="share of igzip alone, on the bytes needed", title=_title(result))


def _copies(axes: Axes, result: Result) -> None:
    """Draw the speed of each kernel relative to a device copy, for T = 100 and patches of 15³."""
    rows = [row for row in result["rows"] if row["gate"] == "passed" and row["iterations"] in (0, 100)]
    rows = [row for row in rows if row["patch"] in (0, 15) and row["dtype"] in ("<i2", "<f4") and row["batch"] > 1]
    labels = [f"{row['op']} {dtype_name(row['dtype'])}, {row['edge']}³, B = {row['batch']}" for row in rows]
    bars = [(label, _COLOURS["ours"][0], 1 / row["times_copy"]) for label, row in zip(labels, rows, strict=True)]
    _bars(axes, bars)
    axes.set(xlabel="share of a device copy of the same bytes", title=_title(result))


def dtype_name(dtype: str) -> str:
    """Return the name of a dtype."""
    return np.dtype(dtype).name + (", big-endian" if dtype.startswith(">") else "")


def _bars(axes: Axes, bars: list[tuple[str, str, float]]) -> None:
    labels, colours, shares = (list(column) for column in zip(*bars, strict=True)) if bars else ([], [], [])
    drawn = axes.barh(labels, shares, color=colours, height=0.65)
    axes.bar_label(drawn, [f"{share:.2f}" for share in shares], padding=3, fontsize=7)
    axes.axvline(1, color="#444444", lw=0.8, ls="--")
    axes.set_xlim(0, 1.15 * max([1.0, *shares]))
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)


def _by_contender(result: Result) -> list[tuple[str, str, list[Result]]]:
    """Return label, colour and successful rows of each contender, by number of workers."""
    rows: dict[str, list[Result]] = {}
    for row in result["rows"]:
        if "summary" in row:
            rows.setdefault(row["label"], []).append(row)
    found = []
    for label, own in rows.items():
        found.append((label, _colour(own[0]["contender"]), sorted(own, key=lambda row: row["workers"])))
    return found


def _colour(name: str) -> str:
    """Return a contender's colour, which is the same in all charts."""
    if name not in ROSTER:
        return _COLOURS["limit"][0]
    role = ROSTER[name].role
    place = [other.name for other in ROSTER.values() if other.role == role].index(name)
    return _COLOURS[role][place % len(_COLOURS[role])]


def _title(result: Result) -> str:
    about = result["environment"]
    where = about["gpu"] if result["device"] == "cuda" else f"{about['cpu']}, {about['cores']} cores"
    workload = result.get("workload")
    return f"{workload['about']}\n{where}" if workload else f"decode and swap\n{where}"


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for axes in figure.axes:
        axes.title.set_fontsize(8.5)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None})
    return path
