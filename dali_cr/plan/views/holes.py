"""Draw the holes that are cut out of views, as a pure function of seed, sample number and recipe."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.philox import below, fill_words
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

_HOLE = int(rng.Purpose.HOLE)

_BLOCKS = 2
"""Philox blocks per hole: a word for the centre along each axis, and an unused one."""


def draw_holes(
    seed: int, numbers: npt.NDArray[np.int64], shape: Triple, cutout: tuple[int, int], groups: int
) -> npt.NDArray[np.int32]:
    """Draw the holes of samples.

    The centre of a hole is uniform over the voxels of the view; the part outside of the view is cut off.

    Parameters
    ----------
    seed : int
    numbers : (B,) int64
        Sample numbers.
    shape : (3,) int
        Shape of a view.
    cutout : (holes, edge)
        Holes of a view, and their edge in voxels. A hole is 1 voxel thick along an axis on which the view is.
    groups : int
        Number of views per sample, each with separate holes.

    Returns
    -------
    holes : (B, groups, holes, 3, 3) int32
        Origin, zeros and size of each hole, as for `dali_cr.ops.erase`.

    References
    ----------
    DeVries, Taylor: Improved regularization of convolutional neural networks with cutout. arXiv:1708.04552, 2017.

    Examples
    --------
    >>> holes = draw_holes(0, np.arange(2), (1, 224, 224), (3, 32), 2)
    >>> holes.shape, int(holes[..., 2, 1:].max())
    ((2, 2, 3, 3, 3), 32)
    """
    out = np.zeros((len(numbers), groups, cutout[0], 3, 3), np.int32)
    _draw(np.uint64(seed), numbers, shape, cutout[1], np.empty(2 * _BLOCKS, np.uint64), out)
    return out


@compiled
def _draw(
    seed: np.uint64,
    numbers: npt.NDArray[np.int64],
    shape: Triple,
    edge: int,
    words: npt.NDArray[np.uint64],
    out: npt.NDArray[np.int32],
) -> None:
    """Draw the holes of samples into `out`."""
    groups, holes = out.shape[1], out.shape[2]
    for i in range(numbers.size):
        for group in range(groups):
            for turn in range(holes):
                fill_words(seed, np.uint64(numbers[i]), _BLOCKS * (holes * group + turn), _HOLE, words)
                hole = out[i, group, turn]
                for axis in range(3):
                    start = below(words[axis], shape[axis]) - edge // 2
                    stop = min(start + edge, shape[axis])
                    hole[0, axis] = max(start, 0)
                    hole[2, axis] = stop - hole[0, axis]
