"""Settings of the pretexts on tiles, and checks of the settings that a pretext has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from dali_cr.recipe.restoration import Pretext
from dali_cr.volume.geometry import Triple

from ...run.config.training import RunSettings
from .jigsaw import fit_jigsaw
from .position import fit_position
from .tiling import Tiling

TilePretext = Literal["position", "jigsaw"]
"""Pretexts that predict a class from tiles of a crop, and train the encoder alone."""

PretextName = Literal[Pretext, TilePretext]

TILE_PRETEXTS: tuple[str, ...] = get_args(TilePretext)

_PATCHES, _MASK = ("swap", "inpaint"), ("mae",)
_ONLY_WITH: Mapping[str, tuple[str, ...]] = {
    "iterations": _PATCHES,
    "patch": _PATCHES,
    "each_patch_once": _PATCHES,
    "mask_ratio": _MASK,
    "mask_block": _MASK,
    "skips": get_args(Pretext),
    "no_skips": get_args(Pretext),
    "tile": TILE_PRETEXTS,
    "gap": ("position",),
    "jitter": ("position",),
    "permutations": ("jigsaw",),
}
"""From a setting to the pretexts that have it."""


@dataclass(frozen=True, kw_only=True)
class TileSettings(RunSettings):
    """Settings of the pretexts on tiles."""

    tile: tuple[int, ...] | None = None
    """Pretext: with --pretext position or jigsaw, edge of a tile in voxels, or its edges D H W; by default in the
    published proportion: for position 0.38 of the crop (gap and jitter fit in), for jigsaw 64/75 of a cell."""
    gap: int | None = None
    """Pretext: with --pretext position, voxels between both tiles; by default half of the tile, as published."""
    jitter: int | None = None
    """Pretext: with --pretext position, voxels by which each tile is moved at most; by default 7/96 of the tile, as
    published."""
    permutations: int = 100
    """Pretext: with --pretext jigsaw, number of permutations, which are the classes."""

    def find_tiling(self, pretext: PretextName, crop: Triple) -> Tiling | None:
        """Return the tiles of a crop; None for a pretext without tiles.

        Raises
        ------
        ValueError
            If tiles do not fit into the crop.
        """
        if pretext == "position":
            return fit_position(crop, self.tile, self.gap, self.jitter)
        if pretext == "jigsaw":
            return fit_jigsaw(crop, self.tile, self.permutations)
        return None


def lacks(pretext: str, name: str) -> bool:
    """Whether a pretext lacks a setting, so that giving it is an error.

    Without tiles, settings of patches and masks are accepted and have no effect, as in earlier versions.

    Examples
    --------
    >>> lacks("position", "patch"), lacks("swap", "tile"), lacks("autoencode", "patch"), lacks("position", "crop")
    (True, True, False, False)
    """
    pretexts = _ONLY_WITH.get(name, (pretext,))
    return pretext not in pretexts and not {pretext, *pretexts}.isdisjoint(TILE_PRETEXTS)


def check_options(config: Any) -> None:
    """Check that no setting of another kind of pretext was given.

    Parameters
    ----------
    config : dataclass instance
        With `pretext` and all settings of pretexts.

    Raises
    ------
    ValueError
        With the pretexts that have the setting.
    """
    usual = {one.name: one.default for one in fields(config)}
    for name, pretexts in _ONLY_WITH.items():
        value = getattr(config, name)
        if value != usual[name] and lacks(config.pretext, name):
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            raise ValueError(
                f"--{name.replace('_', '-')}: expected no value with --pretext {config.pretext}, got {shown}; omit it, "
                f"or give --pretext {' or '.join(pretexts)}"
            )
