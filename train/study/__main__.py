"""Measure the effect of pre-training: run tasks × initialisations × label budgets × seeds as declared in one file.

::

    python -m train.study train/studies/cpu/study.toml --dry-run
    python -m train.study train/studies/cpu/study.toml --data msd_hippocampus=/data/msd_hippocampus --jobs 2

The file fixes the protocol before the first run: see ``train/studies/cpu/study.toml``. Each data set is pre-trained on
once for each initialisation and seed, on the training part of the split only. The learning rate of each task and
initialisation is chosen on val, with a seed that is not used for testing. Then the last weights of every run are
tested once. The same command continues an interrupted study: finished runs are not repeated, and a changed entry of
the file raises an error if it concerns a run that was started.

Runs, their logs and their times are written to ``runs/STUDY``. When all runs are finished, the results are written to
the folder of ``study.toml``:

==================  =================================================================================================
``study.toml``      the study's file
``runs.csv``        the score of every case of every run
``frozen.csv``      linear probes of frozen encoders, if the study declares them
``summary.json``    scores, effects, learning rates, pre-training, times, versions, commits, devices
``table.md``        the same as tables
``scores.svg``      score over the number of labelled cases
==================  =================================================================================================

Exit codes: 0 if the study is finished, 1 if runs failed or ``--minutes`` are too few for a first checkpoint, 2 for
invalid input and if all learning rates diverge, 3 if ``--minutes`` left runs, and 130 (Ctrl-C) or 143 (SIGTERM) if the
study was stopped and its runs were saved.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..start.interrupt import quit_on_interrupt

    quit_on_interrupt("study")

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from dali_cr.system.console import print_anything
from dali_cr.system.owner import own_folder

from ..output.files import write_whole
from ..start.command import read_arguments, refuse_several, stopped
from ..start.interrupt import raise_interrupts
from .data import find_folders, index_data
from .declared import Study
from .file import home_of, read_study
from .report.files import write_frozen, write_runs, write_summary
from .report.markdown import write_tables
from .report.measure import measure
from .report.plot import draw_scores
from .running.jobs import Failed, RunQueue, TimeUp
from .running.limit import TimeLimit
from .running.phases import do_runs
from .runs import arms_of, pretraining, testing, tuning

TIME_UP = 3
"""Exit code if the time limit left runs."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Measure the effect of pre-training with the runs that a file declares."""

    file: tyro.conf.Positional[Path]
    """Data: the study's TOML file."""
    data: tuple[str, ...] = ()
    """Data: NAME=PATH, the folder of each data set; by default the subfolder NAME of the folder DALI_CR_DATA."""
    jobs: int = 1
    """Hardware: number of runs at a time; they may share one GPU."""
    threads: int | None = None
    """Hardware: threads of each run; by default the cores divided by --jobs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Hardware: device to train on; auto is a GPU if there is one."""
    runs: Path = Path("runs")
    """Output: parent of the folder of runs, which has the study's name."""
    results: Path | None = None
    """Output: parent of the folder of results, which has the study's name; by default results go beside study.toml."""
    minutes: float | None = None
    """Hardware: time limit. Runs that would not finish in time are left for the next call; those that are longer than
    the limit are started. Runs in progress at its end are saved and stopped, and the exit code is 3; the same command
    continues. The study can move between machines, see train.study.carry."""
    dry_run: bool = False
    """Output: only list the runs and count them."""

    def __post_init__(self) -> None:
        """Check the counts."""
        for name in ("jobs", "threads"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}: expected at least 1, got {count}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes: expected a number above 0, got {self.minutes}")


def results_of(config: StudyConfig) -> Path:
    """Return the folder for the results of a study."""
    home = home_of(config.file)
    return config.results / home.name if config.results else home


def list_runs(study: Study) -> Iterator[str]:
    """Yield a line for each run, then a line with their number."""
    # The chosen learning rate is not part of a run's name, so any rate serves here.
    rates = {(task, arm): study.protocol.rates[0] for task in study.tasks for arm in arms_of(study, task)}
    runs = [*pretraining(study), *tuning(study), *testing(study, rates)]
    for run in runs:
        yield f"{run.name}  {run.options['steps']} steps"
    counts = Counter(run.phase for run in runs)
    steps = sum(run.options["steps"] for run in runs)
    yield f"{len(runs)} runs: {', '.join(f'{count} to {phase}' for phase, count in counts.items())}; {steps} steps"


def open_queue(config: StudyConfig, study: Study) -> RunQueue:
    """Find, scan and split the data, and return the queue of the study's runs.

    Raises
    ------
    ValueError
        If data are missing, or an earlier start of this study split them differently.
    """
    limit = TimeLimit(time.monotonic() + 60 * (config.minutes or math.inf))
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.jobs)
    folder, folders = (config.runs / study.name).absolute(), find_folders(study, config.data)
    hardware: dict[str, Any] = {"jobs": config.jobs, "threads": threads, "device": config.device}
    queue = RunQueue(study=study, folder=folder, folders=folders, limit=limit, **hardware)
    for name, data in study.data.items():
        index_data(data, folders[name], queue.index(name), queue.split(name))
    # Copies of all versions of the study's file show whether the protocol was changed during the study.
    (folder / "files").mkdir(exist_ok=True)
    write_whole(folder / "files" / f"{study.digest[:16]}.toml", config.file.read_bytes())
    return queue


def main(config: StudyConfig) -> Path:
    """Run the study and return the folder of its results.

    Raises
    ------
    Failed, TimeUp, ValueError, OSError
        See `do_runs` and `open_queue`.
    """
    study = read_study(config.file)
    with own_folder(config.runs / study.name), own_folder(results_of(config)):
        return _do(config, study)


def _do(config: StudyConfig, study: Study) -> Path:
    """Run a study whose folders this process holds; see `main`."""
    queue = open_queue(config, study)
    done = do_runs(queue)
    results = measure(queue, done)
    out = results_of(config)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "study.toml").exists() or not config.file.samefile(out / "study.toml"):
        write_whole(out / "study.toml", config.file.read_bytes())
    write_runs(out / "runs.csv", queue, [*done.tuned, *done.tested])
    if results.frozen:
        write_frozen(out / "frozen.csv", results.frozen)
    write_summary(out / "summary.json", results)
    write_tables(out / "table.md", results)
    draw_scores(out / "scores.svg", results)
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
    except TimeUp as error:
        print(f"study: time limit of {config.minutes:g} minutes: {error}", file=sys.stderr)
        return TIME_UP
    except Failed as error:
        print(f"study: {error}", file=sys.stderr)
        return error.exit_code
    except (ValueError, OSError) as error:
        print(f"study: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        return stopped("study", stop, f"finished runs in {config.runs} are kept", "the same command continues")
    print(json.dumps({"results": str(out)}))
    return 0


if __name__ == "__main__":
    sys.exit(command_line())
