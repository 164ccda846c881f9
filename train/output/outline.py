"""Boxes drawn as outlines over a grey image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .palette import colour_of

_DASH = 4
"""Pixels of a dash and of a gap."""


def outline(image: npt.NDArray[np.uint8], boxes: Sequence[npt.NDArray[np.float64]], at: int) -> npt.NDArray[np.uint8]:
    """Return a slice with the outlines of boxes, each in the colour of its class.

    Parameters
    ----------
    image : (H, W) uint8
    boxes : sequence of (2, 3) float64
        Half-open boxes in voxels (D, H, W), one for each class; NaN for none.
    at : int
        Number of the slice across D; boxes that it does not cut are dashed.

    Returns
    -------
    picture : (H, W, 3) uint8

    Examples
    --------
    >>> picture = outline(np.zeros((4, 4), np.uint8), [np.array([[0, 1, 1], [1, 3, 4]])], at=0)
    >>> (picture.any(-1)).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    """
    picture = np.repeat(image[..., None], 3, -1)
    for place, box in enumerate(boxes):
        if np.isnan(box).any():
            continue
        (first, *lower), (last, *upper) = np.rint(box).astype(int).tolist()
        (top, left), (bottom, right) = lower, [end - 1 for end in upper]
        rows, columns = np.arange(top, bottom + 1), np.arange(left, right + 1)
        sides = [(rows, left), (rows, right), (top, columns), (bottom, columns)]
        for one, other in sides:
            y, x = np.broadcast_arrays(one, other)
            seen = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
            if not first <= at < last:
                seen &= (y + x) % (2 * _DASH) < _DASH
            picture[y[seen], x[seen]] = np.rint(255 * np.array(colour_of(place)))
    return picture
