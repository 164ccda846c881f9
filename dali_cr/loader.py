"""`Loader`: the torch side. Tensors without a copy, epochs of the stream of sample numbers, ranks, and its state."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import extras
from dali_cr.index.cases import Index
from dali_cr.pipeline.advice import warn_of_blocks, warn_of_clipping, warn_of_padding
from dali_cr.pipeline.graph import device_number, make_samples, make_source
from dali_cr.pipeline.prefetch import Made, Running
from dali_cr.pipeline.raw import RawSource
from dali_cr.pipeline.samples import Samples
from dali_cr.plan.epochs import Epochs
from dali_cr.plan.sample import SamplePlan
from dali_cr.read.cache import Cache, open_cache
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views

_STATE_FORMAT = 2
"""Format 1 did not say where its epoch began; it can still be loaded."""


class Loader:
    """Epochs of batches, or an endless stream of them: by name, tensors on the device, and the sample numbers.

    An epoch is ``len(loader)`` full steps on every rank, as many as the samples of one pass over the data need; its
    last step may reach into the next pass. Each ``for batch in loader`` is the next epoch, which goes on where the one
    before ended; `break` skips the rest of one. After `load_state_dict`, and after an error, the first one finishes
    the epoch that was interrupted. All iterators share one place in the stream: a new one ends those before it.

    Of pairs: "input" and "target" (B, C, D, H, W); of masked ones also "mask" (B, 1, D, H, W) bool, true where masked.
    Of views: "view" and "target" (B, 2, C, D, H, W), corrupted and clean, and "local" (B, locals, C, d, h, w). Of both:
    "sample" (B,) int64, on the CPU, and "case", the B names.

    Parameters
    ----------
    index : Index
    recipe : Restoration or Views
    batch_size : int
        Of this rank.
    device : "cuda", "cuda:N" or "cpu"
    seed : int
        Sample n is a pure function of (seed, n), the index and the recipe.
    epochs : int, optional
        For evaluation: every ``for batch in loader`` is so many exact passes over the data, from sample number 0 on,
        each sample number once over all ranks, the last step short. The ranks must be able to share them evenly.
    rank, world_size : int, optional
        From `torch.distributed` where it runs, else 0 and 1.
    threads : int, optional
        That read, decompress and (on a CPU) finish samples; as many as this process may use cores without it.
    prefetch : int
        Batches that DALI keeps ready.
    on_error : "raise" or "skip"
        When a file cannot be read in mid-training: raise `VolumeError` after the batches before it were delivered, or
        draw the sample numbers again from other cases; `skipped` then names the file.
    cache : str or sequence of str
        Where decompressed volumes are kept after the first read, the fastest level first: "gpu:40GB", "host:16GB"
        (shared by all ranks of a node), "disk:PATH" or "disk:PATH:500GB" (kept for the next run). A level fills up and
        never evicts. Samples have the same bits with and without a cache.
    timeout : float
        Seconds to wait for one case's files before `VolumeError` says that they hang.
    dims : 3 or 2
        With 2, for crops and views one voxel thick, tensors are without the axis D: (B, C, H, W).
    transform : callable, optional
        From the batch to what is delivered in its place: more augmentation, other names. It is called when a batch is
        asked for, in the caller's thread, and on a GPU on the current stream.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, or an argument is not as above.
    ImportError
        If an extra is missing.
    RuntimeError
        If it is made in a worker of a torch DataLoader, or used in another process than the one that made it; or if it
        was made before the process group, and would give all ranks the same.

    Warns
    -----
    DataWarning
        If crops are larger than most volumes, a window clips most of the foreground, or a mask has few blocks.

    Examples
    --------
    >>> from importlib.resources import files
    >>> data_path = files("nibabel") / "tests" / "data"
    >>> index = dali_cr.scan(data_path, "anatomical.nii", progress=False)
    >>> recipe = dali_cr.Restoration(crop=(16, 32, 32), swap=dali_cr.Swap(iterations=10, patch=(2, 6)))
    >>> loader = dali_cr.Loader(index, recipe, batch_size=2, device="cpu", seed=0)
    >>> batch = next(iter(loader))
    >>> batch["input"].shape, batch["sample"].tolist()
    (torch.Size([2, 1, 16, 32, 32]), [0, 1])
    >>> [batch["sample"].tolist() for _, batch in zip(range(3), loader.stream())]
    [[2, 3], [4, 5], [6, 7]]
    >>> loader.close()
    """

    def __init__(
        self,
        index: Index,
        recipe: Restoration | Views,
        *,
        batch_size: int,
        device: str = "cuda",
        seed: int = 0,
        epochs: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        threads: int | None = None,
        prefetch: int = 2,
        on_error: str = "raise",
        cache: str | Sequence[str] = (),
        timeout: float = 600.0,
        dims: int = 3,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 1:
            raise ValueError(f"prefetch: expected an integer of at least 1, got {prefetch!r}")
        if transform is not None and not callable(transform):
            raise ValueError(f"transform: expected a function of a batch or None, got {transform!r}")
        self._torch = extras.load("torch")
        _refuse_worker(self._torch)
        self._process = os.getpid()
        here, everyone = _ranks(self._torch)
        self._ranks = (here, everyone) if rank is None and world_size is None else None
        self.index, self.recipe, self.seed, self.device = index, recipe, seed, str(device)
        self._samples = make_samples(index, recipe, seed)
        self._planner = self._samples.planner
        _check_dims(dims, self._samples)
        self._epochs = Epochs(
            self._planner.epoch_length,
            batch_size,
            rank=here if rank is None else rank,
            world_size=everyone if world_size is None else world_size,
            passes=epochs,
        )
        if self._epochs.rank == 0:
            warn_of_padding(self._planner.index, recipe)
            warn_of_clipping(index, recipe.normalize)
            warn_of_blocks(recipe)
        self._options: dict[str, Any] = {"threads": threads, "on_error": on_error, "timeout": timeout}
        self._levels = [cache] if isinstance(cache, str) else list(cache)
        self._cache: Cache | None = None
        self._prefetch, self._dims, self._transform = prefetch, dims, transform
        self._device_number = device_number(self.device)
        self._running: Running | None = None
        self._finalizer: Any = None
        self._turn = 0
        self._broken: dict[int, str] = {}
        self._start()

    def __len__(self) -> int:
        """Return the steps of an epoch, the same on every rank."""
        return self._epochs.steps

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the next epoch, which begins when its first batch is asked for."""
        self._refuse_other_process()
        return self._one_epoch()

    def stream(self) -> Iterator[Any]:
        """Return an iterator that goes on with the first batch that was not delivered yet, and never ends.

        Raises
        ------
        ValueError
            If the loader has `epochs`, which end.
        """
        self._refuse_other_process()
        if self._epochs.passes:
            raise ValueError("stream: expected a Loader without epochs=, which would end; make one without it")
        return self._endless()

    def __repr__(self) -> str:
        place = f"{len(self)} steps an epoch, next sample {self.next_sample}"
        recipe = type(self.recipe).__name__
        size = f"batch_size={self._epochs.batch_size}"
        return f"Loader({self.index!r}, {recipe}, {size}, device={self.device!r}, seed={self.seed}: {place})"

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Loader cannot be pickled, as for a worker of a torch DataLoader: it reads with threads of its own; "
            "iterate over the Loader itself, or make one in each process"
        )

    @property
    def next_sample(self) -> int:
        """The first sample number that no rank has been given."""
        return self._epochs.next

    @property
    def skipped(self) -> dict[str, str]:
        """Cases that could not be read (with `on_error="skip"`), and why."""
        broken = self._known_broken()
        return {self.index.cases[case].name: reason for case, reason in sorted(broken.items())}

    def plan(self, number: int) -> SamplePlan:
        """Return what a sample is: case and path; origin, flips, swaps or masked blocks of its crop, or its views."""
        broken = self._known_broken()
        return self._planner.plan([number], broken)[0]

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the stream and in its epoch: plain numbers and strings.

        Batches that were made ahead but not delivered are not counted.
        """
        broken = self._known_broken()
        return {
            "format": _STATE_FORMAT,
            "seed": self.seed,
            "next": self.next_sample,
            "epoch_start": self._epochs.first,
            "index": self.index.fingerprint,
            "recipe": self.recipe.fingerprint,
            "broken": {str(case): reason for case, reason in broken.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another loader was; batch size and world size may differ.

        The next ``for batch in loader`` finishes the epoch that was interrupted; if it had ended, it begins the next.

        Parameters
        ----------
        state : dict
            From `state_dict`.

        Raises
        ------
        ValueError
            If it is of other data, another recipe, another seed or a later version; the message says which.
        """
        self._refuse_other_process()
        if state.get("format") not in range(1, _STATE_FORMAT + 1):
            raise ValueError(
                f"state: expected one of format 1 to {_STATE_FORMAT}, got {state.get('format')!r}; "
                "load it with the version of dali-cr that wrote it"
            )
        own = self.state_dict()
        differing = [name for name in ("seed", "index", "recipe") if state.get(name) != own[name]]
        if differing:
            raise ValueError(
                f"state: expected one of the same seed, index and recipe, but {', '.join(differing)} differ; "
                "build the loader as it was, or start a new stream"
            )
        self._epochs.move(int(state["next"]), state.get("epoch_start"))
        self._turn += 1
        broken = {int(case): reason for case, reason in state["broken"].items()}
        if broken != self._known_broken():
            self.close()
        self._broken = broken

    def cache_report(self) -> dict[str, dict[str, float]]:
        """Return the bytes kept, the budget, and this process's hits and misses of each cache level."""
        arena = self._running.source.arena if self._running and isinstance(self._running.source, RawSource) else None
        own = {arena.name: arena.report()} if arena else {}
        return {**own, **(self._cache.report() if self._cache else {})}

    def close(self) -> None:
        """Stop the threads, destroy the pipeline and let go of the caches; iterating again starts them anew.

        In a forked child it does nothing: all of these belong to the process that made the loader.
        """
        if self._running and os.getpid() == self._process:
            self._broken = dict(self._running.source.broken)
            self._running, self._cache = None, None
            self._finalizer()

    def _known_broken(self) -> dict[int, str]:
        """Return the cases that could not be read so far, and why."""
        return self._running.source.broken if self._running else self._broken

    def _start(self) -> Running:
        """Return the running pipeline, started if there is none."""
        self._refuse_other_process()
        if self._running is None:
            self._cache = self._cache or open_cache(self._levels, self.index)
            stream = self._epochs.stream()
            source = make_source(
                self._samples, stream, self.device, self._levels, self._cache, whole=True, **self._options
            )
            source.broken.update(self._broken)
            self._running = Running(source, self.device, self._prefetch)
            self._finalizer = weakref.finalize(self, _close, self._running, self._cache, self._process)
        return self._running

    def _one_epoch(self) -> Iterator[Any]:
        self._refuse_late_ranks()
        self._turn = turn = self._turn + 1
        self._epochs.begin()
        for step in range(self._epochs.steps_left):
            if step:
                self._refuse_replaced(turn)
            yield self._next()

    def _endless(self) -> Iterator[Any]:
        self._refuse_late_ranks()
        self._turn = turn = self._turn + 1
        while True:
            self._epochs.go_on()
            yield self._next()
            self._refuse_replaced(turn)

    def _refuse_late_ranks(self) -> None:
        """Raise RuntimeError if the process group was made after the loader: all ranks would get the same samples."""
        if self._ranks and self._ranks[1] < _ranks(self._torch)[1]:
            raise RuntimeError(
                f"this Loader was made before torch.distributed had its {_ranks(self._torch)[1]} ranks, which would "
                "all deliver the same samples; make it after init_process_group (with Lightning, in train_dataloader), "
                "or pass rank and world_size"
            )

    def _refuse_replaced(self, turn: int) -> None:
        """Raise RuntimeError if a newer iterator or a loaded state has replaced this iterator."""
        if turn != self._turn:
            raise RuntimeError(
                "this iterator has ended: a newer one over the same Loader was begun, or a state was loaded, and a "
                "Loader has one place in its stream; make a Loader for each loop"
            )

    def _refuse_other_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this Loader was made in process {self._process} and is used in {os.getpid()}, a forked child such as "
                "a worker of a torch DataLoader, where its threads do not exist; iterate over the Loader itself, in "
                "the process that made it"
            )

    def _next(self) -> Any:
        """Return the next batch."""
        numbers = self._epochs.numbers()
        try:
            batch = self._name(self._start().take(self._epochs.next), numbers)
        except Exception:
            self._epochs.leave_unfinished()
            self.close()
            raise
        self._epochs.advance()
        return batch

    def _name(self, made: Made, numbers: npt.NDArray[np.int64]) -> Any:
        """Return a batch as it is delivered."""
        tensors = made.tensors
        if "mask" in tensors:
            tensors["mask"] = tensors["mask"].view(self._torch.bool)
        if self._dims == 2:
            tensors = {name: tensor.squeeze(-3) for name, tensor in tensors.items()}
        # Copied: NumPy's memory is let go of under the interpreter's lock, for which the readers' threads wait in turn.
        sample = self._torch.tensor(numbers)
        batch = {**tensors, "sample": sample, "case": [self.index.cases[case].name for case in made.cases]}
        return self._transform(batch) if self._transform else batch


def _close(running: Running, cache: Cache, process: int) -> None:
    """Stop the threads, then let go of what they read through; in a forked child leave both alone."""
    if os.getpid() == process:
        running.close()
        cache.close()


def _refuse_worker(torch: Any) -> None:
    """Raise RuntimeError in a DataLoader's worker: each worker would deliver the same samples.

    Raises
    ------
    RuntimeError
    """
    if torch.utils.data.get_worker_info() is not None:
        raise RuntimeError(
            "a Loader is not for a worker of a torch DataLoader: it reads with threads of its own, and each worker "
            "would deliver the same samples; iterate over the Loader itself"
        )


def _check_dims(dims: int, samples: Samples) -> None:
    """Raise ValueError unless dims is 3, or 2 with arrays whose axis D has length 1."""
    if dims not in (2, 3):
        raise ValueError(f"dims: expected 2 or 3, got {dims!r}")
    thick = [array.shape[-3:] for array in samples.outputs(1) if array.shape[-3] != 1]
    if dims == 2 and thick:
        raise ValueError(f"dims: expected a crop of (1, rows, columns) to drop the axis D, got {thick[0]}")


def _ranks(torch: Any) -> tuple[int, int]:
    """Return this process's rank and how many there are."""
    dist = torch.distributed
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
