"""Write tables and charts of all benchmark results.

::

    python -m benchmarks.report

The newest result of each kind, machine and workload is used, and for kernels the newest of each row. The tables are
printed and written beside the results with two charts; a short table is written between the markers
``<!-- benchmarks -->`` and ``<!-- /benchmarks -->`` of README.md, if it has them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders.roster import CACHED, counterparts
from benchmarks.kernels import OPS
from benchmarks.measure import results
from benchmarks.measure.options import make_parser
from benchmarks.report import breakdown, charts
from benchmarks.report.summary import summary

README = Path(__file__).resolve().parents[2] / "README.md"
_BEGIN, _END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
_TITLES = {
    "loader": "Pairs a second",
    "kernels": "The kernels' operations",
    "breakdown": "Time of a batch by stage: ms of wall time, in brackets ms of CPU time",
    "training": "Training",
    "emulation": "An emulated accelerator",
}
"""Titles by kind, in the order of the tables."""

_CASE = ("op", "dtype", "edge", "batch", "iterations", "patch")
"""The fields that identify a row of kernels."""

_CPU_NOTE = "the network and the loader share the cores"

Result = dict[str, Any]


def newest(found: Sequence[Result]) -> list[Result]:
    """Return the newest result of each kind, device, machine, workload and data; for kernels see `kernel_rows`."""
    latest: dict[tuple[str, ...], Result] = {}
    for result in [*(one for one in found if one["kind"] != "kernels"), *kernel_rows(found)]:
        workload, data = result.get("workload", {}), result.get("data", {})
        place = [result["device"], result["environment"]["machine"], workload.get("name", ""), data.get("source", "")]
        if result["kind"] == "kernels":
            place.append(result["environment"]["date"])
        if result["kind"] == "training" and result["settings"].get("packed"):
            place.append("packed")
        if result["kind"] == "breakdown":
            place += [str(result["settings"][name]) for name in ("device", "cache", "no_kernels")]
        latest[(result["kind"], *place)] = result
    return [latest[key] for key in sorted(latest, key=lambda key: (list(_TITLES).index(key[0]), *key))]


def kernel_rows(found: Sequence[Result]) -> list[Result]:
    """Return the results of kernels, oldest first, each with the rows of current operations that no newer one has."""
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for result in reversed([one for one in found if one["kind"] == "kernels"]):
        rows = []
        for row in result["rows"]:
            key = (result["environment"]["machine"], *(row[name] for name in _CASE))
            if row["op"] in OPS and key not in seen:
                seen.add(key)
                rows.append(row)
        if rows:
            kept.append({**result, "rows": rows})
    return kept[::-1]


def markdown(found: Sequence[Result]) -> str:
    """Return all tables as Markdown."""
    tables = {
        "loader": _loader,
        "kernels": _kernels,
        "breakdown": _breakdown,
        "training": _training,
        "emulation": _emulation,
    }
    parts = [f"{_heading(result)}\n\n" + "\n".join(tables[result["kind"]](result)) for result in found]
    return "\n\n".join(parts) + "\n"


def _heading(result: Result) -> str:
    """Return the title of a table, with the machine and the command."""
    about, workload, data = result["environment"], result.get("workload"), result.get("data")
    what = _TITLES[result["kind"]]
    if workload:
        what = what.replace("Pairs", "Samples") if workload.get("samples") == "views" else what
        edges = [edge if isinstance(edge, list) else [edge, edge] for edge in reversed(workload["patch"])]
        patch = "×".join("–".join(map(str, sorted(set(edge)))) for edge in edges)
        what += f": {workload['about']}, T = {workload['iterations']}, patches {patch}, B = {workload['batch_size']}"
    where = f"{about['gpu']}, {about['cpu']}" if result["device"] == "cuda" else about["cpu"]
    lines = [f"**{what}**", "", f"{where}, {about['cores']} cores; {about['date'][:10]}, `{result['command']}`"]
    if data:
        volumes = f"{data['volumes']} volumes ({data['source']}), {data['file_bytes'] / data['volumes'] / 1e6:.1f} MB"
        lines[-1] += f"; {volumes} a file, compressed {data['ratio']:.1f} : 1"
        copies = data.get("copies_bytes", {}).items()
        lines[-1] += "".join(f"; {kind} {size / data['volumes'] / 1e6:.1f} MB" for kind, size in copies)
    if result["kind"] == "training" and result["settings"].get("packed"):
        lines[-1] += "; trained on packed volumes"
    return "\n".join(lines)


def _loader(result: Result) -> Iterator[str]:
    """Yield one row for each contender."""
    workers = result["settings"]["workers"]
    most = max(workers)
    rows: dict[str, dict[int | None, Result]] = {}
    for row in result["rows"]:
        rows.setdefault(row["label"], {})[row.get("workers")] = row
    names = [f"{count} worker{'s' * (count != 1)}" for count in workers]
    columns = (
        "of igzip",
        "of igzip, stopping early",
        "ours ÷ it",
        "packed ÷ it",
        "CPU ms a pair",
        "memory",
        "GPU memory",
    )
    yield _line("", *names, *columns, "swap")
    yield _line("---", *["---:"] * (len(names) + len(columns)), "---")
    for label, own in rows.items():
        if None in own:
            yield _line(label, *["–"] * (len(names) + len(columns)), f"missing: {own[None]['missing']}")
            continue
        cells = [_rate(own.get(count)) for count in workers]
        last = own.get(most, {})
        if "summary" not in last:
            yield _line(label, *cells, *["–"] * len(columns), "")
            continue
        verdict = last["verdict"]["verdict"] if last.get("verdict") else ""
        yield _line(label, *cells, *_comparisons(result, last, most), *_costs(last["summary"]), verdict)


def _comparisons(result: Result, row: Result, workers: int) -> Iterator[str]:
    """Yield a row's fractions of the two limits, and our speed relative to it, with the same caching and packed."""
    rate = row["summary"]["pairs_per_s"]["median"]
    cached = row["contender"] in CACHED
    for name in ("igzip", "igzip-needed"):
        limit = _median(result, name, workers)
        yield "–" if cached or not limit else f"{rate / limit:.2f}"
    peer, ours = row["role"] == "peer", row["role"] == "ours"
    for names in (counterparts(row["contender"]) if peer else (), () if ours else ("ours-packed",)):
        best = max((_median(result, name, workers) or 0.0 for name in names), default=0.0)
        yield f"{best / rate:.1f}" if best else "–"


