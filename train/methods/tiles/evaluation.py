"""Evaluation of predicted classes of tiles on held-out cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import dali_cr

from ...output.figure import Origin
from ...output.mosaic import Column
from ...run.device import autocast
from ..errors import middle_slices
from ..method import Measured
from .preview import TilePicture, draw_tiles, join_tiles
from .tiling import Tiling

_PICTURES = 4
"""Number of samples that are drawn."""

GetTiles = Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]
"""From a batch to tiles (B, T, C, ...) and classes (B,), on the device."""


@dataclass(frozen=True, kw_only=True)
class MeasuredTiles(Measured):
    """Metrics and pictures of tiles."""

    pictures: tuple[TilePicture, ...]

    @property
    def shown(self) -> str:
        """Name of the picture in TensorBoard."""
        return "tiles"

    @property
    def columns(self) -> list[Column]:
        """Grey pictures of each sample by kind."""
        return [one.column for one in self.pictures]

    def draw(self, out: Path, origin: Origin) -> None:
        """Write the preview."""
        draw_tiles(self.pictures, out, origin)


@torch.no_grad()
def evaluate_tiles(
    module: nn.Module, loader: dali_cr.Loader, samples: int, tiling: Tiling, get_tiles: GetTiles
) -> MeasuredTiles:
    """Evaluate a classifier of tiles on the loader's first `samples` samples.

    Parameters
    ----------
    module : nn.Module
        From tiles to logits; set to training mode on return.
    loader : dali_cr.Loader
        A new loader over held-out cases, starting at sample 0.
    samples : int
        Number of samples, at least 1.
    tiling : Tiling
    get_tiles : function

    Returns
    -------
    MeasuredTiles
        ``accuracy`` is the fraction of correct classes, ``chance`` its value at chance, ``cross_entropy`` the mean
        cross-entropy in nats; at chance it is the logarithm of the number of classes.
    """
    device = next(module.parameters()).device
    losses, hits, pictures, seen = [], [], list[TilePicture](), 0
    batches = loader.stream()
    module.eval()
    while seen < samples:
        batch = {name: value[: samples - seen] for name, value in next(batches).items()}
        tiles, labels = get_tiles(batch)
        with autocast(device):
            logits = module(tiles).float()
        predicted = logits.argmax(1)
        losses.append(F.cross_entropy(logits, labels, reduction="none").double())
        hits.append(predicted == labels)
        seen += len(labels)
        kept = slice(max(0, _PICTURES - len(pictures)))
        pictures += _draw(batch["target"][kept], tiles[kept], labels[kept], predicted[kept], tiling)
    module.train()
    numbers: dict[str, float | None] = {
        "accuracy": torch.cat(hits).double().mean().item(),
        "chance": 1 / tiling.classes,
        "cross_entropy": torch.cat(losses).mean().item(),
    }
    text = f"accuracy {numbers['accuracy']:.3f}, by chance {numbers['chance']:.3f}; cross-entropy "
    text += f"{numbers['cross_entropy']:.3f}, by chance {np.log(tiling.classes):.3f}"
    return MeasuredTiles(numbers=numbers, text=text, slices={}, pictures=tuple(pictures))


def _draw(
    targets: torch.Tensor, tiles: torch.Tensor, labels: torch.Tensor, predicted: torch.Tensor, tiling: Tiling
) -> list[TilePicture]:
    """Return the pictures of samples, of their first channel."""
    if not len(targets):
        return []
    mosaics = [join_tiles(middle_slices(one[:, 0]).numpy(), tiling.mosaic) for one in tiles]
    names = [[tiling.name(label) for label in some.tolist()] for some in (labels, predicted)]
    found = zip(middle_slices(targets[:, 0]).numpy(), mosaics, *names, strict=True)
    return [TilePicture(*one) for one in found]
