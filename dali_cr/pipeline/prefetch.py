"""`Running`: a pipeline at work, and where the errors of batches that were made ahead wait for their turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from dali_cr import extras
from dali_cr.pipeline.graph import AnySource, build_loader_pipeline, device_number
from dali_cr.pipeline.samples import Arrays
from dali_cr.pipeline.source import Source
from dali_cr.pipeline.threads import Ahead
from dali_cr.system.forks import keep_from_children
from dali_cr.volume.geometry import VolumeError

_KEPT_READY = 1
"""Batches that a CPU's pipeline has ready as tensors, beyond those that DALI prefetches."""


@dataclass(frozen=True)
class Made:
    """A batch that the pipeline has made: its tensors by name, and the place of each sample's case in the index."""

    tensors: dict[str, Any]
    cases: list[int]


class _Answers:
    """What DALI calls: the source's batches, and the errors of those that were made ahead.

    It must not refer to the pipeline: a cycle would leave the pipeline's end to the garbage collector.
    """

    def __init__(self, source: Source[Any]) -> None:
        self.source = source
        self.cases: dict[int, list[int]] = {}
        self.errors: dict[int, VolumeError] = {}
        self._asked = self._wanted = 0
        self._lock = threading.Lock()  # the pipeline may run in a thread of its own

    def seek(self, number: int) -> int:
        """Go on from another sample number; return the step that will have it."""
        with self._lock:
            self._wanted = self.source.seek(number, self._asked)
            return self._wanted

    def batch(self, k: int) -> Arrays:
        """Return batch k; after one that failed, or past the end, one that is not delivered.

        DALI asks ahead: an error raised here would come before the good batches in between.
        """
        with self._lock:
            self._asked = k + 1
            failed = any(step >= self._wanted for step in self.errors)
            begun = None if failed else self.source.begin(k)
        if begun:
            try:
                batch = self.source.finish(begun)
            except VolumeError as error:
                self.errors[k] = error
            else:
                self.cases[k] = batch.plans.cases.tolist()
                return self.source.deliver(batch)
        return self.source.placeholder()


class Running:
    """A pipeline at work, and the errors of batches that it has made ahead.

    On a CPU the pipeline runs in a thread of its own; on a GPU the outputs must come on the caller's stream.
    """

    def __init__(self, source: AnySource, device: str, prefetch: int) -> None:
        self.source = source
        self._torch = extras.load("torch")
        self._answers = _Answers(source)
        pipeline = build_loader_pipeline(source, device, prefetch, self._answers.batch)
        self._run: Callable[..., Made | VolumeError] | None = partial(
            _run, pipeline, self._answers, self._torch.from_dlpack, count()
        )
        self._device_number = device_number(device)
        self._ahead = Ahead(self._run, _KEPT_READY) if self._device_number is None else None
        self._given: deque[Made] = deque()
        self._step = 0
        keep_from_children(self)

    def take(self, number: int) -> Made:
        """Return the batch of the step that begins with a sample number; fastest for the one after the last.

        Raises
        ------
        VolumeError
            If a file of this very step could not be read.
        """
        stream = self.source.stream
        wanted = self._step
        if stream.start + wanted * stream.step_size != number:
            wanted = self._answers.seek(number)
        # To let go of a batch while the threads make the next takes 1 ms: the caller's last but one goes first.
        while len(self._given) > 1:
            self._given.popleft()
        while self._step <= wanted:
            made = self._next()
            self._step += 1
        if isinstance(made, VolumeError):
            raise made
        if self._ahead:
            self._given.append(made)
        return made

    def close(self) -> None:
        """Stop the threads and destroy the pipeline."""
        if self._ahead:
            self._ahead.close()
        self._ahead = self._run = None
        self._given.clear()
        self.source.close()

    def _next(self) -> Made | VolumeError:
        if self._ahead:
            return self._ahead.take()
        assert self._run
        return self._run(self._torch.cuda.current_stream(self._device_number).cuda_stream)


def _run(
    pipeline: Any, answers: _Answers, as_tensor: Callable[[Any], Any], steps: Iterator[int], *stream: int
) -> Made | VolumeError:
    """Run a pipeline once, on a GPU so that the outputs come on a stream; return the error of its batch, if it failed.

    Such an error is raised only if the batch is wanted.
    """
    step = next(steps)
    outputs = pipeline.run(*stream)
    if step in answers.errors:
        return answers.errors[step]
    names = answers.source.samples.names
    tensors = {name: as_tensor(output.as_tensor())[0] for name, output in zip(names, outputs, strict=True)}
    return Made(tensors, answers.cases.pop(step, []))
