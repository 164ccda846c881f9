"""Move an unfinished study to another machine: pack its finished runs into a small archive, and unpack it there.

::

    python -m train.study.carry pack train/studies/gpu_short/study.toml slice.tar
    python -m train.study.carry unpack train/studies/gpu_short/study.toml slice.tar

The archive has the indexes and splits of the data, and of every finished run, or one that diverged in tuning, its
note, log, settings, reports and scores. Of the weights it has only the encoders that runs still to come are initialised
from, which is why the study needs ``compact = true`` in its protocol. Runs in progress start again.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..start.interrupt import quit_on_interrupt

    quit_on_interrupt("study.carry")

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split

import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from dali_cr.system.interrupt import Outputs
from dali_cr.system.owner import own_folder, refuse_full

from ..output.files import write_json
from ..start.command import read_arguments, stopped
from ..start.interrupt import raise_interrupts
from .compact import compact_run, describe_network
from .declared import Study
from .file import read_study
from .runs import arms_of, pretraining, testing

_KEPT = ("config.json", "report.json", "metrics.jsonl", "scores.csv", "index.json", "splits.json")
"""Files of a finished run that are packed; its weights and its checkpoint are not."""

_ABOUT = "study.json"
"""First member of an archive: the study's name and the number of files, which an incomplete archive lacks."""


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
        ended = [note for note in sorted(home.glob("*/*/*.json")) if _has_ended(note)]
        encoders = [home / name / "model.safetensors" for name in _needed(study, home)]
        for path in encoders:
            compact_run(path.parent)
        size = sum(path.stat().st_size for path in encoders) / 1e6
        if size > config.megabytes:
            raise ValueError(f"megabytes: expected encoders of at most {config.megabytes:g} MB, got {size:.1f} MB")
        files = [*sorted(home.glob("data/*")), *sorted(home.glob("files/*")), *_files(ended), *encoders]
        _write_archive(config.archive, study.name, home, files)
    packed = round(config.archive.stat().st_size / 1e6, 1)
    return {"archive": str(config.archive), "runs": len(ended), "encoders": len(encoders), "megabytes": packed}


def _write_archive(path: Path, name: str, home: Path, files: Sequence[Path]) -> None:
    """Write the archive under a temporary name, so that there is none if this process is killed."""
    part = path.with_name(f"{path.name}.part")
    about = json.dumps({"study": name, "files": len(files)}).encode()
    first = tarfile.TarInfo(_ABOUT)
    first.size = len(about)
    try:
        with tarfile.open(part, "w", dereference=True) as archive:
            archive.addfile(first, io.BytesIO(about))
            for file in files:
                archive.add(file, file.relative_to(home))
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _has_ended(note: Path) -> bool:
    """Return whether a run is finished or has diverged in tuning; complete the notes of finished runs."""
    content, folder = json.loads(note.read_text()), note.with_suffix("")
    if not (folder / "report.json").exists():
        return bool(content.get("diverged")) and note.parents[1].name == "tune"
    # Runs of earlier versions have no description of their network, and their weights are not packed.
    if "network" not in content and (folder / "model.safetensors").exists():
        write_json(note, {**content, "network": describe_network(folder)})
    return True


def _needed(study: Study, home: Path) -> Iterator[str]:
    """Yield the finished pre-training runs that unfinished runs, or probes, are initialised from."""
    rates = {(task, arm): study.protocol.rates[0] for task in study.tasks for arm in arms_of(study, task)}
    used = {run.uses for run in testing(study, rates) if not (home / run.name / "report.json").exists()}
    for run in pretraining(study):
        if (run.name in used or study.probe) and (home / run.name / "report.json").exists():
            yield run.name


def _files(notes: Sequence[Path]) -> Iterator[Path]:
    """Yield the files to pack of runs that have ended."""
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
        If the folder is not empty, or the archive is incomplete or of another study.
    """
    study = read_study(config.file).name
    home = config.runs / study
    with own_folder(home):
        refuse_full(home)
        with tarfile.open(config.archive) as archive:
            members = [member for member in archive if member.name != _ABOUT]
            if not any(member.name.startswith("data/") for member in members):
                raise ValueError(f"archive: expected one written by study.carry pack, got {config.archive}")
            about = _read_about(archive)
            if about["study"] not in (None, study):
                raise ValueError(f"archive: expected one of {study}, got {config.archive} of {about['study']}")
            if about["files"] not in (None, len(members)):
                raise ValueError(
                    f"archive: expected {about['files']} files in {config.archive}, got {len(members)}; copy it again"
                )
            archive.extractall(home, members, filter="data")
    return {"runs": str(home), "files": len(members)}


def _read_about(archive: tarfile.TarFile) -> dict[str, Any]:
    """Return the study's name and the number of files; None for archives of earlier versions, which lack them."""
    file = archive.extractfile(_ABOUT) if _ABOUT in archive.getnames() else None
    about: dict[str, Any] = json.loads(file.read()) if file else {}
    return {"study": about.get("study"), "files": about.get("files")}


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(CarryConfig, "study.carry", arguments)
    raise_interrupts()
    outputs = Outputs()
    outputs.add(config.archive)
    try:
        found = pack(config) if config.action == "pack" else unpack(config)
    except (ValueError, OSError, tarfile.TarError) as error:
        print(f"study.carry: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        if config.action == "pack":
            return stopped("study.carry", stop, outputs)
        return stopped("study.carry", stop, f"{config.runs} has a part of the files", "remove it and start again")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
