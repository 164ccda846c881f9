"""Preview of held-out samples: a slice of the crop, its tiles as the network gets them, and both classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ...output.figure import Origin, write_figure
from ...output.mosaic import Column, to_grey

_RANGE = (-2.5, 2.5)
"""Values of normalised tiles that are black and white."""

_WIDTH = 2.4
"""Width of a column in inches."""


@dataclass(frozen=True)
class TilePicture:
    """One sample."""

    target: npt.NDArray[np.float32]
    """Middle slice of the crop, (H, W)."""
    tiles: npt.NDArray[np.float32]
    """Mosaic of the middle slices of its tiles, NaN between them."""
    label: str
    predicted: str

    @property
    def column(self) -> Column:
        """Grey pictures by kind."""
        target = to_grey(self.target, float(self.target.min()), float(self.target.max()))
        return {"target": target, "tiles": to_grey(self.tiles, *_RANGE)}


def join_tiles(tiles: npt.NDArray[np.float32], mosaic: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return slices of tiles as one picture, with a line of NaN between them.

    Parameters
    ----------
    tiles : (T, h, w)
    mosaic : (rows, columns) int
        Number of the tile at each place.

    Examples
    --------
    >>> join_tiles(np.ones((2, 2, 2), np.float32), np.array([[0, 1]]))
    array([[ 1.,  1., nan,  1.,  1.],
           [ 1.,  1., nan,  1.,  1.]], dtype=float32)
    """
    framed = np.pad(tiles, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    joined = np.concatenate([np.concatenate(list(framed[row]), axis=1) for row in mosaic])
    return joined[:-1, :-1]


def draw_tiles(pictures: Sequence[TilePicture], out: str | os.PathLike[str], origin: Origin) -> None:
    """Draw a column per sample: the crop, and its tiles under the true and the predicted class.

    Parameters
    ----------
    pictures : sequence of TilePicture
    out : path-like
        The picture file.
    origin : "lower" or "upper"
        Position of the first image row.
    """
    heights = [len(picture) / picture.shape[1] for picture in (pictures[0].target, pictures[0].tiles)]
    size = (_WIDTH * len(pictures) + 0.4, _WIDTH * sum(heights) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2, len(pictures), squeeze=False, height_ratios=heights)
    for (above, below), one in zip(axes.T, pictures, strict=True):
        above.imshow(one.target, cmap="gray", origin=origin)
        below.imshow(one.tiles, cmap="gray", vmin=_RANGE[0], vmax=_RANGE[1], origin=origin)
        below.set_title(f"{one.label}\npredicted {one.predicted}", fontsize=8)
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("target")
    axes[1, 0].set_ylabel("tiles")
    write_figure(figure, Path(out), dpi=120)
