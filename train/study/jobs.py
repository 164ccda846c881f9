"""Execution of a study's runs: several at a time, each finished run once, interrupted runs resumed."""

from __future__ import annotations

import fcntl
import json
import math
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
from .compact import compact_run, describe_network
from .data import image_folders
from .declared import Study
from .runs import StudyRun, arguments

_PACKAGE = __package__.rpartition(".")[0]
"""`train` in a checkout, `dali_cr.train` in an installation."""

_ROOT = Path(dali_cr.__file__).resolve().parents[1]
"""Folder that the packages are imported from."""

_SHOWN = 3

_LATER = "left for later: no time to finish it"


class Failed(RuntimeError):
    """Raised when runs did not finish."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """130 or 143 if a signal ended them, as for a single run."""


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for a process; return its exit code and its CPU seconds."""
    try:
        _, status, used = os.wait4(process.pid, 0)
    except ChildProcessError:
        # `terminate` has already reaped the process, so its usage is no longer available.
        return process.wait(), 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


class TimeUp(RuntimeError):
    """Raised when runs are left that would not finish within the time limit."""


@dataclass(kw_only=True)
class RunQueue:
    """The runs of a study, as processes with their folders, logs and notes.

    Attributes
    ----------
    study : Study
    folder : Path
        Holds for each run its folder, its log and a note (a JSON file) about it.
    folders : dict of str to Path
        Folders of the data sets, by name.
    jobs : int
        Number of runs at a time.
    threads : int
        Threads of each run.
    device : str
    deadline : float
        Time of `time.monotonic` by which runs must have finished. A run that is expected to take longer, by the
        slowest finished one of its phase, is not started; a run in progress at the deadline is stopped.
    """

    study: Study
    folder: Path
    folders: dict[str, Path]
    jobs: int = 1
    threads: int = 1
    device: str = "auto"
    deadline: float = math.inf
    _stop: threading.Event = field(default_factory=threading.Event)
    _late: bool = False
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def index(self, data: str) -> Path:
        """Return the path of a data set's index."""
        return self.folder / "data" / f"{data}.index.json"

    def split(self, data: str) -> Path:
        """Return the path of a data set's split."""
        return self.folder / "data" / f"{data}.split.json"

    def out(self, run: StudyRun) -> Path:
        """Return the folder of a run."""
        return self.folder / run.name

    def note(self, run: StudyRun) -> Path:
        """Return the path of a run's note: its command and options, its seconds and attempts."""
        return self.folder / f"{run.name}.json"

    def log(self, run: StudyRun) -> Path:
        """Return the path of a run's log."""
        return self.folder / f"{run.name}.log"

    def report(self, run: StudyRun) -> dict[str, Any] | None:
        """Return the report of a run; None if it is not finished."""
        path = self.out(run) / "report.json"
        if not path.exists() or not self.note(run).exists():
            return None
        report: dict[str, Any] = json.loads(path.read_text())
        return report if report["steps"] >= run.options["steps"] else None

    def read_note(self, run: StudyRun) -> dict[str, Any]:
        """Return the note of a run: its command and options, and its seconds and attempts so far.

        Raises
        ------
        ValueError
            If a run of this name was started with other options.
        """
        path = self.note(run)
        # Through JSON, as the stored note that it is compared with.
        made: dict[str, Any] = json.loads(json.dumps(run.record))
        if not path.exists():
            return {**made, "seconds": 0.0, "cpu_seconds": 0.0, "attempts": 0, "diverged": False}
        known: dict[str, Any] = json.loads(path.read_text())
        for name, value in made.items():
            if known[name] != value:
                raise ValueError(
                    f"study: expected {name} {known[name]} for {run.name}, which was started with it, got {value}; a "
                    "study must not be changed while it runs: give the changed file another name"
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
        """Run a command until it ends; return its exit code and its CPU seconds.

        Raises
        ------
        Failed
            If the run is still in progress, started by an earlier process of this study that was killed.
        """
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        with open(self.log(run), "ab") as log:
            # The run inherits the open file, and holds its lock as long as it lives.
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Failed(
                    f"{run.name} is still in progress, started by an earlier process; wait for it", 1
                ) from error
            log.write(os.fsencode(f"$ {shlex.join(self.command(run))}\n"))
            log.flush()
            # In its own process group, so that Ctrl-C reaches it once, not twice: the second would not save the run.
            process = subprocess.Popen(
                self.command(run), cwd=_ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            self._processes.append(process)
            if self._stop.is_set():
                process.terminate()
            ended = _wait(process)
            self._processes.remove(process)
        return ended

    def expected(self, run: StudyRun) -> float:
        """Return the expected seconds of a run, or of its rest: by the slowest finished run of its phase, or 0."""
        notes = [json.loads(path.read_text()) for path in self.folder.glob(f"{run.phase}/*/*.json")]
        rates = [note["seconds"] / note["options"]["steps"] for note in notes if note.get("network")]
        return float(max(0.0, max(rates, default=0.0) * run.options["steps"] - self.read_note(run)["seconds"]))

    def do(self, run: StudyRun) -> str | None:
        """Start or resume a run and wait for it; return an error message, None for success."""
        if self._stop.is_set():
            return _LATER if self._late else "stopped before it was started"
        if time.monotonic() + self.expected(run) > self.deadline:
            return _LATER
        note = self.read_note(run)
        self.note(run).parent.mkdir(parents=True, exist_ok=True)
        note["attempts"] += 1
        write_json(self.note(run), note)
        began = time.monotonic()
        code, worked = self.launch(run)
        note["seconds"] = round(note["seconds"] + time.monotonic() - began, 1)
        note["cpu_seconds"] = round(note["cpu_seconds"] + worked, 1)
        last = self.log(run).read_text(errors="replace").strip().splitlines()[-1:] if self.log(run).exists() else []
        if self.report(run) is not None:
            note["network"] = describe_network(self.out(run))
        note["diverged"] = code == 1 and "the loss became" in "".join(last)
        write_json(self.note(run), note)
        if self._late and self.report(run) is None:
            return _LATER
        # Divergence is a valid outcome of tuning: the learning rate is too high.
        if self.report(run) is not None or (note["diverged"] and run.phase == "tune"):
            return None
        return f"exit code {code}: {''.join(last)[-500:]}"

    def is_done(self, run: StudyRun) -> bool:
        """Return whether a run is finished, or diverged during tuning."""
        note = self.read_note(run)
        return self.report(run) is not None or (bool(note["diverged"]) and run.phase == "tune")

    def do_all(self, runs: Sequence[StudyRun]) -> None:
        """Run everything that is not finished, several at a time; a failure does not stop the others.

        Raises
        ------
        Failed
            Naming the runs that did not finish.
        TimeUp
            If the others finished, but the time limit left some.
        ValueError
            If a run was started with other options.
        """
        left = [run for run in runs if not self.is_done(run)]
        if not left:
            return
        failed: dict[str, str] = {}
        self._compact(left)
        with Stop() as stop, ThreadPoolExecutor(self.jobs) as pool:
            asked = {pool.submit(self.do, run): run for run in left}
            waiting, count = set(asked), 0
            while waiting:
                # Python handles signals between waits only.
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                self._late = self._late or time.monotonic() > self.deadline
                if (stop.signal is not None or self._late) and not self._stop.is_set():
                    self.end()
                for future in finished:
                    count += 1
                    run, wrong = asked[future], future.result()
                    if wrong is not None:
                        failed[run.name] = wrong
                    took = self.read_note(run)["seconds"]
                    print(f"[{count}/{len(left)}] {run.name}  {wrong or f'{took:.0f} s'}", flush=True)
        later = [name for name, why in failed.items() if why == _LATER]
        if later and len(later) == len(failed):
            needed = self.expected(next(run for run in left if run.name == later[0])) / 60
            wanted = f" and takes about {needed:.1f} minutes" if needed else ""
            raise TimeUp(
                f"{len(later)} of {len(left)} runs are left, {later[0]} is next{wanted}; the same command continues"
            )
        if failed:
            shown = "; ".join(f"{name}: {why}" for name, why in list(failed.items())[:_SHOWN])
            message = f"{len(failed)} of {len(left)} runs are not finished ({shown}). The same command continues them"
            raise Failed(message, 1 if stop.signal is None else 128 + stop.signal)

    def _compact(self, runs: Sequence[StudyRun]) -> None:
        """Reduce the pre-training runs that these runs are initialised from to their encoders, if the study says so."""
        if self.study.protocol.compact:
            for name in dict.fromkeys(run.uses for run in runs if run.uses):
                if not (self.folder / name / "model.safetensors").exists():
                    raise ValueError(
                        f"study: expected the encoder of {name}, which was not packed since no run needed it; pack "
                        f"again with this file of the study, or remove {self.folder / name} to pre-train again"
                    )
                compact_run(self.folder / name)

    def end(self) -> None:
        """Start no more runs, and stop those in progress, which save themselves."""
        self._stop.set()
        for process in list(self._processes):
            process.terminate()
