"""Benchmark of the kernels (decoding, swapping, operations of views), relative to a copy of the bytes that must move.

::

    python -m benchmarks.kernels --device cuda
    python -m benchmarks.kernels --device cpu --budget 120

On a GPU, kernels are timed by CUDA events and followed by a device copy of as many bytes; with --reference, the CPU
reference and TorchIO's swap are timed too. On a CPU, one thread runs the CPU functions, compared with memcpy. Before
each row, outputs on fresh random inputs are compared with the reference (on a GPU those of the first and the last
sample); a wrong kernel gets no timing. The result is written after each row.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.measure.clock import HostClock, open_clock
from benchmarks.measure.options import make_parser
from benchmarks.measure.results import new_result, result_path, summarize, write_result
from benchmarks.operations import decode, draw, erase, gather, intensity, restore, swap
from benchmarks.operations.subject import Case

_OPERATIONS = (
    restore.OPERATIONS,
    decode.OPERATIONS,
    draw.OPERATIONS,
    erase.OPERATIONS,
    gather.OPERATIONS,
    intensity.OPERATIONS,
    swap.OPERATIONS,
)
"""In the order in which they are measured; there are many rows of `swap`, so they come last."""

OPS = tuple(name for one in _OPERATIONS for name in one.names)

_SHARE = 2.0
"""Maximum seconds of each timing of a row."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("python -m benchmarks.kernels", __doc__)
    what = parser.add_argument_group("what to measure")
    what.add_argument("--ops", nargs="+", choices=OPS, default=list(OPS), help="operations")
    what.add_argument("--edges", type=int, nargs="+", default=[128, 64], help="edges of the crops in voxels")
    what.add_argument("--batches", type=int, nargs="+", default=[64, 8, 1], help="batch sizes")
    what.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device of the operations")
    what.add_argument(
        "--reference", action="store_true", help="with --device cuda: also time the CPU reference and TorchIO"
    )
    what.add_argument("--seed", type=int, default=0, help="seed of the inputs")
    limits = parser.add_argument_group("duration and output")
    limits.add_argument("--budget", type=float, default=480.0, help="seconds after which no further row is started")
    limits.add_argument("--out", type=Path, help="file of the result; default: in benchmarks/results")
    return parser.parse_args(arguments)


def measure(case: Case, clock: HostClock, seed: int, reference: bool = True) -> dict[str, Any]:
    """Return one row: the outcome of the check against the reference, and the timings if it passed."""
    rng = np.random.default_rng((seed, hash_of(case)))
    prepare = next(one.prepare for one in _OPERATIONS if case.op in one.names)
    subject = prepare(case, clock, rng)
    row: dict[str, Any] = {**asdict(case), "must_move_bytes": subject.must_move, "moves_bytes": subject.moves}
    if wrong := subject.wrong():
        return {**row, "gate": f"wrong: {wrong}"}
    timings = {
        "seconds": clock.time(subject.run, _SHARE),
        "copy_seconds": clock.copy(subject.must_move, _SHARE / 4),
    }
    if subject.reference and reference:
        timings["reference_seconds"] = HostClock().time(subject.reference, _SHARE / 4)
    single = None
    if reference and case.op == "swap" and case.dtype == "<f4":
        single = torchio_seconds(case.edge, case.patch, case.iterations)
    if single:
        timings["torchio_seconds"] = [one * case.batch for one in single]
    summary = {name: summarize(values) for name, values in timings.items()}
    spent = summary["seconds"]["median"]
    return {
        **row,
        "gate": "passed",
        **timings,
        "summary": summary,
        "bytes_per_s": subject.must_move / spent,
        "times_copy": spent / summary["copy_seconds"]["median"],
        "samples_per_s": case.batch / spent,
    }


def hash_of(case: Case) -> int:
    """Return a hash of a case that is the same in every process."""
    return zlib.crc32(repr(case).encode())


@cache
def torchio_seconds(edge: int, patch: int, iterations: int) -> list[float] | None:
    """Return the timings of TorchIO's swap of one crop on the CPU; None if TorchIO is not installed."""
    if find_spec("torchio") is None:
        return None
    import torch
    import torchio as tio

    swap = tio.RandomSwap(patch_size=patch, num_iterations=iterations)
    image = tio.ScalarImage(tensor=torch.rand(1, edge, edge, edge))
    return HostClock().time(lambda: swap(image), _SHARE / 4)


def cases_of(options: argparse.Namespace) -> list[Case]:
    """Return the requested rows."""
    sizes = tuple(options.edges), tuple(options.batches)
    return [case for one in _OPERATIONS for case in one.list_cases(*sizes) if case.op in options.ops]


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Measure rows until the budget is used up, write the result after each row, and return it with its path."""
    clock, end = open_clock(options.device), time.perf_counter() + options.budget
    wanted, reference = cases_of(options), options.reference or options.device == "cpu"
    result = head_of(options)
    path = options.out or result_path(result)
    rows = result["rows"] = []
    for number, case in enumerate(tqdm(wanted, unit="row", disable=not sys.stderr.isatty())):
        if time.perf_counter() > end:
            left = len(wanted) - number
            print(f"stopped after {options.budget:.0f} s (--budget); {left} rows were not run", file=sys.stderr)
            break
        rows.append(measure(case, clock, options.seed, reference))
        tqdm.write(line_of(rows[-1]))
        write_result({**result, "not_run": [asdict(case) for case in wanted[len(rows) :]]}, path)
    result["not_run"] = [asdict(case) for case in wanted[len(rows) :]]
    write_result(result, path)
    return {**result, "path": path}


def head_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the result without rows."""
    names = ("edges", "batches", "ops", "budget", "seed", "device")
    settings = {name: getattr(options, name) for name in names}
    words = [f"--{name} {' '.join(map(str, v)) if isinstance(v, list) else v}" for name, v in settings.items()]
    words += ["--reference"] if options.reference else []
    settings["reference"] = options.reference
    result = new_result("kernels", options.device, " ".join(["python -m benchmarks.kernels", *words]), settings)
    return {**result, "missing": {} if find_spec("torchio") else {"torchio": "torchio is not installed"}}


def line_of(row: dict[str, Any]) -> str:
    """Format a row as a line of text."""
    what = f"{row['op']:<13}{row['dtype']:<4} {row['edge']}^3 B={row['batch']:<3}"
    what += f" T={row['iterations']:<4}p={row['patch']:<3}" if row["iterations"] else " " * 11
    if row["gate"] != "passed":
        return f"{what} {row['gate']}"
    text = f"{what} {1000 * row['summary']['seconds']['median']:10.3f} ms {row['bytes_per_s'] / 1e9:8.1f} GB/s"
    text += f" {row['times_copy']:7.2f} x a copy"
    for name in ("reference", "torchio"):
        if spent := row["summary"].get(f"{name}_seconds"):
            text += f"  {name} {1000 * spent['median']:.1f} ms"
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return 1 if a kernel was wrong."""
    options = parse(arguments)
    result = benchmark(options)
    refused = sum(row["gate"] != "passed" for row in result["rows"])
    print(f"{refused} of {len(result['rows'])} rows were wrong; written to {result['path']}")
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main())
