"""Move an unfinished study to another machine: pack its finished runs into a small archive, and unpack it there.

::

    python -m train.study.carry pack train/studies/gpu_short/study.toml slice.tar
    python -m train.study.carry unpack train/studies/gpu_short/study.toml slice.tar

The archive has the indexes and splits of the data, and of every finished run its note, log, settings, reports and
scores. Of the weights it has only the encoders that runs still to come are initialised from, which is why the study
needs ``compact = true`` in its protocol. Runs in progress start again.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..start.interrupt import quit_on_interrupt

    quit_on_interrupt("study.carry")

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from dali_cr.system.owner import own_folder, refuse_full

from ..start.command import read_arguments
from ..start.interrupt import raise_interrupts
from .compact import compact_run
from .declared import Study
from .file import read_study
from .runs import arms_of, pretraining, testing

_KEPT = ("config.json", "report.json", "metrics.jsonl", "scores.csv", "index.json", "splits.json")
"""Files of a finished run that are packed; its weights and its checkpoint are not."""


@dataclass(frozen=True, kw_only=True)
class CarryConfig:
    """Pack the finished runs of a study into an archive, or unpack them."""

    action: tyro.conf.Positional[Literal["pack", "unpack"]]
    """Data: what to do."""
    file: tyro.conf.Positional[Path]
    """Data: the study's TOML file."""
    archive: tyro.conf.Positional[Path]
    """Data: the archive to write or to read."""
    runs: Path = Path("runs")
    """Output: parent of the folder of runs, which has the study's name."""
    megabytes: float = 16.0
    """Output: largest size of the packed encoders in MB; more is an error."""


def pack(config: CarryConfig) -> dict[str, object]:
    """Write the archive; return the numbers of runs and encoders in it, and its size in MB.

    Raises
    ------
    ValueError
        If the study does not keep compact encoders, has no runs, or the encoders exceed the limit.
    """
    study, folder = read_study(config.file), config.runs
    if not study.protocol.compact:
        raise ValueError(f"protocol.compact: expected true in {config.file}, to pack its encoders; got false")
    home = folder / study.name
    if not (home / "data").is_dir():
        raise ValueError(f"runs: expected runs of {study.name} in {home}, got none; give --runs with its parent")
    with own_folder(home):
        finished = [note for note in sorted(home.glob("*/*/*.json")) if (note.with_suffix("") / "report.json").exists()]
        encoders = [home / name / "model.safetensors" for name in _needed(study, home)]
        for path in encoders:
            compact_run(path.parent)
        size = sum(path.stat().st_size for path in encoders) / 1e6
        if size > config.megabytes:
            raise ValueError(f"megabytes: expected encoders of at most {config.megabytes:g} MB, got {size:.1f} MB")
        with tarfile.open(config.archive, "w") as archive:
            for path in [*sorted(home.glob("data/*")), *sorted(home.glob("files/*")), *_files(finished), *encoders]:
                archive.add(path, path.relative_to(home))
    packed = round(config.archive.stat().st_size / 1e6, 1)
    return {"archive": str(config.archive), "runs": len(finished), "encoders": len(encoders), "megabytes": packed}


def _needed(study: Study, home: Path) -> Iterator[str]:
    """Yield the finished pre-training runs that unfinished runs, or probes, are initialised from."""
    rates = {(task, arm): study.protocol.rates[0] for task in study.tasks for arm in arms_of(study, task)}
    used = {run.uses for run in testing(study, rates) if not (home / run.name / "report.json").exists()}
    for run in pretraining(study):
        if (run.name in used or study.probe) and (home / run.name / "report.json").exists():
            yield run.name


def _files(notes: Sequence[Path]) -> Iterator[Path]:
    """Yield the files to pack of finished runs."""
    for note in notes:
        yield note
        for path in (note.with_suffix(".log"), *(note.with_suffix("") / name for name in _KEPT)):
            if path.exists():
                yield path


def unpack(config: CarryConfig) -> dict[str, object]:
    """Read the archive into the folder of the study's runs, which must be new; return the number of files.

    Raises
    ------
    ValueError
        If the folder is not empty, or the archive is of another study.
    """
    home = config.runs / read_study(config.file).name
    with own_folder(home):
        refuse_full(home)
        with tarfile.open(config.archive) as archive:
            names = archive.getnames()
            if not any(name.startswith("data/") for name in names):
                raise ValueError(f"archive: expected one written by study.carry pack, got {config.archive}")
            archive.extractall(home, filter="data")
    return {"runs": str(home), "files": len(names)}


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(CarryConfig, "study.carry", arguments)
    raise_interrupts()
    try:
        found = pack(config) if config.action == "pack" else unpack(config)
    except (ValueError, OSError, tarfile.TarError) as error:
        print(f"study.carry: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
