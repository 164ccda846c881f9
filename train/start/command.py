"""How a command ends: one JSON object on stdout, or one line on stderr that says what was wrong; and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

import dali_cr

from ..run.config import RunSettings
from ..run.exits import Refused, Stopped
from ..run.folder import earlier_run, finished_report, plain


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


def end(name: str, work: Callable[[], dict[str, Any]]) -> int:
    """Do the work of a command and return its exit code.

    Parameters
    ----------
    name : str
        Of the command, put before what went wrong.
    work : function
        Returns the report.
    """
    try:
        report, code = work(), 0
    except Refused as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, dali_cr.VolumeError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"{name}: {stop}; --resume goes on", file=sys.stderr)
        report, code = stop.report, stop.exit_code
    print(json.dumps(report))
    return code


def start(
    config: RunSettings, fixed: Sequence[str], prepare: Callable[[dict[str, Any] | None], Any]
) -> tuple[Any, dict[str, Any] | None]:
    """Prepare a run, or find that it is finished.

    Parameters
    ----------
    config : RunSettings
    fixed : sequence of str
        Settings that a resumed run must not change.
    prepare : function
        From the config.json of the run to go on with, None for a new one, to what is ready to train.

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
        earlier = earlier_run(config.out, config.resume, plain(config), fixed)
        steps = config.steps_known(earlier) if earlier else None
        report = finished_report(config.out, steps) if steps else None
        if report is not None:
            print(f"run        {config.out} is finished: nothing to do. More --steps would go on")
            return None, report
        return prepare(earlier), None
    except (ValueError, OSError, ImportError) as error:
        raise Refused(str(error)) from error
