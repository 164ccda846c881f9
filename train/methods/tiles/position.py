"""Relative position: which of the neighbours of the first tile the second one is (Doersch et al. 2015).

Published: two patches of 96 × 96 pixels of an image; the second is one of the 8 neighbours of the first in a grid with
a gap of 48 pixels, and each is moved by up to 7 pixels along each axis, so that borders and lines do not continue from
one patch into the other. The public code (cdoersch/deepcontext) normalises each patch by its own mean and variance.

Project choices: tiles are cut from the crop that other pretexts get, with gap and jitter in the published proportion to
the tile; in 3-D there are 26 neighbours. Not adopted: random down-sampling of a third of the patches, and the removal
of colours, which grey images do not need.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.volume.geometry import Triple

from .tiling import Drawn, Tiling, axes_of, edges_of

_GAP, _JITTER = 48 / 96, 7 / 96
"""Published gap and jitter in relation to a patch."""

_BLOCKS = 5
"""Philox blocks of a sample: words for its class, and for position and two jitters along three axes."""


@dataclass(frozen=True, kw_only=True)
class Position(Tiling):
    """Two tiles that are neighbours in a grid; the class is the direction from the first to the second.

    References
    ----------
    Doersch, Gupta, Efros: Unsupervised visual representation learning by context prediction. ICCV (2015) 1422-1430.

    Examples
    --------
    >>> pairs = fit_position((1, 64, 64))
    >>> pairs.classes, pairs.tile, pairs.gap, pairs.jitter
    (8, (1, 24, 24), (0, 12, 12), (0, 2, 2))
    >>> drawn = pairs.draw(seed=0, numbers=[7])
    >>> pairs.name(drawn.labels[0]), drawn.starts[0].tolist()
    ('-H', [[0, 39, 32], [0, 0, 32]])
    """

    gap: Triple
    """Voxels between the tiles, before the jitter."""
    jitter: Triple
    """Largest displacement of each tile along each axis, in voxels."""

    @property
    def tiles(self) -> int:
        """Number of tiles of a sample."""
        return 2

    @property
    def classes(self) -> int:
        """Number of classes: 8 in 2-D, 26 in 3-D."""
        return len(self.directions)

    @property
    def mosaic(self) -> npt.NDArray[np.int64]:
        """Both tiles side by side."""
        return np.array([[0, 1]])

    @property
    def about(self) -> dict[str, Any]:
        """Gap and jitter."""
        return {"gap": list(self.gap), "jitter": list(self.jitter)}

    @cached_property
    def directions(self) -> npt.NDArray[np.int64]:
        """Direction (D, H, W) of each class, -1, 0 or 1 along each axis."""
        steps = [(-1, 0, 1) if edge > 1 else (0,) for edge in self.crop]
        return np.array([step for step in product(*steps) if any(step)])

    def name(self, label: int) -> str:
        """Return a direction by its axes, such as '+H -W'."""
        step = self.directions[label]
        return " ".join(f"{'+' if sign > 0 else '-'}{axis}" for axis, sign in zip("DHW", step, strict=True) if sign)

    def draw(self, seed: int, numbers: npt.ArrayLike) -> Drawn:
        """Draw a class, the place of the pair, and the jitter of each tile, all uniformly."""
        words = rng.draw_words(seed, numbers, rng.Purpose.TILE, _BLOCKS)
        labels = rng.below(words[:, 0], self.classes)
        placed, *moved = np.moveaxis(words[:, 1:].reshape(-1, 3, 3), 2, 0)
        crop, tile, gap, jitter = (np.array(one) for one in (self.crop, self.tile, self.gap, self.jitter))
        step = self.directions[labels] * (tile + gap)
        room = crop - tile - abs(step) - 2 * jitter
        first = jitter + rng.below(placed, room + 1) + np.maximum(-step, 0)
        starts = np.stack([first, first + step], 1)
        return Drawn(labels, starts + np.stack([rng.below(one, 2 * jitter + 1) - jitter for one in moved], 1))

    @staticmethod
    def usual_edge(edge: int, cells: int) -> int:
        """Return the largest edge of two tiles with their usual gap and jitter."""
        if cells == 1:
            return edge
        return _largest(edge, None, None)


def fit_position(
    crop: Triple, tile: tuple[int, ...] | None = None, gap: int | None = None, jitter: int | None = None
) -> Position:
    """Return the pairs of tiles of a crop.

    Parameters
    ----------
    crop : (D, H, W) int
    tile : tuple of int, optional
        One edge or three; by default the largest that fit.
    gap, jitter : int, optional
        Along each axis; by default in the published relation to the tile.

    Raises
    ------
    ValueError
        If the tiles do not fit into the crop, or the jitter could make them overlap.
    """
    axes = axes_of(crop)
    edges = [1, 1, 1] if tile is None else list(edges_of(tile, crop))
    gaps, jitters = [0, 0, 0], [0, 0, 0]
    for axis in axes:
        edge, name = crop[axis], "DHW"[axis]
        if tile is None:
            edges[axis] = _largest(edge, gap, jitter)
        gaps[axis], jitters[axis] = _margins(edges[axis], gap, jitter)
        if min(gaps[axis], jitters[axis]) < 0:
            raise ValueError(f"--gap, --jitter: expected at least 0 voxels, got {gaps[axis]} and {jitters[axis]}")
        if gaps[axis] < 2 * jitters[axis]:
            raise ValueError(
                f"--jitter: expected at most half of the gap of {gaps[axis]} voxels along {name}, so that tiles never "
                f"overlap, got {jitters[axis]}; give a larger --gap"
            )
        if (needed := _extent(edges[axis], gaps[axis], jitters[axis])) > edge:
            raise ValueError(
                f"--tile: expected two tiles of {edges[axis]} voxels with a gap of {gaps[axis]} and a jitter of "
                f"{jitters[axis]} to fit along {name}, they need {needed} voxels, got a crop of {edge}; give a smaller "
                "--tile or --gap, or a larger --crop"
            )
    shapes: list[Any] = [tuple(one) for one in (edges, gaps, jitters)]
    return Position(crop=crop, tile=shapes[0], gap=shapes[1], jitter=shapes[2])


def _margins(tile: int, gap: int | None, jitter: int | None) -> tuple[int, int]:
    """Return gap and jitter, by default in the published relation to the tile."""
    return int(tile * _GAP) if gap is None else gap, round(tile * _JITTER) if jitter is None else jitter


def _extent(tile: int, gap: int, jitter: int) -> int:
    """Return the voxels that two tiles need along an axis."""
    return 2 * tile + gap + 2 * jitter


def _largest(edge: int, gap: int | None, jitter: int | None) -> int:
    """Return the largest edge of two tiles that fit; 1 if none does."""
    fitting = (one for one in range(edge // 2, 0, -1) if _extent(one, *_margins(one, gap, jitter)) <= edge)
    return next(fitting, 1)
