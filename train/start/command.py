"""Parsing of a command's arguments, and its end: a JSON report or a one-line error, and the exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import tyro

import dali_cr
from dali_cr.pipeline.advice import warnings_as_lines
from dali_cr.system.account import complete_account
from dali_cr.system.console import print_anything
from dali_cr.system.interrupt import START_AGAIN, describe_stop
from dali_cr.system.owner import own_folder

from ..run.checkpoint import CHECKPOINT
from ..run.config.training import RunSettings
from ..run.exits import Refused, Stopped
from ..run.folder.config_file import defaults_of, finished_report, holds_run, plain
from ..run.folder.earlier import earlier_run, unused_changes
from .initial import check_initial
from .interrupt import raise_interrupts

Answer = TypeVar("Answer")


def read_arguments(settings: Any, name: str, arguments: Sequence[str] | None) -> Any:
    """Parse a command line into settings.

    Parameters
    ----------
    settings : dataclass, or function whose parameters are the settings
    name : str
        Name of the command, such as ``pretrain``.
    arguments : sequence of str, optional
        The words of the command line; by default those of this process.
    """
    return tyro.cli(settings, prog=program(name), args=arguments, config=(tyro.conf.FlagCreatePairsOff,))


def program(name: str) -> str:
    """Return the program name of a command: ``dali-cr pretrain``, or in a checkout ``python -m train.pretrain``."""
    package = __package__.rpartition(".")[0]
    return f"dali-cr {name}" if package.startswith("dali_cr.") else f"python -m {package}.{name}"


def end(
    name: str,
    work: Callable[[], dict[str, Any]],
    out: Path | None = None,
    *,
    several: bool = False,
    kept: object = "finished files are kept",
) -> int:
    """Run a command, print its report or error, and return the exit code.

    Parameters
    ----------
    name : str
        Name of the command, used as prefix of errors.
    work : function
        Runs the command and returns its report.
    out : Path, optional
        Folder of the run, if the command can be resumed.
    several : bool
        Whether the command may run as several processes under torchrun.
    kept : object
        After Ctrl-C or SIGTERM, its `str` says what is on the disk, for a command that cannot be resumed.
    """
    print_anything()
    complete_account()
    raise_interrupts()
    try:
        if not several:
            refuse_several()
        with warnings_as_lines():
            report, code = work(), 0
    except Refused as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, dali_cr.VolumeError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        return stopped(name, stop, *(_kept_run(out) if out else (kept,)))
    except Stopped as stop:
        print(f"{name}: {stop}; --resume continues", file=sys.stderr)
        report, code = stop.report, stop.exit_code
    print(json.dumps(report))
    return code


def stopped(name: str, stop: KeyboardInterrupt, kept: object, again: str = START_AGAIN) -> int:
    """Print the line about a signal, as `dali_cr.system.interrupt.describe_stop`, and return the exit code."""
    line, code = describe_stop(stop, str(kept), again)
    print(f"{name}: {line}", file=sys.stderr)
    return code


def _kept_run(out: Path) -> tuple[str, str]:
    """Return what is kept of a run that was stopped, and how to continue it."""
    if holds_run(out):
        return f"the last checkpoint in {out} is kept", "--resume continues"
    return "no checkpoint was written", START_AGAIN


def refuse_several() -> None:
    """Check that this is the only process: several would do the same work and write the same files.

    Raises
    ------
    Refused
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise Refused(f"expected one process, torchrun started {count}; start the command without torchrun")


def asked(work: Callable[[], Answer]) -> Answer:
    """Call a function and turn its input errors into `Refused`.

    Raises
    ------
    Refused
    """
    try:
        return work()
    except (ValueError, OSError, ImportError) as error:
        raise Refused(str(error)) from error


@contextmanager
def own(out: Path) -> Iterator[None]:
    """Lock an output folder for this process.

    Raises
    ------
    Refused
        If another process has locked it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(own_folder(out))
        except (ValueError, OSError) as error:
            raise Refused(str(error)) from error
        yield


def start(
    config: RunSettings,
    kind: str,
    prepare: Callable[[dict[str, Any] | None], Any],
    *,
    started: bool = False,
) -> tuple[Any, dict[str, Any] | None]:
    """Prepare a run, or return the report of a finished one.

    Parameters
    ----------
    config : RunSettings
    kind : str
        Kind of run: pretrain, or a task.
    prepare : function
        Creates the run from the config.json of the run to resume, or from None for a new one.
    started : bool
        Whether another process of this run has already prepared it.

    Returns
    -------
    run : object or None
        The result of `prepare`; None if the run is finished.
    report : dict or None
        The report of a finished run.

    Raises
    ------
    Refused
        If it cannot be started with these settings.
    """
    try:
        now, defaults = plain(config), defaults_of(config)
        earlier = earlier_run(config.out, config.resume, kind, now, config.fixed, defaults=defaults, started=started)
        if earlier:
            check_initial(config.out, earlier, now)
        steps = config.steps_known(earlier) if earlier else None
        report = finished_report(config.out, steps) if steps else None
        if earlier and report is not None:
            config.check_past(earlier["config"], report["steps"])
            print(f"run        {config.out} is finished; give more --steps to continue it")
            for line in unused_changes(earlier["config"], now):
                print(f"unused     {line}")
            return None, report
        if earlier and not started and not (config.out / CHECKPOINT).exists():
            raise ValueError(
                f"resume: expected the checkpoint of the run in {config.out}, {CHECKPOINT} is missing; give another "
                "--out to start a new run"
            )
        return prepare(earlier), None
    except (ValueError, OSError, ImportError) as error:
        raise Refused(str(error)) from error
