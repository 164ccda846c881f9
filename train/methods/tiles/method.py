"""Pre-training of the encoder by the class of tiles: relative position or jigsaw.

::

    python -m train.pretrain --pretext position --data scans/ --out runs/position
    python -m train.pretrain --pretext jigsaw --permutations 100 --data scans/ --out runs/jigsaw

Both are baselines of context restoration in Chen et al. (2019), whose settings of them are not known to us. Crops are
those of the other pretexts: the same case, place and flips for a sample number. Tiles are cut on the device; class,
order and places are drawn from (seed, sample number), so they do not depend on batch size, device or resume.

There is no decoder: the run saves the encoder alone, and only `--transfer encoder` can use it. Voxels that an
anonymisation mask marks may be part of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

import dali_cr

from ...run.device import autocast, upload
from ..evaluation import SEED
from ..method import Measured, Method
from ..restoration import RestorationConfig, network_of, without_augmentation
from .cut import cut_tiles, normalize_tiles, pad_tiles
from .evaluation import evaluate_tiles
from .head import TileClassifier, input_edges


class Tiles(Method):
    """Classification of tiles; the loss is the cross-entropy.

    Parameters
    ----------
    config : RestorationConfig
        With the pretext position or jigsaw.
    channels : int
        Channels of a case.
    """

    config: RestorationConfig
    recipe: dali_cr.Restoration
    reported: tuple[str, ...] = ("accuracy", "chance", "cross_entropy")

    def __init__(self, config: RestorationConfig, channels: int) -> None:
        assert config.tiling
        self.tiling, whole = config.tiling, network_of(config, channels)
        self.edges = input_edges(self.tiling, whole)
        network = whole.without_decoder(pretext=config.pretext)
        super().__init__(config, network, TileClassifier(network, self.tiling.tiles, self.tiling.classes))

    @property
    def held_out_recipe(self) -> dali_cr.Restoration:
        """Recipe of held-out samples, without augmentation."""
        return without_augmentation(self.recipe)

    @property
    def about(self) -> dict[str, Any]:
        """Entries of config.json: tiles, classes, and what is trained."""
        tiling = self.tiling
        tiles = {"tile": list(tiling.tile), "input": list(self.edges), **tiling.about, "classes": tiling.classes}
        return {"tiles": tiles, "decoder": "none: the encoder alone is trained"}

    def tiles_of(self, batch: Mapping[str, torch.Tensor], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tiles of a batch as the network gets them, (B, T, C, ...), and their classes (B,)."""
        images, drawn = batch["target"], self.tiling.draw(seed, batch["sample"].numpy())
        starts, labels = (upload(one, images.device) for one in (drawn.starts, drawn.labels))
        tiles = normalize_tiles(cut_tiles(images.float(), starts, self.tiling.tile))
        return pad_tiles(tiles, self.edges), labels

    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss and the accuracy of a batch."""
        tiles, labels = self.tiles_of(batch, self.config.seed)
        with autocast(tiles.device):
            logits = self.module(tiles)
        hits = (logits.argmax(1) == labels).float().mean()
        return {"loss": F.cross_entropy(logits.float(), labels), "accuracy": hits}

    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Measure accuracy and cross-entropy on held-out samples."""
        samples = self.config.evaluate_samples
        return evaluate_tiles(self.module, loader, samples, self.tiling, lambda batch: self.tiles_of(batch, SEED))

    def introduce(self) -> Iterator[str]:
        """Yield lines about the crops, the tiles and the head."""
        tiling = self.tiling
        yield from self.config.describe_crops()
        padded = f", with zeros around it {_by(self.edges)}" if self.edges != tiling.tile else ""
        margins = "".join(f", {name} {_by(value)}" for name, value in tiling.about.items())
        yield f"tiles      {tiling.tiles} of {_by(tiling.tile)} voxels{padded}{margins}; {tiling.classes} classes"
        heads = sum(parameter.numel() for parameter in self.module.parameters()) - self.network.parameters
        yield f"head       {heads:,} more parameters; no decoder, so only the encoder can be transferred"


def _by(edges: Any) -> str:
    return " × ".join(map(str, edges))
