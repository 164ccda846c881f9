"""Timers around the loader's functions, and a probe of how long a thread waits for the interpreter.

`STAGES` lists the timed functions; a stage whose functions do not exist in this version of the code is absent. The time
of a stage includes the stages that it calls, and each call is timed in its own thread.
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
"""Interval of the probe."""


@dataclass(frozen=True)
class Stage:
    """A stage of making a batch.

    Attributes
    ----------
    about : str
    places : tuple of str
        Functions to time, as "module:name" or "module:Class.method"; the times of those that exist are added.
    argument : str or None
        Time this callable argument of the functions in place of the functions, for callbacks passed to DALI.
    """

    about: str
    places: tuple[str, ...]
    argument: str | None = None


STAGES: Mapping[str, Stage] = {
    "plan": Stage(
        "planner.plan: draw the parameters of each sample",
        ("dali_cr.plan.crops.planner:CropPlanner.plan", "dali_cr.plan.views.planner:ViewPlanner.plan"),
    ),
    "start": Stage(
        "plan, and hand a batch's samples to the threads",
        ("dali_cr.pipeline.sources.source:Source._start",),
    ),
    "read": Stage(
        "fill: read, decompress, copy; on a CPU also decode and swap",
        (
            "dali_cr.pipeline.sources.raw:RawSource.fill",
            "dali_cr.pipeline.sources.cpu:FinishedSource.fill",
        ),
    ),
    "records": Stage(
        "records of each sample for the kernels",
        (
            "dali_cr.pipeline.pairs.samples:Pairs.describe",
            "dali_cr.pipeline.multiview.samples:MultiView.describe",
        ),
    ),
    "external_source": Stage(
        "DALI's external_source, including our source and the copy", ("nvidia.dali:Pipeline._run_input_callbacks",)
    ),
    "feed": Stage("DALI's copy of the arrays, inside external_source", ("nvidia.dali:Pipeline._feed_input",)),
    "source": Stage(
        "our source, inside external_source: wait for the threads", ("nvidia.dali.fn:external_source",), "source"
    ),
    "function": Stage(
        "our python_function: kernel launches, on a GPU", ("nvidia.dali.fn:python_function",), "function"
    ),
    "run": Stage("Pipeline.run in total", ("nvidia.dali:Pipeline.run",)),
    "outputs": Stage("wait in run for a finished batch", ("nvidia.dali:Pipeline.outputs",)),
    "from_dlpack": Stage("DALI's outputs as tensors", ("torch:from_dlpack",)),
}


@dataclass(frozen=True)
class Spent:
    """Wall and CPU seconds of one call."""

    stage: str
    wall: float
    cpu: float
    thread: int


@dataclass
class Timers:
    """Timers around functions; while off, they cost one check per call.

    Attributes
    ----------
    on : bool
    calls : list of Spent
        Appended to by all threads.
    absent : dict
        The missing functions of each absent stage.
    """

    on: bool = False
    calls: list[Spent] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def take(self) -> list[Spent]:
        """Return and clear the calls."""
        calls, self.calls = self.calls, []
        return calls

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function with a timer."""

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
        """Wrap a function such that one of its arguments, a callable, is timed."""

        @functools.wraps(function, updated=())
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if callable(options.get(name)):
                options[name] = self._one_argument(stage, name, options[name])
            elif name == "source" and arguments and callable(arguments[0]):
                arguments = (self._one_argument(stage, name, arguments[0]), *arguments[1:])
            return function(*arguments, **options)

        return wrapper

    def _one_argument(self, stage: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the timed function, for a source with one explicit parameter, since DALI inspects the signature."""
        timed = self.timed(stage, function)
        return (lambda info: timed(info)) if name == "source" else timed


@contextmanager
def installed(stages: Mapping[str, Stage] = STAGES) -> Iterator[Timers]:
    """Context with timers around the stages' functions; loaders must be created inside it."""
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
    """Return the module or class that defines a function, and the function's name; None if there is none."""
    module, _, path = place.partition(":")
    *classes, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for one in classes:
            owner = getattr(owner, one)
    except (ImportError, AttributeError):
        return None
    # An inherited method is timed in the class that defines it.
    there = name in vars(owner) if isinstance(owner, type) else hasattr(owner, name)
    return (owner, name) if there else None


def add_up(calls: list[Spent], batches: int) -> dict[str, dict[str, float]]:
    """Return for each stage the wall seconds, CPU seconds and calls per batch, and the number of threads."""
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
    """Context with a thread that repeatedly sleeps for 1 ms; yields the list of its delays in seconds.

    To continue, the thread needs a core and the interpreter's lock. In an idle process its delay is that of the system
    timer; any more is waiting for other threads.
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
    """Return the mean, median and 95th percentile of the delays."""
    ordered = sorted(late) or [0.0]
    return {
        "mean_s": statistics.fmean(ordered),
        "median_s": statistics.median(ordered),
        "p95_s": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
    }
