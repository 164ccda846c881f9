"""Recording of losses and metrics in ``metrics.jsonl`` and as TensorBoard events."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ..output.files import write_whole
from . import ranks


class Losses:
    """Collects the losses of steps on the device, without synchronisation."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._steps: list[tuple[int, list[int]]] = []
        self._values: list[torch.Tensor] = []

    def __len__(self) -> int:
        """Return the number of collected steps."""
        return len(self._steps)

    def add(self, step: int, samples: torch.Tensor, numbers: Mapping[str, torch.Tensor]) -> None:
        """Add the numbers of a step, loss first, the same names at every step; `samples` are its sample numbers."""
        self._names = list(numbers)
        self._steps.append((step, samples.tolist()))
        self._values.append(torch.stack([number.detach().float() for number in numbers.values()]))

    def drain(self) -> dict[str, float]:
        """Synchronise and return the means of the numbers since the last call, over all processes.

        Raises
        ------
        FloatingPointError
            If a loss is not finite, with the samples of the first such batch.
        """
        values = torch.stack(self._values).tolist()
        places = [place for place, (loss, *_) in enumerate(values) if not math.isfinite(loss)]
        if ranks.largest(bool(places)):
            raise FloatingPointError(
                self._blame(places[0], values) if places else "the loss of another process is not finite"
            )
        self._steps.clear()
        self._values.clear()
        means = ranks.mean([sum(column) / len(values) for column in zip(*values, strict=True)])
        return dict(zip(self._names, means, strict=True))

    def _blame(self, place: int, values: list[list[float]]) -> str:
        step, samples = self._steps[place]
        return (
            f"the loss became {values[place][0]} at step {step}, with the samples {samples}. Check them with "
            "`dali-cr preview`; if they are valid, --resume with a smaller --lr or --clip"
        )


_OF_TIME = ("samples_per_s", "data_wait_share")
"""Numbers under ``time/`` in TensorBoard."""


class Record:
    """Writes a line of numbers per call; when resumed at a step, lines of later steps are removed.

    TensorBoard shows the same numbers (training steps under ``train/`` and ``time/``, evaluations under ``val/``) and
    pictures. If it is not installed, a message is printed.

    Parameters
    ----------
    folder : Path
        The run's folder.
    step : int or None
        The step to resume from, None for a new run. Lines of later steps are from a run that was killed after its last
        checkpoint; these steps will be repeated.
    """

    def __init__(self, folder: Path, step: int | None) -> None:
        path = folder / "metrics.jsonl"
        done = -1 if step is None else step
        kept = _lines_until(path, done)
        write_whole(path, b"".join(kept))
        self.measured = {line["step"] for line in map(json.loads, kept) if "lr" not in line}
        """Steps with evaluations in the file; lines of training steps have a learning rate."""
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._folder = folder
        self._events = _open_events(folder, done + 1)

    def write(self, step: int, **numbers: float | None) -> None:
        """Add the numbers of a step; None for undefined ones."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        try:
            # On a full disk, the line stays in the buffer and is written with the next one.
            self._file.flush()
            for name, number in numbers.items():
                if self._events and number is not None:
                    self._events.add_scalar(tag_of(name, measured="lr" not in numbers), number, step)
        except OSError as error:
            tqdm.write(f"step {step}: curves not written, {error}; trying again with the next ones")

    def show(self, step: int, name: str, picture: npt.NDArray[np.uint8]) -> None:
        """Add a picture (height, width, 3) of held-out cases to TensorBoard."""
        try:
            if self._events:
                self._events.add_image(f"val/{name}", picture, step, dataformats="HWC")
        except OSError as error:
            tqdm.write(f"step {step}: picture not written, {error}")

    @property
    def place(self) -> str:
        """Description of where the curves are."""
        show = f"; tensorboard --logdir {quote(str(self._folder))} shows them with pictures" if self._events else ""
        return f"{self._folder / 'metrics.jsonl'}{show}"

    def sync(self) -> None:
        """Flush everything to the disk, so that a checkpoint is never ahead of its curves."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._events:
            self._events.flush()

    def __enter__(self) -> Record:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Flush and close the files."""
        self.sync()
        self._file.close()
        if self._events:
            self._events.close()


def tag_of(name: str, *, measured: bool) -> str:
    """Return the TensorBoard tag of a number.

    Examples
    --------
    >>> tag_of("loss", measured=False), tag_of("samples_per_s", measured=False), tag_of("val_dice", measured=True)
    ('train/loss', 'time/samples_per_s', 'val/dice')
    """
    if name in _OF_TIME:
        return f"time/{name}"
    return f"val/{name.removeprefix('val_')}" if measured else f"train/{name}"


def _open_events(folder: Path, first: int) -> Any:
    """Return the writer of TensorBoard events, which removes those from step `first` on; None without TensorBoard."""
    try:
        # Imported here, since it takes seconds and only runs need it.
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        tqdm.write(f"logs       only metrics.jsonl, TensorBoard is missing ({error}); pip install tensorboard")
        return None
    return SummaryWriter(str(folder), purge_step=first)


def _lines_until(path: Path, step: int) -> list[bytes]:
    if not path.exists():
        return []
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        # A line without a line break was incomplete when the run was killed.
        if line.endswith(b"\n") and json.loads(line)["step"] <= step:
            kept.append(line)
    return kept
