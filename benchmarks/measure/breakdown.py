"""Where a batch's time goes: timers put around functions from outside, and how long a thread waits for the interpreter.

`STAGES` names every function that is timed. A function that this version of the code lacks makes its stage absent.
A stage's time includes the stages that it calls, and each call is timed in the thread that makes it.
"""

from __future__ import annotations

import functools
import importlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

_PROBE_SECONDS = 0.001
"""Between two times that the probe asks for the interpreter."""


@dataclass(frozen=True)
class Stage:
    """A part of a batch's way.

    Attributes
    ----------
    about : str
    places : tuple of str
        Functions to time, as "module:name" or "module:Class.method"; those that exist are timed together.
    argument : str or None
        Time this argument of the functions, a callable, in place of the functions: what DALI is given to call.
    """

    about: str
    places: tuple[str, ...]
    argument: str | None = None


STAGES: Mapping[str, Stage] = {
    "plan": Stage(
        "planner.plan: what each sample is made of",
        ("dali_cr.plan.crops:CropPlanner.plan", "dali_cr.plan.views:ViewPlanner.plan"),
    ),
    "start": Stage(
        "planning, and handing a batch's samples to the threads",
        ("dali_cr.pipeline.source:Source._start",),
    ),
    "read": Stage(
        "fill: read, decompress, copy; on a CPU also decode and swap",
        (
            "dali_cr.pipeline.raw:RawSource.fill",
            "dali_cr.pipeline.cpu:FinishedSource.fill",
        ),
    ),
    "records": Stage(
        "what the kernels are told of each sample",
        (
            "dali_cr.pipeline.pairs:Pairs.describe",
            "dali_cr.pipeline.multiview:MultiView.describe",
        ),
    ),
    "external_source": Stage(
        "DALI in and around our source, its copy included", ("nvidia.dali:Pipeline._run_input_callbacks",)
    ),
    "feed": Stage("DALI's copy of the arrays, inside external_source", ("nvidia.dali:Pipeline._feed_input",)),
    "source": Stage(
        "our source, inside external_source: waits for the threads", ("nvidia.dali.fn:external_source",), "source"
    ),
    "function": Stage("our python_function: launches, on a GPU", ("nvidia.dali.fn:python_function",), "function"),
    "run": Stage("Pipeline.run in all", ("nvidia.dali:Pipeline.run",)),
    "outputs": Stage("waiting in run for a finished batch", ("nvidia.dali:Pipeline.outputs",)),
    "from_dlpack": Stage("DALI's outputs as tensors", ("torch:from_dlpack",)),
}


@dataclass(frozen=True)
class Spent:
    """One call: the seconds on the clock, and those that its thread was on a core."""

    stage: str
    wall: float
    cpu: float
    thread: int


@dataclass
class Timers:
    """Timers around functions; off, they cost one test a call.

    Attributes
    ----------
    on : bool
    calls : list of Spent
        Appended to by whichever thread calls.
    absent : dict
        Of each stage whose functions do not exist, where they were looked for.
    """

    on: bool = False
    calls: list[Spent] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def take(self) -> list[Spent]:
        """Return the calls so far and forget them."""
        calls, self.calls = self.calls, []
        return calls

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and is timed."""

        @functools.wraps(function, updated=())
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if not self.on:
                return function(*arguments, **options)
            cpu, start = time.thread_time(), time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                wall = time.perf_counter() - start
                self.calls.append(Spent(stage, wall, time.thread_time() - cpu, threading.get_ident()))

        return wrapper

    def timing_argument(self, stage: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same, with one argument, a callable, replaced by one that is timed."""

        @functools.wraps(function, updated=())
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if callable(options.get(name)):
                options[name] = self._one_argument(stage, name, options[name])
            elif name == "source" and arguments and callable(arguments[0]):
                arguments = (self._one_argument(stage, name, arguments[0]), *arguments[1:])
            return function(*arguments, **options)

        return wrapper

    def _one_argument(self, stage: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the timed function; DALI counts a source's parameters, so that one has its own."""
        timed = self.timed(stage, function)
        return (lambda info: timed(info)) if name == "source" else timed


@contextmanager
def installed(stages: Mapping[str, Stage] = STAGES) -> Iterator[Timers]:
    """Put timers around the stages' functions while the context lasts; loaders must be made inside it."""
    timers = Timers()
    patches = []
    for name, stage in stages.items():
        found = [place for place in stage.places if _owner(place)]
        if not found:
            timers.absent[name] = f"no {' or '.join(stage.places)}"
        for place in found:
            owner, attribute = _owner(place)  # type: ignore[misc]
            function = getattr(owner, attribute)
            if stage.argument:
                wrapper = timers.timing_argument(name, stage.argument, function)
            else:
                wrapper = timers.timed(name, function)
            patches.append(mock.patch.object(owner, attribute, wrapper))
    try:
        for patch in patches:
            patch.start()
        yield timers
    finally:
        for patch in reversed(patches):
            patch.stop()


def _owner(place: str) -> tuple[Any, str] | None:
    """Return the module or class that has a function itself, and the function's name; None where there is none."""
    module, _, path = place.partition(":")
    *classes, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for one in classes:
            owner = getattr(owner, one)
    except (ImportError, AttributeError):
        return None
    # A method that is only inherited is timed where it is defined.
    there = name in vars(owner) if isinstance(owner, type) else hasattr(owner, name)
    return (owner, name) if there else None


def add_up(calls: list[Spent], batches: int) -> dict[str, dict[str, float]]:
    """Return of each stage the wall and CPU seconds and the calls a batch, and how many threads made them."""
    found: dict[str, dict[str, float]] = {}
    for stage in {call.stage for call in calls}:
        own = [call for call in calls if call.stage == stage]
        found[stage] = {
            "wall_s": sum(call.wall for call in own) / batches,
            "cpu_s": sum(call.cpu for call in own) / batches,
            "calls": len(own) / batches,
            "threads": len({call.thread for call in own}),
        }
    return found


@contextmanager
def interpreter_probe() -> Iterator[list[float]]:
    """Run a thread that sleeps for 1 ms at a time; yield a list of the seconds by which it went on too late.

    To go on, a thread needs a core and the interpreter's lock. With no other thread at work it is late by what the
    system's timer costs; anything more is waiting for other threads.
    """
    late: list[float] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            start = time.perf_counter()
            time.sleep(_PROBE_SECONDS)
            late.append(time.perf_counter() - start - _PROBE_SECONDS)

    thread = threading.Thread(target=work, name="interpreter-probe", daemon=True)
    thread.start()
    try:
        yield late
    finally:
        ended.set()
        thread.join()


def lateness(late: list[float]) -> dict[str, float]:
    """Return the mean, the median and the 95th percentile of a probe's seconds."""
    ordered = sorted(late) or [0.0]
    return {
        "mean_s": statistics.fmean(ordered),
        "median_s": statistics.median(ordered),
        "p95_s": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
    }
