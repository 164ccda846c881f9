"""`Loader`: batches as torch tensors, in epochs over sharded and resumable sample numbers."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dali_cr import extras
from dali_cr.index.cases import Index
from dali_cr.pipeline.advice import warn_of_samples
from dali_cr.pipeline.delivery import Delivery
from dali_cr.pipeline.prefetch import Running
from dali_cr.pipeline.process import LoaderProcess
from dali_cr.pipeline.recipes import make_samples, make_source
from dali_cr.pipeline.sources.raw import RawSource
from dali_cr.pipeline.state import check_state, make_state
from dali_cr.plan.epochs import Epochs
from dali_cr.plan.sample import SamplePlan
from dali_cr.read.cache import Cache, open_cache
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views


class Loader:
    """Iterates over batches in epochs or as an endless stream; a batch is a dict of tensors, sample numbers and names.

    An epoch has ``len(loader)`` full steps on every rank, enough for one pass over the data; its last step may contain
    samples of the next pass. Each ``for batch in loader`` is the next epoch and continues where the previous one ended;
    `break` skips the rest of an epoch. After `load_state_dict`, and after an error, the first loop finishes the
    interrupted epoch. All iterators share one position in the stream: a new iterator ends the earlier ones.

    Batches of `Restoration` have "input" and "target" (B, C, D, H, W); masked ones also "mask" (B, 1, D, H, W) bool,
    true if masked, and with anonymisation masks in the index "valid" (B, 1, D, H, W) bool, false where one is not 0.
    Batches of `Views` have "view" and "target" (B, 2, C, D, H, W), corrupted and clean, and "local" (B,
    locals, C, d, h, w). All batches have "sample" (B,) int64 on the CPU, and "case", a list of B names.

    Parameters
    ----------
    index : Index
    recipe : Restoration or Views
    batch_size : int
        Batch size of this rank.
    device : "cuda", "cuda:N" or "cpu"
    seed : int
        Sample n is a pure function of (seed, n), the index and the recipe.
    epochs : int, optional
        For evaluation: every ``for batch in loader`` makes exactly this number of passes over the data, from sample
        number 0, with each sample number once over all ranks and a short last step. The samples must be evenly
        divisible by the ranks.
    rank, world_size : int, optional
        Default: from `torch.distributed` if initialised, else 0 and 1.
    threads : int, optional
        Number of threads that read, decompress and (on a CPU) finish samples. Default: one per available core.
    prefetch : int
        Number of batches that DALI prefetches.
    on_error : "raise" or "skip"
        If a file cannot be read: raise `VolumeError` after the batches before it were delivered, or redraw the sample
        numbers from other cases and record the case in `skipped`.
    cache : str or sequence of str
        Where decompressed volumes are kept after the first read, the fastest level first: "gpu:40GB", "host:16GB"
        (shared by all ranks of a node), "disk:PATH" or "disk:PATH:500GB" (kept for the next run). A level fills up and
        never evicts. Samples have the same bits with and without a cache.
    timeout : float
        Seconds to wait for the files of a case before raising `VolumeError`.
    dims : 3 or 2
        With 2, tensors have no axis D: (B, C, H, W); for crops and views that are one voxel thick.
    transform : callable, optional
        Function of a batch that returns the batch to deliver, for example for augmentation. Called in the caller's
        thread, on a GPU on the current stream.
    weights : mapping of str to float, optional
        Relative weight of each data set of an index from `Index.concat`; 0 for no samples. Of every 256 consecutive
        samples (from k * 256), a data set with share s has 256 s, rounded down or up, in random order. Its cases are
        permuted anew whenever all of them were used. An epoch has as many samples as there are cases in data sets with
        a weight, so an epoch may use cases of one data set several times and skip cases of another. With
        `crops_per_volume` the numbers count volumes. Default: all cases equally often.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, an argument is invalid, or both `weights` and `epochs` are given.
    ImportError
        If an extra is missing.
    RuntimeError
        If it is made in a worker of a torch DataLoader, used in another process, or was made before the process group,
        so that all ranks would get the same samples.

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
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 1:
            raise ValueError(f"prefetch: expected an integer of at least 1, got {prefetch!r}")
        if weights is not None and epochs is not None:
            raise ValueError(
                "weights: expected none with epochs=, which uses each case equally often; omit one of them"
            )
        torch = extras.load("torch")
        self._process = LoaderProcess(torch, rank, world_size)
        self.index, self.recipe, self.device = index, recipe, str(device)
        self._samples = make_samples(index, recipe, seed, weights)
        self.seed = int(seed)  # may be of NumPy; `state_dict` has plain numbers
        self._planner = self._samples.planner
        self._deliver = Delivery(torch, index, self._samples, dims, transform)
        self._epochs = Epochs(
            self._planner.epoch_length,
            batch_size,
            rank=self._process.rank,
            world_size=self._process.world_size,
            passes=epochs,
        )
        if self._epochs.rank == 0:
            warn_of_samples(index, self._samples)
        self._options: dict[str, Any] = {"threads": threads, "on_error": on_error, "timeout": timeout}
        self._levels = [cache] if isinstance(cache, str) else list(cache)
        self._cache: Cache | None = None
        self._prefetch = prefetch
        self._running: Running | None = None
        self._finalizer: Any = None
        self._turn = 0
        self._broken: dict[int, str] = {}
        self._start()

    def __len__(self) -> int:
        """Return the number of steps of an epoch, the same on every rank."""
        return self._epochs.steps

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the next epoch, which starts with the first `next`."""
        self._process.check()
        return self._one_epoch()

    def stream(self) -> Iterator[Any]:
        """Return an endless iterator that continues with the first batch that was not delivered yet.

        Raises
        ------
        ValueError
            If the loader was made with `epochs`.
        """
        self._process.check()
        if self._epochs.passes:
            raise ValueError("stream: expected a Loader without epochs=; create one without epochs=")
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
            "a Loader cannot be pickled or sent to workers of a torch DataLoader, because it reads with its own "
            "threads; iterate over the Loader itself, or create one in each process"
        )

    @property
    def next_sample(self) -> int:
        """The next sample number that has not been delivered to any rank."""
        return self._epochs.next

    @property
    def skipped(self) -> dict[str, str]:
        """Cases that could not be read (with `on_error="skip"`), with the reasons."""
        broken = self._known_broken()
        return {self.index.cases[case].name: reason for case, reason in sorted(broken.items())}

    def plan(self, number: int) -> SamplePlan:
        """Return the plan of a sample: case, path, and its crop (origin, flips, swaps or masked blocks) or views."""
        if not 0 <= operator.index(number) < 1 << 63:
            raise ValueError(f"number: expected a sample number of 0 to 2**63 - 1, got {number}")
        broken = self._known_broken()
        return self._planner.plan([number], broken)[0]

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream and the epoch, as plain numbers and strings.

        Prefetched batches that were not delivered are not counted.
        """
        weights, broken = self._planner.weights, self._known_broken()
        return make_state(self._epochs, self.seed, self.index, self.recipe, weights, broken)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position of another loader; batch size and world size may differ.

        The next ``for batch in loader`` finishes the interrupted epoch, or starts the next one if that had ended.

        Parameters
        ----------
        state : dict
            From `state_dict`.

        Raises
        ------
        ValueError
            If data, recipe, weights, seed or format differ; the message says which.
        """
        self._process.check()
        check_state(state, self.state_dict(), self.recipe)
        self._epochs.move(int(state["next"]), state.get("epoch_start"))
        self._turn += 1
        broken = {int(case): reason for case, reason in state["broken"].items()}
        if broken != self._known_broken():
            self.close()
        self._broken = broken

    def cache_report(self) -> dict[str, dict[str, float]]:
        """Return bytes, budget, and hits and misses of this process, for each cache level."""
        arena = self._running.source.arena if self._running and isinstance(self._running.source, RawSource) else None
        own = {arena.name: arena.report()} if arena else {}
        return {**own, **(self._cache.report() if self._cache else {})}

    def close(self) -> None:
        """Stop the threads, destroy the pipeline and close the caches; iterating again starts them again.

        In a forked child this does nothing, because these resources belong to the parent.
        """
        if self._running and self._process.is_current:
            self._broken = dict(self._running.source.broken)
            self._running, self._cache = None, None
            self._finalizer()

    def _known_broken(self) -> dict[int, str]:
        """Return the cases that could not be read so far, with the reasons."""
        return self._running.source.broken if self._running else self._broken

    def _start(self) -> Running:
        """Return the running pipeline; start one if there is none."""
        self._process.check()
        if self._running is None:
            self._cache = self._cache or open_cache(self._levels, self._samples.templates.index)
            stream = self._epochs.stream()
            source = make_source(
                self._samples, stream, self.device, self._levels, self._cache, whole=True, **self._options
            )
            source.broken.update(self._broken)
            self._running = Running(source, self.device, self._prefetch)
            self._finalizer = weakref.finalize(self, _close, self._running, self._cache, self._process)
        return self._running

    def _one_epoch(self) -> Iterator[Any]:
        self._process.check_ranks()
        self._turn = turn = self._turn + 1
        self._epochs.begin()
        for step in range(self._epochs.steps_left):
            if step:
                self._refuse_replaced(turn)
            yield self._next()

    def _endless(self) -> Iterator[Any]:
        self._process.check_ranks()
        self._turn = turn = self._turn + 1
        while True:
            self._epochs.go_on()
            yield self._next()
            self._refuse_replaced(turn)

    def _refuse_replaced(self, turn: int) -> None:
        """Raise RuntimeError if a newer iterator or a loaded state has replaced this iterator."""
        if turn != self._turn:
            raise RuntimeError(
                "this iterator has ended, because a newer one over the same Loader was started or a state was loaded; "
                "make a Loader for each loop"
            )

    def _next(self) -> Any:
        """Return the next batch."""
        numbers = self._epochs.numbers()
        try:
            batch = self._deliver(self._start().take(self._epochs.next), numbers)
        except Exception:
            self._epochs.leave_unfinished()
            self.close()
            raise
        self._epochs.advance()
        return batch


def _close(running: Running, cache: Cache, process: LoaderProcess) -> None:
    """Stop the threads, then close the caches; do nothing in a forked child."""
    if process.is_current:
        running.close()
        cache.close()
