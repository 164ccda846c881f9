"""Divide a volume into bricks of 32,768 voxels: cubes, unless the volume is thin."""

from __future__ import annotations

from collections.abc import Sequence

from dali_cr.volume.geometry import Triple

BRICK_VOXELS = 32_768
"""Voxels per brick; voxels beyond the volume's edge are 0."""

_EDGE = 32


def brick_shape(shape: Sequence[int]) -> Triple:
    """Return the shape of the bricks of a volume: 32 cubed, or flatter along D if the volume is thin.

    Parameters
    ----------
    shape : (3,) int
        Canonical (D, H, W).

    Examples
    --------
    >>> brick_shape((155, 240, 240)), brick_shape((1, 512, 512)), brick_shape((11, 100, 100))
    ((32, 32, 32), (1, 128, 256), (16, 32, 64))
    """
    d = _EDGE
    while d > 1 and d >= 2 * shape[0]:
        d //= 2
    h = w = _EDGE
    while d * h * w < BRICK_VOXELS:
        h, w = (h, 2 * w) if w <= h else (2 * h, w)
    return d, h, w


def brick_counts(shape: Sequence[int], brick: Triple) -> Triple:
    """Return the number of bricks along (D, H, W).

    Examples
    --------
    >>> brick_counts((155, 240, 240), (32, 32, 32))
    (5, 8, 8)
    """
    d, h, w = (-(-length // edge) for length, edge in zip(shape, brick, strict=True))
    return d, h, w
