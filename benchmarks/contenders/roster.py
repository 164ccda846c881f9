"""Who takes part, by name; whoever is missing, and why."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import dali_cr
from benchmarks.contenders.feed import Feed, Job
from benchmarks.workloads.copies import Kind


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
    only: str | None = None
    """The device that it is for, if it is for one."""
    files: tuple[str, ...] = ("nifti",)
    """Kinds of files that it reads."""
    samples: tuple[str, ...] = ("pairs",)
    """Kinds of samples that it makes."""
    copy: Kind | None = None
    """The format of the volumes that it reads, where it is not the original one."""
    cold: bool = False
    """Whether the page cache must hold none of its files."""

    def missing(self, device: str) -> str | None:
        """Return why it cannot take part here, or None."""
        for package in self.needs:
            if find_spec(package) is None:
                return f"{package} is not installed"
        if self.cache and "cache" not in inspect.signature(dali_cr.Loader).parameters:
            return "this version of dali_cr.Loader has no cache"
        if self.cache == "gpu" and device != "cuda":
            return "needs --device cuda"
        if self.only and device != self.only:
            return f"for --device {self.only}"
        return None

    def open(self, job: Job) -> Feed:
        """Return its stream."""
        module, _, name = self.place.partition(":")
        feed: Feed = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), name)(job)
        return feed


_DALI = ("nvidia.dali", "torch") if find_spec("nvidia") else ("nvidia",)
_BOTH = ("nifti", "png")
_ANY = ("pairs", "views")
_TORCHIO, _MONAI = ("torch", "torchio"), ("torch", "monai")
_STORED: tuple[tuple[str, str, Kind | None, bool], ...] = (
    ("ours-packed", "dali-cr, Loader, packed volumes", "packed", False),
    ("ours-packed-cold", "dali-cr, Loader, packed volumes, cold disk", "packed", True),
    ("ours-loader-cold", "dali-cr, Loader, cold disk", None, True),
)

ROSTER = {
    contender.name: contender
    for contender in (
        Contender("igzip", "igzip alone, whole files", "limit", "limit:Whole", alone=True, samples=_ANY),
        Contender(
            "igzip-needed",
            "igzip alone, as far as the crops need",
            "limit",
            "limit:Needed",
            alone=True,
            samples=_ANY,
        ),
        Contender("pil", "Pillow alone", "limit", "pillow_loader:Decode", needs=("torch",), alone=True, files=("png",)),
        Contender("ours-reader", "dali-cr, reader threads alone", "ours", "ours:Reader", files=_BOTH, samples=_ANY),
        Contender("ours-loader", "dali-cr, Loader", "ours", "ours:Loader", needs=_DALI, files=_BOTH, samples=_ANY),
        *(
            Contender(
                f"ours-{cache}",
                f"dali-cr, Loader, {cache.replace('gpu', 'GPU')} cache",
                "ours",
                f"ours:{cache.capitalize()}Cache",
                needs=_DALI,
                cache=cache,
                files=_BOTH,
                samples=_ANY,
            )
            for cache in ("host", "disk", "gpu")
        ),
        *(
            Contender(
                name,
                label,
                "ours",
                "ours:ColdDisk" if cold else "ours:Loader",
                needs=_DALI,
                samples=_ANY,
                copy=copy,
                cold=cold,
            )
            for name, label, copy, cold in _STORED
        ),
        Contender("plain", "NumPy + nibabel, threads", "peer", "numpy_loop:Plain", needs=("torch",), alone=True),
        Contender("torchio", "TorchIO, DataLoader", "peer", "torchio_loader:TorchIO", needs=_TORCHIO, alone=True),
        Contender(
            "torchio-views",
            "TorchIO, volumes in memory",
            "peer",
            "torchio_views:TorchIOViews",
            needs=_TORCHIO,
            alone=True,
            samples=("views",),
        ),
        Contender("monai", "MONAI Dataset", "peer", "monai_loader:Monai", needs=_MONAI, alone=True),
        Contender("monai-cache", "MONAI CacheDataset", "peer", "monai_loader:CachedMonai", needs=_MONAI, alone=True),
        Contender(
            "monai-persistent",
            "MONAI PersistentDataset",
            "peer",
            "monai_loader:PersistentMonai",
            needs=_MONAI,
            alone=True,
        ),
        Contender(
            "nnunet",
            "nnU-Net, Blosc2 files",
            "peer",
            "nnunet_loader:NnUNet",
            needs=("torch", "nnunetv2", "blosc2"),
            alone=True,
            copy="blosc2",
        ),
        Contender(
            "pil-loader",
            "NumPy + Pillow, DataLoader",
            "peer",
            "pillow_loader:PilLoader",
            needs=("torch",),
            alone=True,
            files=("png",),
        ),
    )
}

CACHED = frozenset(name for name, contender in ROSTER.items() if contender.cache) | {
    "monai-cache",
    "monai-persistent",
    "torchio-views",
}
"""Those that inflate nothing once they are warm: inflating is not their limit."""

PREPARED = frozenset(name for name, contender in ROSTER.items() if contender.copy)
"""Those that read volumes in a format of their own, of which a crop is inflated without the rest."""

COLD = frozenset(name for name, contender in ROSTER.items() if contender.cold)


def counterparts(peer: str) -> tuple[str, ...]:
    """Return which of ours a peer is compared with: the fastest that ran of those that do as it does.

    "ours-processes" is of earlier results.
    """
    if peer in PREPARED:
        return ("ours-packed",)
    return ("ours-gpu", "ours-host", "ours-processes") if peer in CACHED else ("ours-loader",)
