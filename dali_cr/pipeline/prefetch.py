"""`Running`: a running pipeline that delivers batches and the errors of prefetched batches in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from dali_cr import extras
from dali_cr.pipeline.graph import build_loader_pipeline
from dali_cr.pipeline.recipes import AnySource, device_number
from dali_cr.pipeline.samples import Arrays
from dali_cr.pipeline.sources.source import Source
from dali_cr.pipeline.threads import Ahead
from dali_cr.system.forks import keep_from_children
from dali_cr.volume.geometry import VolumeError

_KEPT_READY = 1
"""Number of batches kept ready as tensors on a CPU, in addition to those that DALI prefetches."""


@dataclass(frozen=True)
class Made:
    """A finished batch: its tensors by name, and the position of each sample's case in the index."""

    tensors: dict[str, Any]
    cases: list[int]


class _BatchServer:
    """Serves the batches of a source to DALI, and stores the errors of prefetched batches.

    It must not refer to the pipeline, because a reference cycle would delay the destruction of the pipeline.
    """

    def __init__(self, source: Source[Any]) -> None:
        self.source = source
        self.cases: dict[int, list[int]] = {}
        self.errors: dict[int, VolumeError] = {}
        self._requested = self._target = 0
        self._lock = threading.Lock()  # the pipeline may run in another thread

    def seek(self, number: int) -> int:
        """Continue from another sample number; return the step that will have it."""
        with self._lock:
            self._target = self.source.seek(number, self._requested)
            return self._target

    def batch(self, k: int) -> Arrays:
        """Return batch k, or a placeholder after a failed batch or past the end.

        DALI prefetches, so an error raised here would precede the valid batches before it.
        """
        with self._lock:
            self._requested = k + 1
            failed = any(step >= self._target for step in self.errors)
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
    """A running pipeline, and the errors of its prefetched batches.

    On a CPU the pipeline runs in a separate thread; on a GPU it runs in the caller's thread, on the current stream.
    """

    def __init__(self, source: AnySource, device: str, prefetch: int) -> None:
        self.source = source
        self._torch = extras.load("torch")
        self._server = _BatchServer(source)
        pipeline = build_loader_pipeline(source, device, prefetch, self._server.batch)
        self._run: Callable[..., Made | VolumeError] | None = partial(
            _run, pipeline, self._server, self._torch.from_dlpack, count()
        )
        self._device_number = device_number(device)
        self._ahead = Ahead(self._run, _KEPT_READY) if self._device_number is None else None
        self._delivered: deque[Made] = deque()
        self._step = 0
        keep_from_children(self)

    def take(self, number: int) -> Made:
        """Return the batch of the step that starts with a sample number; fastest for consecutive steps.

        Raises
        ------
        VolumeError
            If a file of this step could not be read.
        """
        stream = self.source.stream
        target = self._step
        if stream.start + target * stream.step_size != number:
            target = self._server.seek(number)
        # Free older batches now: freeing them while the threads make the next batch takes 1 ms.
        while len(self._delivered) > 1:
            self._delivered.popleft()
        while self._step <= target:
            made = self._next()
            self._step += 1
        if isinstance(made, VolumeError):
            raise made
        if self._ahead:
            self._delivered.append(made)
        return made

    def close(self) -> None:
        """Stop the threads and destroy the pipeline."""
        if self._ahead:
            self._ahead.close()
        self._ahead = self._run = None
        self._delivered.clear()
        self.source.close()

    def _next(self) -> Made | VolumeError:
        if self._ahead:
            return self._ahead.take()
        assert self._run
        return self._run(self._torch.cuda.current_stream(self._device_number).cuda_stream)


def _run(
    pipeline: Any, server: _BatchServer, as_tensor: Callable[[Any], Any], steps: Iterator[int], *stream: int
) -> Made | VolumeError:
    """Run a pipeline once, on a GPU on the given stream; return its batch, or the error if the batch failed.

    The error is raised later, when the batch is requested.
    """
    step = next(steps)
    outputs = pipeline.run(*stream)
    if step in server.errors:
        return server.errors[step]
    names = server.source.samples.names
    tensors = {name: as_tensor(output.as_tensor())[0] for name, output in zip(names, outputs, strict=True)}
    return Made(tensors, server.cases.pop(step, []))
