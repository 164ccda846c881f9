"""`Statistics`: value range and foreground statistics of one volume."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILES = (0.5, 99.5)
"""Percentiles of the foreground that `normalize="percentile"` maps to 0 and 1."""

LEVELS = (0.0, 0.5, 1.0, 2.5, *(5.0 * n for n in range(1, 20)), 97.5, 99.0, 99.5, 100.0)
"""Levels of `Statistics.percentiles` in percent; denser near the ends, where windows clip."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of one volume's finite voxels, in values (raw * slope + intercept).

    Attributes
    ----------
    minimum, maximum : float
        Range of all finite voxels.
    mean, deviation : float
        Mean and standard deviation of the foreground.
    low, high : float
        `PERCENTILES` of the foreground.
    background : float or None
        Value of the background.
    foreground : int
        Number of foreground voxels.
    nonfinite : int
        Number of NaN and Inf.
    distinct : int
        Number of distinct finite values.
    classes : bool
        Whether the values look like a label volume: very few values, or at most 256 integers (within 0.001)
        in patches, where most neighbours in the foreground are equal (in 8-bit images at most a third are).
    percentiles : (27,) float
        Percentiles of the foreground at `LEVELS`, ascending; empty in an index of an earlier version.
    image_mean, image_deviation : float or None
        Mean and standard deviation of all finite voxels, background included, in the smallest box of the canonical grid
        that contains every value other than 0; used by `normalize="zscore-image"`. None in an index of an earlier
        version.
    """

    minimum: float
    maximum: float
    mean: float
    deviation: float
    low: float
    high: float
    background: float | None
    foreground: int
    nonfinite: int
    distinct: int
    classes: bool
    percentiles: tuple[float, ...] = ()
    image_mean: float | None = None
    image_deviation: float | None = None

    def clipped(self, low: float, high: float) -> float | None:
        """Return the share of the foreground outside of a window; None if the percentiles are unknown.

        Values are assumed to be distributed evenly between two percentiles.

        Parameters
        ----------
        low, high : float

        Examples
        --------
        >>> flat = Statistics(0, 100, 50, 29, 0.5, 99.5, None, 101, 0, 101, False, LEVELS)
        >>> round(flat.clipped(20, 90), 6), flat.clipped(-5, 100), flat.clipped(200, 300)
        (0.3, 0.0, 1.0)
        """
        if not self.percentiles:
            return None
        return _share_below(self.percentiles, low) + _share_below([-value for value in self.percentiles[::-1]], -high)


def _share_below(percentiles: Sequence[float], bound: float) -> float:
    """Return the share of values below a bound, from their percentiles at `LEVELS`, which are symmetric."""
    above = bisect_left(percentiles, bound)
    if above in (0, len(percentiles)):
        return float(above > 0)
    first, last = percentiles[above - 1 : above + 1]
    return (LEVELS[above - 1] + (LEVELS[above] - LEVELS[above - 1]) * (bound - first) / (last - first)) / 100
