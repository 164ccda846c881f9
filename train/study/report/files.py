"""A study's results as files: the score of every case as CSV, everything else as JSON."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...output.files import write_json, write_text
from ...run.folder.versions import commit, versions
from ..effects import Effect, Group
from ..probe.baselines import Baseline
from ..probe.frozen import Frozen
from ..running.jobs import RunQueue
from ..runs import StudyRun
from ..scores import case_scores
from .results import Results

_COLUMNS = ("phase", "task", "init", "transfer", "pretrain_seed", "budget", "cases", "length", "steps", "lr", "seed")


def write_runs(path: Path, queue: RunQueue, runs: Sequence[StudyRun]) -> None:
    """Write the score of every case of every run: on val for tuning runs, on test for test runs."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*_COLUMNS, "metric", "case", "score"])
    for run in runs:
        report = queue.report(run)
        if report is None:
            continue
        metric = queue.study.metric(run.task)
        about = [run.phase, run.task, run.arm.init, run.arm.transfer or "", run.pretrain_seed, run.budget]
        about += [report["cases"], run.length, run.options["steps"], f"{run.options['lr']:g}", run.seed, metric]
        for case, score in sorted(case_scores(queue.out(run) / "scores.csv", metric).items()):
            table.writerow([*about, case, f"{score:.6g}"])
    write_text(path, text.getvalue())


def write_frozen(path: Path, frozen: Sequence[Frozen]) -> None:
    """Write the results of linear probes: a row per draw, with a 1 or 0 for each test case, in the order of names."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["task", "init", "pretrain_seed", "budget", "draw", "accuracy", "correct"])
    for one in frozen:
        order = np.argsort(one.cases)
        for of_seed, seed in zip(one.correct[..., order], one.pretrain_seeds or ("",), strict=True):
            for draw, correct in enumerate(of_seed):
                shown = "".join("01"[int(right)] for right in correct)
                table.writerow([one.task, one.init, seed, one.budget, draw, f"{correct.mean():.6g}", f"b{shown}"])
    write_text(path, text.getvalue())


def describe_pretraining(queue: RunQueue, runs: Sequence[StudyRun]) -> list[dict[str, Any]]:
    """Return the report, the curve of the gain (empty without restoration) and the time of each pre-training run."""
    found = []
    for run in runs:
        report = queue.report(run) or {}
        lines = [json.loads(line) for line in (queue.out(run) / "metrics.jsonl").read_text().splitlines()]
        gains = [[line["step"], line["restoration_gain"]] for line in lines if line.get("restoration_gain") is not None]
        changed = next((line["changed_share"] for line in lines if "changed_share" in line), None)
        kept = {name: value for name, value in report.items() if name != "run"}
        about = {"run": run.name, "data": run.data, "init": run.arm.init, "seed": run.seed, "report": kept}
        note = queue.read_note(run)
        times = {name: note[name] for name in ("seconds", "cpu_seconds")}
        found.append({**about, "changed_share": changed, "restoration_gain": gains, **times})
    return found


def describe_runs(queue: RunQueue, runs: Sequence[StudyRun]) -> dict[str, Any]:
    """Return the times, devices, versions and commits of the runs."""
    abouts = [json.loads((queue.out(run) / "config.json").read_text()) for run in runs if queue.report(run)]
    notes = [queue.read_note(run) for run in runs]
    phases = list(dict.fromkeys(run.phase for run in runs))
    times = {
        name: {
            phase: round(sum(note[name] for run, note in zip(runs, notes, strict=True) if run.phase == phase), 1)
            for phase in phases
        }
        for name in ("seconds", "cpu_seconds")
    }
    return {
        "runs": len(runs),
        "resumed": sum(note["attempts"] > 1 for note in notes),
        "diverged": [run.name for run, note in zip(runs, notes, strict=True) if note["diverged"]],
        **times,
        "longest_seconds": max(note["seconds"] for note in notes),
        "jobs": queue.jobs,
        "machine": describe_machine(),
        "devices": _each([about["device"] for about in abouts]),
        "versions": _each([about["versions"] for about in abouts]),
        "commits": _each([about["commit"] for about in abouts]),
        "evaluated_by": {"versions": versions(), "commit": commit()},
    }


def describe_machine() -> str:
    """Return the processor's model and the number of cores."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.machine()}, {os.cpu_count()} cores"


