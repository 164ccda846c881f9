"""`Loader`: the torch side. Tensors without a copy, the stream of sample numbers, ranks, and where it stands."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from dali_cr import extras
from dali_cr.index.cases import Index
from dali_cr.pipeline.advice import warn_of_padding
from dali_cr.pipeline.graph import device_number, make_planner, make_source
from dali_cr.pipeline.prefetch import Running
from dali_cr.pipeline.raw import RawSource
from dali_cr.plan.sample import SamplePlan
from dali_cr.plan.stream import Stream
from dali_cr.read.cache import Cache, open_cache
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views
from dali_cr.volume.geometry import VolumeError

_STATE_FORMAT = 1


class Loader:
    """An endless stream of batches: by name, tensors on the device, and the sample numbers.

    Of pairs: "disordered" and "target" (B, C, D, H, W). Of views: "view" and "target" (B, 2, C, D, H, W), corrupted and
    clean, and "local" (B, locals, C, d, h, w). Of both: "sample" (B,) int64, on the CPU.

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
        End after so many epochs, each sample number delivered once over all ranks, the last step short. Without it the
        stream has no end.
    rank, world_size : int, optional
        From `torch.distributed` where it runs, else 0 and 1.
    threads : int, optional
        That read, inflate and (on a CPU) finish samples; as many as this process may use cores without it.
    prefetch : int
        Batches that DALI keeps ready.
    on_error : "raise" or "skip"
        When a file cannot be read in mid-training: raise `VolumeError` after the batches before it were delivered, or
        draw the sample numbers again from other cases; `skipped` then names the file.
    cache : str or sequence of str
        Where inflated volumes are kept after the first read, the fastest first: "gpu:40GB", "host:16GB" (one for all
        ranks of a node), "disk:PATH" or "disk:PATH:500GB" (kept for the next run). Each fills and never evicts. The
        samples are the same bytes with and without.
    timeout : float
        Seconds to wait for one case's files before `VolumeError` says that they hang.
    processes : bool
        On a CPU, finish samples in as many processes as `threads`: they do not wait for one another's interpreter,
        which `Views` are worth. Each needs some 100 MB.
    dims : 3 or 2
        With 2, for crops and views one voxel thick, tensors are without the axis D: (B, C, H, W).

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, or an argument is not as above.
    ImportError
        If an extra is missing.

    Warns
    -----
    DataWarning
        If crops are larger than most volumes.

    Examples
    --------
    >>> from importlib.resources import files
    >>> data_path = files("nibabel") / "tests" / "data"
    >>> index = dali_cr.scan(data_path, "anatomical.nii", progress=False)
    >>> recipe = dali_cr.Restoration(crop=(16, 32, 32), swap=dali_cr.Swap(iterations=10, patch=(2, 6)))
    >>> loader = dali_cr.Loader(index, recipe, batch_size=2, device="cpu", seed=0)
    >>> batch = next(iter(loader))
    >>> batch["disordered"].shape, batch["sample"].tolist()
    (torch.Size([2, 1, 16, 32, 32]), [0, 1])
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
        processes: bool = False,
        dims: int = 3,
    ) -> None:
        _check_dims(dims, recipe)
        if epochs is not None and epochs < 0:
            raise ValueError(f"epochs: wanted None or a number of at least 0, got {epochs}")
        if processes and device_number(str(device)) is not None:
            raise ValueError(
                f"processes: wanted False on {device!r}, where threads only read and the GPU does the rest"
            )
        self._torch = extras.load("torch")
        here, everyone = _ranks(self._torch)
        self.index, self.recipe, self.seed, self.device = index, recipe, seed, str(device)
        self._planner = make_planner(index, recipe, seed)
        self._stream = Stream(
            batch_size,
            end=None if epochs is None else epochs * self._planner.epoch_length,
            rank=here if rank is None else rank,
            world_size=everyone if world_size is None else world_size,
        )
        if self._stream.rank == 0:
            warn_of_padding(index, recipe)
        self._options: dict[str, Any] = {
            "threads": threads,
            "on_error": on_error,
            "timeout": timeout,
            "processes": processes,
        }
        self._levels = [cache] if isinstance(cache, str) else list(cache)
        self._cache: Cache | None = None
        self._prefetch, self._dims = prefetch, dims
        self._device_number = device_number(self.device)
        self._running: Running | None = None
        self._finalizer: Any = None
        self._step = 0
        self._broken: dict[int, str] = {}
        self._run()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go on with the first batch that was not delivered yet."""
        while (batch := self._next()) is not None:
            yield batch

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def next_sample(self) -> int:
        """The first sample number that no rank has been given."""
        return self._stream.after(self._step)

    @property
    def skipped(self) -> dict[str, str]:
        """Cases that could not be read (with `on_error="skip"`), and why."""
        broken = self._running.source.broken if self._running else self._broken
        return {self.index.cases[case].name: reason for case, reason in sorted(broken.items())}

    def plan(self, number: int) -> SamplePlan:
        """Return what a sample is: its case and path, and the origin, flips and swaps of its crop, or of its views."""
        broken = self._running.source.broken if self._running else self._broken
        return self._planner.draw([number], broken)[0]

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands: plain numbers and strings.

        Batches that were made ahead but not delivered are not counted.
        """
        broken = self._running.source.broken if self._running else self._broken
        return {
            "format": _STATE_FORMAT,
            "seed": self.seed,
            "next": self.next_sample,
            "index": self.index.fingerprint,
            "recipe": self.recipe.fingerprint,
            "broken": {str(case): reason for case, reason in broken.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another loader stood; batch size and world size may differ.

        Parameters
        ----------
        state : dict
            From `state_dict`.

        Raises
        ------
        ValueError
            If it is of other data, another recipe or another seed; the message says which. If it has another format.
        """
        own = self.state_dict()
        if state.get("format") != own["format"]:
            raise ValueError(
                f"state: wanted format {own['format']}, got {state.get('format')}; load it with the release of dali-cr "
                "that saved it, or start a new stream"
            )
        differing = [name for name in ("seed", "index", "recipe") if state.get(name) != own[name]]
        if differing:
            raise ValueError(
                f"state: wanted one of the same seed, index and recipe, but {', '.join(differing)} differ; "
                "build the loader as it was, or start a new stream"
            )
        self.close()
        self._stream = Stream(
            self._stream.batch_size,
            start=int(state["next"]),
            end=self._stream.end,
            rank=self._stream.rank,
            world_size=self._stream.world_size,
        )
        self._step, self._broken = 0, {int(case): reason for case, reason in state["broken"].items()}

    def cache_report(self) -> dict[str, dict[str, float]]:
        """Return the bytes kept, the budget, and this process's hits and misses of each cache level."""
        arena = self._running.source.arena if self._running and isinstance(self._running.source, RawSource) else None
        own = {arena.name: arena.report()} if arena else {}
        return {**own, **(self._cache.report() if self._cache else {})}

    def close(self) -> None:
        """Stop the threads and let go of the caches; iterating again starts them anew, with the next batch."""
        if self._running:
            self._broken = dict(self._running.source.broken)
            self._running, self._cache = None, None
            self._finalizer()

    def _run(self) -> Running:
        """Return the running pipeline, started if there is none."""
        if self._running is None:
            stream = Stream(
                self._stream.batch_size, self.next_sample, self._stream.end, self._stream.rank, self._stream.world_size
            )
            self._cache = self._cache or open_cache(self._levels, self.index)
            source = make_source(self._planner, stream, self.device, self._levels, cache=self._cache, **self._options)
            source.broken.update(self._broken)
            self._stream, self._step = stream, 0
            self._running = Running(source, self.device, self._prefetch)
            self._finalizer = weakref.finalize(self, _close, self._running, self._cache)
        return self._running

    def _next(self) -> dict[str, Any] | None:
        """Return the next batch, or None at the end."""
        numbers = self._stream.numbers(self._step)
        if not numbers.size:
            return None
        running = self._run()
        numbers = self._stream.numbers(self._step)
        try:
            tensors = running.take()
        except VolumeError:
            self.close()
            raise
        self._step += 1
        if self._dims == 2:
            tensors = {name: tensor.squeeze(-3) for name, tensor in tensors.items()}
        # Copied: NumPy's memory is let go of under the interpreter's lock, for which the readers' threads wait in turn.
        return {**tensors, "sample": self._torch.tensor(numbers)}


def _close(running: Running, cache: Cache) -> None:
    """Stop the threads, then let go of what they read through."""
    running.close()
    cache.close()


def _check_dims(dims: int, recipe: Restoration | Views) -> None:
    """Refuse to drop an axis that is longer than 1."""
    if dims not in (2, 3):
        raise ValueError(f"dims: wanted 2 or 3, got {dims!r}")
    shapes = (recipe.shape, recipe.local_shape) if isinstance(recipe, Views) else (recipe.crop,)
    thick = [shape for shape in shapes if shape[0] != 1]
    if dims == 2 and thick:
        raise ValueError(f"dims: wanted a crop of (1, rows, columns) to drop the axis D, got {thick[0]}")


def _ranks(torch: Any) -> tuple[int, int]:
    """Return this process's rank and how many there are."""
    dist = torch.distributed
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
