"""Execution of a study's runs: several at a time, each finished run once, interrupted runs resumed."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from ...output.files import write_json
from ...run.exits import Stop
from ..compact import compact_run, describe_network
from ..data import image_folders
from ..runs import StudyRun, arguments
from .folder import RunFolder
from .limit import TimeLimit
from .processes import Processes

_PACKAGE = __package__.rpartition(".study")[0]
"""`train` in a checkout, `dali_cr.train` in an installation."""

_TERMINATED = (128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit codes of a run that was stopped, the latter during its start."""

_SHOWN = 3

_LATER = "left for later: no time to finish it"
_STOPPED = "stopped at the time limit, saved"
_UNSAVED = "stopped at the time limit, before its first checkpoint"


class Failed(RuntimeError):
    """Raised when runs did not finish."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """130 or 143 if a signal ended them, as for a single run."""


class TimeUp(RuntimeError):
    """Raised when runs are left at the time limit."""


@dataclass(kw_only=True)
class RunQueue(RunFolder):
    """The runs of a study, as processes.

    Attributes
    ----------
    jobs : int
        Number of runs at a time.
    threads : int
        Threads of each run.
    device : str
    limit : TimeLimit
        Runs in progress at its deadline are stopped.
    """

    jobs: int = 1
    threads: int = 1
    device: str = "auto"
    limit: TimeLimit = field(default_factory=TimeLimit)
    _late: bool = False
    _gained: bool = False
    """Whether a run of this call has finished or saved a checkpoint."""
    _processes: Processes = field(default_factory=Processes)

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
        try:
            return self._processes.run(self.command(run), self.log(run), {"OMP_NUM_THREADS": str(self.threads)})
        except BlockingIOError as error:
            raise Failed(f"{run.name} is still in progress, started by an earlier process; wait for it", 1) from error

    def do(self, run: StudyRun) -> str | None:
        """Start or resume a run and wait for it; return an error message, None for success."""
        if self._processes.stopped.is_set():
            return _LATER if self._late else "stopped before it was started"
        if not self.limit.admits(self.expected(run)):
            return _LATER
        note, saved = self.read_note(run), self.saved(run)
        self.note(run).parent.mkdir(parents=True, exist_ok=True)
        note["attempts"] += 1
        write_json(self.note(run), note)
        began = time.monotonic()
        code, worked = self.launch(run)
        note["seconds"] = round(note["seconds"] + time.monotonic() - began, 1)
        note["cpu_seconds"] = round(note["cpu_seconds"] + worked, 1)
        last = self.log(run).read_text(errors="replace").strip().splitlines()[-1:] if self.log(run).exists() else []
        finished = self.report(run) is not None
        if finished:
            note["network"] = describe_network(self.out(run))
        note["diverged"] = code == 1 and "the loss became" in "".join(last)
        write_json(self.note(run), note)
        self._gained |= finished or self.saved(run) != saved
        if self._late and not finished and code in _TERMINATED:
            return _STOPPED if self.saved(run) != saved else _UNSAVED
        # Divergence is a valid outcome of tuning: the learning rate is too high.
        if finished or (note["diverged"] and run.phase == "tune"):
            return None
        return f"exit code {code}: {''.join(last)[-500:]}"

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
        wrong: dict[str, str] = {}
        self._compact(left)
        with Stop() as stop, ThreadPoolExecutor(self.jobs) as pool:
            asked = {pool.submit(self.do, run): run for run in left}
            waiting, count = set(asked), 0
            while waiting:
                # Python handles signals between waits only.
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                self._late = self._late or self.limit.is_over
                # Once: a second signal would end a run before it is saved.
                if (stop.signal is not None or self._late) and not self._processes.stopped.is_set():
                    self._processes.stop()
                for future in finished:
                    count += 1
                    run, why = asked[future], future.result()
                    if why is not None:
                        wrong[run.name] = why
                    took = self.read_note(run)["seconds"]
                    print(f"[{count}/{len(left)}] {run.name}  {why or f'{took:.0f} s'}", flush=True)
        self._end(left, wrong, stop.signal)

    def _end(self, runs: Sequence[StudyRun], wrong: dict[str, str], stopped_by: int | None) -> None:
        """Raise an error if runs are not finished; `wrong` has the reasons."""
        if not wrong:
            return
        late = [run for run in runs if wrong.get(run.name) in (_LATER, _STOPPED, _UNSAVED)]
        if len(late) == len(wrong):
            raise self._time_up(runs, late, [name for name, why in wrong.items() if why == _UNSAVED])
        shown = "; ".join(f"{name}: {why}" for name, why in list(wrong.items())[:_SHOWN])
        message = f"{len(wrong)} of {len(runs)} runs are not finished ({shown}). The same command continues them"
        raise Failed(message, 1 if stopped_by is None else 128 + stopped_by)

    def _time_up(self, runs: Sequence[StudyRun], late: Sequence[StudyRun], unsaved: Sequence[str]) -> RuntimeError:
        """Return the error for runs that the time limit left; without any gain, another call would gain nothing."""
        if unsaved and not self._gained:
            return Failed(
                f"no run reached a checkpoint within the time limit ({', '.join(unsaved[:_SHOWN])}); give more "
                "--minutes, or less work to each step, such as a smaller batch_size or evaluate_cases",
                1,
            )
        needed = self.expected(late[0]) / 60
        wanted = f" and takes about {needed:.1f} minutes" if needed else ""
        begun = sum(self.saved(run) is not None for run in late)
        kept = f", {begun} of them from checkpoints, which study.carry does not pack" if begun else ""
        named = f"{len(late)} of {len(runs)} runs are left, {late[0].name} is next{wanted}"
        return TimeUp(f"{named}; the same command continues{kept}")

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
