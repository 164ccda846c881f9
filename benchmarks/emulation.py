"""Utilisation of an emulated accelerator for each path of the loader: ``python -m benchmarks.training --emulate``."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from benchmarks.contenders.feed import Job
from benchmarks.contenders.roster import ROSTER
from benchmarks.measure.accelerator import shortest_step, utilisation
from benchmarks.measure.page_cache import read_once
from benchmarks.measure.process import run
from benchmarks.workloads.copies import copied_files, find_copies
from benchmarks.workloads.workload import Workload
from dali_cr.index.cases import Index

PATHS = ("ours-loader", "ours-packed", "ours-host", "ours-disk", "ours-gpu")
"""Paths: the loader without a cache on the original files and on packed volumes, and with each cache."""

_MARGIN = 1.3
"""Step time at which the utilisation is measured, as a multiple of the decoder's time per batch."""


def emulate(workload: Workload, index: Index, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return the utilisation of an emulated accelerator for each path."""
    index.save(scratch / "index.json")
    usable = tuple(sorted(os.sched_getaffinity(0)))
    job = Job(
        contender="",
        workload=workload,
        index=scratch / "index.json",
        workers=options.threads,
        cores=usable,
        seconds=options.seconds,
        device="cpu",
        seed=options.seed,
        scratch=scratch / "limit",
    )
    limits = {}
    for name in limits_of(workload):
        limits[name] = run(dataclasses.replace(job, contender=name))["pairs_per_s"]
        print(f"{ROSTER[name].label}: {limits[name]:.1f} files/s", flush=True)
    asked = {f"{ms:g} ms": ms / 1000 for ms in options.emulate}
    for name, rate in limits.items():
        asked[f"{_MARGIN} x batch / {name}"] = _MARGIN * workload.batch_size / rate
    rows = []
    for name in options.paths:
        if workload.files in ROSTER[name].files:
            if kind := ROSTER[name].copy:
                copied = find_copies(kind, index, workload, options.folder)
                copied.save(scratch / f"{kind}.json")
                read_once(copied_files(kind, copied))
            own = dataclasses.replace(job, index=scratch / (f"{kind}.json" if kind else "index.json"))
            rows.append(emulate_path(name, own, asked, options, scratch))
    return {"batch_size": workload.batch_size, "threads": options.threads, "limits_per_s": limits, "rows": rows}


def limits_of(workload: Workload) -> list[str]:
    """Return the contenders that only decode the workload's files."""
    limits = [one for one in ROSTER.values() if one.role == "limit"]
    return [one.name for one in limits if workload.files in one.files and workload.samples in one.samples]


def emulate_path(
    name: str, job: Job, asked: dict[str, float], options: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    """Return the utilisation of an emulated accelerator for one path of the loader."""
    contender = ROSTER[name]
    row: dict[str, Any] = {"path": name, "label": contender.label}
    if reason := contender.missing(options.device):
        print(f"{contender.label}: missing, {reason}")
        return {**row, "missing": reason}
    print(contender.label, flush=True)
    own = scratch / name
    own.mkdir()
    feed = contender.open(dataclasses.replace(job, contender=name, device=options.device, scratch=own))
    try:
        batches = feed.batches()
        for _ in range(-(-len(feed.index) // feed.workload.batch_size) + 1 if feed.fills_cache else 1):
            next(batches)
        at = {}
        for what, step in asked.items():
            at[what] = {"step_s": step, "utilisation": utilisation(batches, step, options.seconds)}
            print(f"  at {what} = {1000 * step:.2f} ms: {at[what]['utilisation']:.3f}", flush=True)
        found = shortest_step(batches, options.seconds, lambda line: print(f"  {line}", flush=True))
        return {**row, "at": at, **found, "report": feed.report()}
    finally:
        feed.close()
