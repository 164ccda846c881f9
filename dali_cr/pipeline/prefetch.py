"""`Running`: a pipeline at work, and where the errors of batches that were made ahead wait for their turn."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

from dali_cr import extras
from dali_cr.pipeline.graph import AnySource, build_pipeline, device_number
from dali_cr.pipeline.threads import Ahead
from dali_cr.volume.geometry import VolumeError

_KEPT_READY = 1
"""Batches that a CPU's pipeline has ready as tensors, beyond those that DALI prefetches."""


class Running:
    """A pipeline at work, and the errors of batches that it has made ahead.

    DALI copies what the source gives in the thread that runs the pipeline. On a CPU that is whole pairs, so there the
    pipeline runs in a thread of its own; on a GPU it is raw boxes, and the outputs must come on the caller's stream.
    """

    def __init__(self, source: AnySource, device: str, prefetch: int) -> None:
        self.source = source
        self._errors: dict[int, BaseException] = {}
        self._torch = extras.load("torch")
        self._pipeline = build_pipeline(source, device, prefetch=prefetch, batch=self._batch)
        self._steps = count()
        on_gpu = device_number(device) is not None
        self._ahead = None if on_gpu else Ahead(lambda: self._run(next(self._steps)), _KEPT_READY)
        self._given: deque[dict[str, Any]] = deque()

    def take(self) -> dict[str, Any]:
        """Return the tensors of the next step, by name.

        Raises
        ------
        VolumeError
            If a file of this very step could not be read.
        """
        if self._ahead:
            # To let go of a batch while the threads make the next takes 1 ms: the caller's last but one goes first.
            while len(self._given) > 1:
                self._given.popleft()
            self._given.append(self._ahead.take())
            return self._given[-1]
        stream = self._torch.cuda.current_stream(self._pipeline.device_id)
        return self._run(next(self._steps), stream.cuda_stream)

    def close(self) -> None:
        """Stop the threads."""
        if self._ahead:
            self._ahead.close()
        self.source.close()

    def _run(self, step: int, *stream: int) -> dict[str, Any]:
        """Run the pipeline; on a GPU the outputs come on a stream."""
        outputs = self._pipeline.run(*stream)
        if step in self._errors:
            raise self._errors[step]
        # The last output is the sample numbers, which the stream knows.
        names = self.source.names
        return {n: self._torch.from_dlpack(o.as_tensor()) for n, o in zip(names, outputs, strict=False)}

    def _batch(self, k: int) -> tuple[Any, ...]:
        """Return batch k; in place of one that failed, or past the end, one that nobody will be given.

        DALI asks ahead: an error raised here would come before the good batches in between.
        """
        if not self._errors and self.source.stream.numbers(k).size:
            try:
                return self.source.batch(k)
            except VolumeError as error:
                self._errors[k] = error
        return self.source.blank()
