"""How a command ends: one JSON object on stdout, or one line on stderr that says what was wrong; and the exit code."""

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
from dali_cr.system.owner import own_folder

from ..run.checkpoint import CHECKPOINT
from ..run.config import RunSettings
from ..run.exits import Refused, Stopped
from ..run.folder import defaults_of, earlier_run, finished_report, holds_run, plain
from .interrupt import EXIT_CODE, STARTS_AGAIN, raise_interrupts

Answer = TypeVar("Answer")


def read_arguments(settings: Any, name: str, arguments: Sequence[str] | None) -> Any:
    """Read the arguments of a command line into settings.

    Parameters
    ----------
    settings : dataclass, or function whose parameters are the settings
    name : str
        Of the command, as ``pretrain``.
    arguments : sequence of str, optional
        Those of this process without it.
    """
    return tyro.cli(settings, prog=program(name), args=arguments, config=(tyro.conf.FlagCreatePairsOff,))


def program(name: str) -> str:
    """Return how a user starts a command: ``dali-cr pretrain``, or in a checkout ``python -m train.pretrain``."""
    package = __package__.rpartition(".")[0]
    return f"dali-cr {name}" if package.startswith("dali_cr.") else f"python -m {package}.{name}"


def end(name: str, work: Callable[[], dict[str, Any]], out: Path | None = None, *, several: bool = False) -> int:
    """Do the work of a command and return its exit code.

    Parameters
    ----------
    name : str
        Of the command, put before what went wrong.
    work : function
        Returns the report.
    out : Path, optional
        The folder of a run that can be resumed.
    several : bool
        Whether the command may run as several processes, started by torchrun.
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
    except KeyboardInterrupt:
        saved = out is not None and holds_run(out)
        print(f"{name}: {'stopped by SIGINT; --resume goes on' if saved else STARTS_AGAIN}", file=sys.stderr)
        return EXIT_CODE
    except Stopped as stop:
        print(f"{name}: {stop}; --resume goes on", file=sys.stderr)
        report, code = stop.report, stop.exit_code
    print(json.dumps(report))
    return code


def refuse_several() -> None:
    """Refuse to run as one of several processes: each would do all of the work, and write the same files.

    Raises
    ------
    Refused
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise Refused(f"expected one process, torchrun started {count}; start it with python -m")


def asked(work: Callable[[], Answer]) -> Answer:
    """Do the work of a command whose errors all say what was wrong with what was asked for.

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
    """Hold an output folder for this process alone.

    Raises
    ------
    Refused
        If another process holds it.
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
    begun: bool = False,
) -> tuple[Any, dict[str, Any] | None]:
    """Prepare a run, or find that it is finished.

    Parameters
    ----------
    config : RunSettings
    kind : str
        Of run: pretrain, or a task.
    prepare : function
        From the config.json of the run to go on with, None for a new one, to what is ready to train.
    begun : bool
        Whether another process of this run has prepared it already.

    Returns
    -------
    run : object or None
        What `prepare` returned; None where there is nothing to do.
    report : dict or None
        That of a finished run.

    Raises
    ------
    Refused
        When it cannot be started as asked.
    """
    try:
        now, defaults = plain(config), defaults_of(config)
        earlier = earlier_run(config.out, config.resume, kind, now, config.fixed, defaults=defaults, begun=begun)
        steps = config.steps_known(earlier) if earlier else None
        report = finished_report(config.out, steps) if steps else None
        if report is not None:
            print(f"run        {config.out} is finished: nothing to do. More --steps would go on")
            return None, report
        if earlier and not begun and not (config.out / CHECKPOINT).exists():
            raise ValueError(
                f"resume: expected the checkpoint of the run in {config.out}, {CHECKPOINT} is missing; another --out "
                "starts a new run"
            )
        return prepare(earlier), None
    except (ValueError, OSError, ImportError) as error:
        raise Refused(str(error)) from error