def _costs(summary: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield CPU time, memory and GPU memory."""
    yield f"{1000 * summary['cpu_s_per_pair']['median']:.1f}"
    for name in ("resident_bytes", "gpu_bytes"):
        yield f"{summary[name]['median'] / 1e9:.1f} GB" if name in summary else "–"


def _median(result: Result, contender: str, workers: int) -> float | None:
    """Return the pairs per second of a contender, or None if it did not run."""
    for row in result["rows"]:
        if row["contender"] == contender and row.get("workers") == workers and "summary" in row:
            return float(row["summary"]["pairs_per_s"]["median"])
    return None


def _rate(row: Result | None) -> str:
    """Format a median with its percentiles."""
    if row is None:
        return "–"
    if "summary" not in row:
        return "failed"
    rate = row["summary"]["pairs_per_s"]
    digits = 0 if rate["median"] >= 100 else 1
    return f"**{rate['median']:.{digits}f}** ({rate['p20']:.{digits}f}–{rate['p80']:.{digits}f})"


def _kernels(result: Result) -> Iterator[str]:
    """Yield the main rows: T = 100 with patches of 15³, and operations without swaps."""
    yield _line("", "voxels", "crop", "B", "ms", "GB/s", "times a copy", "NumPy, ms", "TorchIO, ms")
    yield _line("---", "---", *["---:"] * 7)
    for row in result["rows"]:
        if row["iterations"] not in (0, 100) or row["patch"] not in (0, 15):
            continue
        start = (row["op"], charts.dtype_name(row["dtype"]), f"{row['edge']}³", row["batch"])
        if row["gate"] != "passed":
            yield _line(*start, row["gate"], *["–"] * 4)
            continue
        summary = row["summary"]
        others = [summary.get(f"{name}_seconds") for name in ("reference", "torchio")]
        texts = ["–" if other is None else f"{1000 * other['median']:.1f}" for other in others]
        spent = 1000 * summary["seconds"]["median"]
        yield _line(*start, f"{spent:.3f}", f"{row['bytes_per_s'] / 1e9:.3g}", f"{row['times_copy']:.2f}", *texts)


def _breakdown(result: Result) -> Iterator[str]:
    """Yield one row a stage."""
    for number, cells in enumerate(breakdown.rows_of(result)):
        yield _line(*cells)
        if not number:
            yield _line("---", *["---:"] * (len(cells) - 1))


def _training(result: Result) -> Iterator[str]:
    """Yield a row for each computation; results of earlier versions have a single one, eager and contiguous."""
    yield _line("computation", "steps/s with the loader", "with one kept batch", "ratio", "peak memory", "")
    yield _line("---", *["---:"] * 4, "---")
    note = _CPU_NOTE if result["device"] == "cpu" else ""
    for row in result.get("rows", [result]):
        name = f"{'compiled' if row.get('compiled') else 'eager'}, {row.get('layout', 'contiguous')}"
        if "missing" in row:
            yield _line(name, *["–"] * 4, f"missing: {row['missing']}")
            continue
        loader, kept, ratio = (row["summary"][one]["median"] for one in ("loader", "kept", "ratio"))
        peak = row.get("peak_memory_bytes")
        memory = f"{peak / 2**30:.1f} GiB" if peak else "–"
        yield _line(name, f"{loader:.3g}", f"{kept:.3g}", f"{ratio:.3f}", memory, note)


def _emulation(result: Result) -> Iterator[str]:
    """Yield one row for each path."""
    steps = list(next((row["at"] for row in result["rows"] if "at" in row), {}))
    yield _line("", "flat out", *(f"at {step}" for step in steps), "shortest step at 0.98")
    yield _line("---", *["---:"] * (len(steps) + 2))
    for row in result["rows"]:
        if "missing" in row:
            yield _line(row["label"], *["–"] * (len(steps) + 1), f"missing: {row['missing']}")
            continue
        shortest = row["shortest_step_s"]
        least = (
            f"{1000 * shortest:.1f} ms" if shortest else f"none up to {1000 * max(s for s, _ in row['curve']):.0f} ms"
        )
        busy = [f"{row['at'][step]['utilisation']:.3f}" for step in steps]
        yield _line(row["label"], f"{1000 * row['flat_out_s']:.1f} ms", *busy, least)


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def rewrite(readme: Path, text: str) -> bool:
    """Write the text between the markers, if there are any; return whether there are.

    Raises
    ------
    ValueError
        If only one of the markers exists.
    """
    content = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if _BEGIN not in content and _END not in content:
        return False
    before, begin, rest = content.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{readme}: expected {_BEGIN} and, after it, {_END}; got only one of them")
    readme.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    parser = make_parser("python -m benchmarks.report", __doc__)
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="folder of the result files")
    parser.add_argument("--readme", type=Path, default=README, help="README with the markers of the short table")
    options = parser.parse_args(arguments)
    found = newest(results.read_results(options.results))
    if not found:
        print(
            f"expected results in {options.results}, got none: run python -m benchmarks.loader first", file=sys.stderr
        )
        return 1
    text = markdown(found)
    print(text)
    pictures = charts.draw(found, options.results)
    written = [str(path) for path in pictures]
    tables = options.results / "README.md"
    tables.write_text(
        f"# Results\n\nWritten by `python -m benchmarks.report` from the files beside it.\n\n{text}", encoding="utf-8"
    )
    written += [str(tables), *([str(options.readme)] if rewrite(options.readme, summary(found)) else [])]
    print("written: " + (", ".join(written) or "nothing"), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