def _each(values: Sequence[Any]) -> list[Any]:
    """Return the distinct values in order."""
    return [value for place, value in enumerate(values) if value not in values[:place]]


def group_entry(group: Group) -> dict[str, Any]:
    """Return the entry of summary.json for runs that differ only in their seed."""
    places = [name for name, value in group.reports[0].items() if isinstance(value, float)]
    others = {
        name: float(np.mean(values))
        for name in places
        if len(values := [report[name] for report in group.reports if report.get(name) is not None])
    }
    about: dict[str, Any] = {"task": group.task, "init": group.arm.init}
    about |= {"transfer": group.arm.transfer, "budget": group.budget}
    about |= {"cases": group.cases, "length": group.length, "steps": group.runs[0].options["steps"]}
    about |= {"lr": group.runs[0].options["lr"], "seeds": [run.seed for run in group.runs]}
    about |= {"pretrain_seeds": [run.pretrain_seed for run in group.runs], "by_seed": group.means}
    return {**about, "mean": group.mean, "sd": group.std, "test_cases": len(group.scores[0]), "report": others}


def frozen_entry(one: Frozen) -> dict[str, Any]:
    """Return the entry of summary.json for a linear probe or its baseline."""
    means = one.accuracies
    about: dict[str, Any] = {"task": one.task, "init": one.init, "budget": one.budget}
    about |= {"pretrain_seeds": list(one.pretrain_seeds), "draws": means.shape[1], "test_cases": len(one.cases)}
    about |= {"mean": float(means.mean()), "by_pretrain_seed": means.mean(1).tolist()}
    return {**about, "sd_between_draws": float(means.std(1, ddof=1).mean()) if means.shape[1] > 1 else None}


def baseline_entry(one: Baseline) -> dict[str, Any]:
    """Return the entry of summary.json for a baseline of fine-tuning."""
    return {"task": one.task, "budget": one.budget, "name": one.name, "mean": one.mean, "by_seed": list(one.by_seed)}


def effect_entry(effect: Effect) -> dict[str, Any]:
    """Return the entry of summary.json for a comparison."""
    about: dict[str, Any] = {"measure": effect.measure, "task": effect.task, "init": effect.init}
    about |= {"against": effect.against, "budget": effect.budget, "length": effect.length, "primary": effect.primary}
    finite = {**asdict(effect.interval), "detectable": effect.interval.detectable}
    finite["freedom"] = finite["freedom"] if np.isfinite(finite["freedom"]) else None
    return {**about, **finite, "p_holm": effect.p_holm, "verdict": effect.verdict}


def write_summary(path: Path, results: Results) -> None:
    """Write summary.json."""
    study = results.study
    content = {
        "study": study.name,
        "file_sha256": study.digest,
        "protocol": asdict(study.protocol),
        "primary": asdict(study.primary) if study.primary else None,
        "probe": asdict(study.probe) if study.probe else None,
        "metrics": {task: study.metric(task) for task in study.tasks},
        "ran": results.ran,
        "files": list(results.files),
        "pretraining": list(results.pretraining),
        "rates": list(results.rates),
        "scores": [group_entry(group) for group in results.groups],
        "frozen": [frozen_entry(one) for one in results.frozen],
        "baselines": [baseline_entry(one) for one in results.baselines],
        "effects": [effect_entry(effect) for effect in results.effects],
        "curves": [asdict(curve) for curve in results.curves],
    }
    write_json(path, content)
