"""Find out what pre-training brings: tasks × beginnings × budgets of labels × seeds, from one declared file.

::

    python -m train.study train/studies/cpu/study.toml --dry-run
    python -m train.study train/studies/cpu/study.toml --data msd_hippocampus=/data/msd_hippocampus --jobs 2

The file fixes the protocol before the first run: see ``train/studies/cpu/study.toml``. Pre-training runs are made once
for each data, beginning and seed, on the pool of the split only; learning rates are chosen for each task and beginning
on val, with a seed that tests nothing; then every run's last weights are tested once. The same command goes on where it
was cut: finished runs are not done again, and a changed entry of the file is refused for runs that were begun.

Runs, their logs and their times are under ``runs/STUDY``. Under ``train/results/STUDY`` are, when all are finished,

==================  =================================================================================================
``study.toml``      the file
``runs.csv``        the score of every case of every run
``summary.json``    scores, effects, rates, pre-training, times, versions, commits, devices
``table.md``        the same to read
``scores.svg``      score against labelled cases
==================  =================================================================================================

The exit code is 0 for a finished study, 1 where runs failed, 2 where the impossible was asked for, 130 (Ctrl-C) or 143
(SIGTERM) for one whose runs were saved before their end.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..start.interrupt import quit_on_interrupt

    quit_on_interrupt("study")

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from dali_cr.system.console import print_anything
from dali_cr.system.owner import own_folder

from ..output.files import write_whole
from ..start.command import read_arguments, refuse_several
from ..start.interrupt import EXIT_CODE, STARTS_AGAIN, raise_interrupts
from .data import find_folders, index_data
from .declared import Study
from .effects import compare, gather
from .file import home_of, read_study
from .jobs import Failed, RunQueue
from .markdown import write_tables
from .plot import draw_scores
from .report import describe_pretraining, describe_runs, write_runs, write_summary
from .runs import StudyRun, arms_of, pretraining, testing, tuning
from .scores import choose_rates, refuse_other_networks


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Find out what pre-training brings, by the runs that a file declares."""

    file: tyro.conf.Positional[Path]
    """The study, as TOML."""
    data: tuple[str, ...] = ()
    """NAME=PATH, the folder of each data; without, the one of that name in the folder that DALI_CR_DATA names."""
    jobs: int = 1
    """Runs at once, on one GPU too."""
    threads: int | None = None
    """Of each run; the cores shared between the jobs if not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto is a GPU if there is one."""
    runs: Path = Path("runs")
    """Gets a folder with the study's name, for what runs leave."""
    results: Path | None = None
    """Gets a folder with the study's name, for what is kept; the folder of study.toml itself if not given."""
    dry_run: bool = False
    """Only list the runs and say how many they are."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong."""
        for name in ("jobs", "threads"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}: expected at least 1, got {count}")


def results_of(config: StudyConfig) -> Path:
    """Return the folder for what is kept of a study."""
    home = home_of(config.file)
    return config.results / home.name if config.results else home


def list_runs(study: Study) -> Iterator[str]:
    """Yield a line for each run, and how many there are."""
    # Which rate is chosen changes no run's name.
    rates = {(task, arm): study.protocol.rates[0] for task in study.tasks for arm in arms_of(study, task)}
    runs = [*pretraining(study), *tuning(study), *testing(study, rates)]
    for run in runs:
        yield f"{run.name}  {run.options['steps']} steps"
    counts = Counter(run.phase for run in runs)
    steps = sum(run.options["steps"] for run in runs)
    yield f"{len(runs)} runs: {', '.join(f'{count} to {phase}' for phase, count in counts.items())}; {steps} steps"


def open_queue(config: StudyConfig, study: Study) -> RunQueue:
    """Find the data, scan and split them, and return what does the runs.

    Raises
    ------
    ValueError
        If data are missing or were split otherwise before.
    """
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.jobs)
    folder, folders = (config.runs / study.name).absolute(), find_folders(study, config.data)
    queue = RunQueue(
        study=study, folder=folder, folders=folders, jobs=config.jobs, threads=threads, device=config.device
    )
    for name, data in study.data.items():
        index_data(data, folders[name], queue.index(name), queue.split(name))
    # Which files a study was done by shows whether its protocol was changed under way.
    (folder / "files").mkdir(exist_ok=True)
    write_whole(folder / "files" / f"{study.digest[:16]}.toml", config.file.read_bytes())
    return queue


def do_runs(queue: RunQueue) -> tuple[list[StudyRun], list[StudyRun], list[StudyRun], list[dict[str, object]]]:
    """Do what is left of all runs; return those of each phase, and what was found of the rates.

    Raises
    ------
    Failed
        When runs did not finish.
    ValueError
        When runs cannot be compared.
    """
    study = queue.study
    before, tuned = pretraining(study), tuning(study)
    queue.do_all(before)
    queue.do_all(tuned)
    refuse_other_networks(queue, tuned)
    rates, told = choose_rates(queue, tuned)
    tested = testing(study, rates)
    queue.do_all(tested)
    refuse_other_networks(queue, [*tuned, *tested])
    return before, tuned, tested, told


def main(config: StudyConfig) -> Path:
    """Do the study and return the folder of its results.

    Raises
    ------
    Failed, ValueError, OSError
        See `do_runs` and `open_queue`.
    """
    study = read_study(config.file)
    with own_folder(config.runs / study.name), own_folder(results_of(config)):
        return _do(config, study)


def _do(config: StudyConfig, study: Study) -> Path:
    """Do the study of `main`."""
    queue = open_queue(config, study)
    before, tuned, tested, rates = do_runs(queue)
    groups = gather(queue, tested)
    effects = compare(study, groups)
    told = {
        "ran": describe_runs(queue, [*before, *tuned, *tested]),
        "files": sorted(path.stem for path in (queue.folder / "files").glob("*.toml")),
        "pretraining": describe_pretraining(queue, before),
        "rates": rates,
    }
    out = results_of(config)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "study.toml").exists() or not config.file.samefile(out / "study.toml"):
        write_whole(out / "study.toml", config.file.read_bytes())
    write_runs(out / "runs.csv", queue, [*tuned, *tested])
    write_summary(out / "summary.json", study, groups, effects, **told)
    write_tables(out / "table.md", study, groups, effects, told)
    draw_scores(out / "scores.svg", study, groups)
    return out


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(StudyConfig, "study", arguments)
    print_anything()
    raise_interrupts()
    try:
        refuse_several()
        if config.dry_run:
            print("\n".join(list_runs(read_study(config.file))))
            return 0
        out = main(config)
    except Failed as error:
        print(f"study: {error}", file=sys.stderr)
        return error.exit_code
    except (ValueError, OSError) as error:
        print(f"study: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"study: {STARTS_AGAIN}", file=sys.stderr)
        return EXIT_CODE
    print(json.dumps({"results": str(out)}))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
