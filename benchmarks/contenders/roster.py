"""Registry of the contenders, and the reasons why one cannot run."""

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
    """A row of the benchmark; its module is imported only in the process that runs it."""

    name: str
    label: str
    role: Literal["limit", "ours", "peer"]
    place: str
    """Module and class, as "module:Class"."""
    needs: tuple[str, ...] = ()
    """Required packages."""
    alone: bool = False
    """Whether it can run without workers, in the caller's thread."""
    cache: str | None = None
    """The loader's cache that it uses."""
    only: str | None = None
    """The only device that it supports, if any."""
    files: tuple[str, ...] = ("nifti",)
    """Supported kinds of files."""
    samples: tuple[str, ...] = ("pairs",)
    """Supported kinds of samples."""
    copy: Kind | None = None
    """The format of the volumes that it reads, if not the original one."""
    cold: bool = False
    """Whether its files must be dropped from the page cache."""

    def missing(self, device: str) -> str | None:
        """Return the reason why it cannot run here, or None."""
        for package in self.needs:
            if find_spec(package) is None:
                return f"{package} is not installed"
        if self.cache and "cache" not in inspect.signature(dali_cr.Loader).parameters:
            return "this version of dali_cr.Loader has no cache"
        if self.cache == "gpu" and device != "cuda":
            return "needs --device cuda"
        if self.only and device != self.only:
            return f"needs --device {self.only}"
        return None

    def open(self, job: Job) -> Feed:
        """Create its feed for a job."""
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
"""Contenders that decompress nothing once their cache is full, so that decompression is not their limit."""

PREPARED = frozenset(name for name, contender in ROSTER.items() if contender.copy)
"""Contenders that read volumes in another format, of which only the crop is decompressed."""

COLD = frozenset(name for name, contender in ROSTER.items() if contender.cold)


def counterparts(peer: str) -> tuple[str, ...]:
    """Return our contenders to compare a peer with, those that cache as it does; the fastest one counts.

    "ours-processes" occurs in earlier results only.
    """
    if peer in PREPARED:
        return ("ours-packed",)
    return ("ours-gpu", "ours-host", "ours-processes") if peer in CACHED else ("ours-loader",)
