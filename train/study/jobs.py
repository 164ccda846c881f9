"""Doing the runs of a study: several at once, each once, each resumed where it was cut."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dali_cr

from ..output.files import write_json
from ..run.exits import Stop
from .data import image_folders
from .declared import Study
from .runs import StudyRun, arguments

_PACKAGE = __package__.rpartition(".")[0]
"""`train` in a checkout, `dali_cr.train` in an installation."""

_ROOT = Path(dali_cr.__file__).resolve().parents[1]
"""The folder that packages are imported from."""

_SHOWN = 3


class Failed(RuntimeError):
    """Runs that ended otherwise than finished."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """130 and 143 where a signal ended them, as for a single run."""


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for a process; return its exit code, and the seconds that processors worked for it."""
    try:
        _, status, used = os.wait4(process.pid, 0)
    except ChildProcessError:
        # `terminate` has just seen the end of it, and with it what it used is gone.
        return process.wait(), 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


@dataclass(kw_only=True)
class RunQueue:
    """Where and how runs are done.

    Attributes
    ----------
    study : Study
    folder : Path
        Gets a folder for each run, and beside it its log and what is known of it.
    folders : dict of str to Path
        Of the data.
    jobs : int
        Runs at once.
    threads : int
        Of each.
    device : str
    """

    study: Study
    folder: Path
    folders: dict[str, Path]
    jobs: int = 1
    threads: int = 1
    device: str = "auto"
    _stop: threading.Event = field(default_factory=threading.Event)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def index(self, data: str) -> Path:
        """Return the index of the images."""
        return self.folder / "data" / f"{data}.index.json"

    def split(self, data: str) -> Path:
        """Return the split of the images."""
        return self.folder / "data" / f"{data}.split.json"

    def out(self, run: StudyRun) -> Path:
        """Return the folder of a run."""
        return self.folder / run.name

    def note(self, run: StudyRun) -> Path:
        """Return the file that says how a run is made and how long it took."""
        return self.folder / f"{run.name}.json"

    def log(self, run: StudyRun) -> Path:
        """Return the file of all that a run has said."""
        return self.folder / f"{run.name}.log"

    def report(self, run: StudyRun) -> dict[str, Any] | None:
        """Return the report of a finished run, None if it is not."""
        path = self.out(run) / "report.json"
        if not path.exists() or not self.note(run).exists():
            return None
        report: dict[str, Any] = json.loads(path.read_text())
        return report if report["steps"] >= run.options["steps"] else None

    def read_note(self, run: StudyRun) -> dict[str, Any]:
        """Return how a run is made, and the seconds and attempts it took so far.

        Raises
        ------
        ValueError
            If a run of this name is there that was made otherwise.
        """
        path = self.note(run)
        # Through JSON, as the one that is compared with it was.
        made: dict[str, Any] = json.loads(json.dumps(run.record))
        if not path.exists():
            return {**made, "seconds": 0.0, "cpu_seconds": 0.0, "attempts": 0, "diverged": False}
        known: dict[str, Any] = json.loads(path.read_text())
        for name, value in made.items():
            if known[name] != value:
                raise ValueError(
                    f"study: expected {run.name} as it was begun, with {name} {known[name]}; the file now says "
                    f"{value}. A study is not changed under way: give the changed file another name"
                )
        return known

    def command(self, run: StudyRun) -> list[str]:
        """Return the command line of a run."""
        module = ["dali_cr", run.command[0]] if _PACKAGE.startswith("dali_cr.") else [f"{_PACKAGE}.{run.command[0]}"]
        return [sys.executable, "-m", *module, *run.command[1:], *self.options(run)]

    def options(self, run: StudyRun) -> list[str]:
        """Return the options of a run's command line."""
        data = self.study.data[run.data]
        line = list(arguments(run.options, self.folders[run.data]))
        line += ["--data", *map(str, image_folders(data, self.folders[run.data]))]
        line += ["--index", str(self.index(run.data)), "--split", str(self.split(run.data))]
        line += ["--out", str(self.out(run)), "--device", self.device, "--threads", str(self.threads), "--resume"]
        return [*line, "--init", str(self.folder / run.uses)] if run.uses else line

    def launch(self, run: StudyRun) -> tuple[int, float]:
        """Run a command to its end; return its exit code, and the seconds that processors worked for it.

        Raises
        ------
        Failed
            If an earlier start of this study was killed, and the run goes on without it.
        """
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        with open(self.log(run), "ab") as log:
            # The run inherits the open file, and with it the lock, for as long as it lives.
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Failed(f"{run.name} is still under way, begun by an earlier start: wait for it", 1) from error
            log.write(os.fsencode(f"$ {shlex.join(self.command(run))}\n"))
            log.flush()
            # A group of its own: a Ctrl-C at the terminal is passed on once, not twice, which would not save the run.
            process = subprocess.Popen(
                self.command(run), cwd=_ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            self._processes.append(process)
            if self._stop.is_set():
                process.terminate()
            ended = _wait(process)
            self._processes.remove(process)
        return ended

    def do(self, run: StudyRun) -> str | None:
        """Do a run, or what is left of it; return what went wrong, None if nothing did."""
        if self._stop.is_set():
            return "stopped before it began"
        note = self.read_note(run)
        self.note(run).parent.mkdir(parents=True, exist_ok=True)
        note["attempts"] += 1
        write_json(self.note(run), note)
        began = time.monotonic()
        code, worked = self.launch(run)
        note["seconds"] = round(note["seconds"] + time.monotonic() - began, 1)
        note["cpu_seconds"] = round(note["cpu_seconds"] + worked, 1)
        said = self.log(run).read_text(errors="replace").strip().splitlines()[-1:] if self.log(run).exists() else []
        note["diverged"] = code == 1 and "the loss became" in "".join(said)
        write_json(self.note(run), note)
        # A learning rate that is too high is a finding, not an accident.
        if self.report(run) is not None or (note["diverged"] and run.phase == "tune"):
            return None
        return f"exit code {code}: {''.join(said)[-500:]}"

    def is_done(self, run: StudyRun) -> bool:
        """Tell whether nothing is left to do."""
        note = self.read_note(run)
        return self.report(run) is not None or (bool(note["diverged"]) and run.phase == "tune")

    def do_all(self, runs: Sequence[StudyRun]) -> None:
        """Do what is left of all runs, several at a time; the others go on where one fails.

        Raises
        ------
        Failed
            Naming the runs that did not finish.
        ValueError
            If one was begun otherwise.
        """
        left = [run for run in runs if not self.is_done(run)]
        if not left:
            return
        failed: dict[str, str] = {}
        with Stop() as stop, ThreadPoolExecutor(self.jobs) as pool:
            asked = {pool.submit(self.do, run): run for run in left}
            waiting, count = set(asked), 0
            while waiting:
                # Only between waits does Python look whether a signal came.
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                if stop.signal is not None and not self._stop.is_set():
                    self.end()
                for future in finished:
                    count += 1
                    run, wrong = asked[future], future.result()
                    if wrong is not None:
                        failed[run.name] = wrong
                    took = self.read_note(run)["seconds"]
                    print(f"[{count}/{len(left)}] {run.name}  {wrong or f'{took:.0f} s'}", flush=True)
        if failed:
            shown = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:_SHOWN])
            said = f"{len(failed)} of {len(left)} runs are not finished ({shown}). The same command goes on"
            raise Failed(said, 1 if stop.signal is None else 128 + stop.signal)

    def end(self) -> None:
        """Begin no more runs, and tell those under way to save and end."""
        self._stop.set()
        for process in list(self._processes):
            process.terminate()
