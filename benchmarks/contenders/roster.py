"""Who takes part, by name; whoever is missing, and why."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import dali_cr
from benchmarks.contenders.feed import Feed, Job


@dataclass(frozen=True)
class Contender:
    """One row of the benchmark; its module is imported only where it runs."""

    name: str
    label: str
    role: Literal["limit", "ours", "peer"]
    place: str
    """Module and class."""
    needs: tuple[str, ...] = ()
    """Packages that must be installed."""
    alone: bool = False
    """Whether it can do without workers, in the caller's own thread."""
    cache: str | None = None
    """Which of the loader's caches it is about."""

    def missing(self, device: str) -> str | None:
        """Return why it cannot take part here, or None."""
        for package in self.needs:
            if find_spec(package) is None:
                return f"{package} is not installed"
        if self.cache and "cache" not in inspect.signature(dali_cr.Loader).parameters:
            return "this version of dali_cr.Loader has no cache"
        if self.cache == "gpu" and device != "cuda":
            return "needs --device cuda"
        return None

    def open(self, job: Job) -> Feed:
        """Return its stream."""
        module, _, name = self.place.partition(":")
        feed: Feed = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), name)(job)
        return feed


_DALI = ("nvidia.dali", "torch") if find_spec("nvidia") else ("nvidia",)
_TORCHIO, _MONAI = ("torch", "torchio"), ("torch", "monai")

ROSTER = {
    contender.name: contender
    for contender in (
        Contender("igzip", "igzip alone, whole files", "limit", "limit:Whole", alone=True),
        Contender("igzip-needed", "igzip alone, as far as the crops need", "limit", "limit:Needed", alone=True),
        Contender("ours-reader", "dali-cr, reader threads alone", "ours", "ours:Reader"),
        Contender("ours-loader", "dali-cr, Loader", "ours", "ours:Loader", needs=_DALI),
        Contender("ours-host", "dali-cr, Loader, host cache", "ours", "ours:HostCache", needs=_DALI, cache="host"),
        Contender("ours-disk", "dali-cr, Loader, disk cache", "ours", "ours:DiskCache", needs=_DALI, cache="disk"),
        Contender("ours-gpu", "dali-cr, Loader, GPU cache", "ours", "ours:GpuCache", needs=_DALI, cache="gpu"),
        Contender("plain", "NumPy + nibabel, threads", "peer", "plain:Plain", needs=("torch",), alone=True),
        Contender("torchio", "TorchIO, DataLoader", "peer", "torchio_loader:TorchIO", needs=_TORCHIO, alone=True),
        Contender("monai", "MONAI Dataset", "peer", "monai_loader:Monai", needs=_MONAI, alone=True),
        Contender("monai-cache", "MONAI CacheDataset", "peer", "monai_loader:CachedMonai", needs=_MONAI, alone=True),
    )
}

CACHED = frozenset(name for name, contender in ROSTER.items() if contender.cache) | {"monai-cache"}
"""Those that inflate nothing once they are warm: inflating is not their limit."""
