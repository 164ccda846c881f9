"""The one linear map from a volume's raw numbers to what the network sees."""

from __future__ import annotations

import math

import numpy as np

from dali_cr.index.cases import Index
from dali_cr.index.volumes import Volume
from dali_cr.ops.record import Rescale
from dali_cr.recipe.checks import ZSCORE_LIMIT, Normalize
from dali_cr.recipe.recipe import Recipe


def rescale_of(volume: Volume, normalize: Normalize) -> Rescale:
    """Return the map of one volume: its slope and intercept, then the normalisation.

    Parameters
    ----------
    volume : Volume
    normalize : "zscore", "zscore-image", "percentile", ("window", low, high) or None

    Returns
    -------
    rescale : Rescale

    Raises
    ------
    ValueError
        If the volume's foreground (or image) is constant, so that nothing can be scaled, or the statistics that are
        asked for are not known.
    """
    geometry, statistics = volume.geometry, volume.statistics
    if normalize is None:
        return Rescale(geometry.slope, geometry.intercept, padding=statistics.minimum)
    if normalize == "zscore":
        centre, width, low, high = statistics.mean, statistics.deviation, -ZSCORE_LIMIT, ZSCORE_LIMIT
    elif normalize == "zscore-image":
        (centre, width), low, high = _image_statistics(volume), -math.inf, math.inf
    else:
        first, last = (statistics.low, statistics.high) if normalize == "percentile" else normalize[1:]
        centre, width, low, high = float(first), float(last) - float(first), 0.0, 1.0
    if not width > 0:
        what = "image, where it is not 0," if normalize == "zscore-image" else "foreground"
        raise ValueError(
            f"{volume.path}: its {what} is constant, {normalize!r} cannot scale it; "
            "exclude the file (exclude=...) or normalize with a window"
        )
    # A negative zero would survive the kernel's addition.
    shift = (geometry.intercept - centre) / width + 0.0
    return Rescale(geometry.slope / width, shift, low, high, 0.0)


def _image_statistics(volume: Volume) -> tuple[float, float]:
    """Return the mean and standard deviation of a whole image."""
    mean, std = volume.statistics.image_mean, volume.statistics.image_deviation
    if mean is None or std is None:
        raise ValueError(
            f"{volume.path}: expected the mean of its whole image for 'zscore-image', got an index of an earlier "
            "version without it; scan the data again, which completes the index"
        )
    return mean, std


def check_range(index: Index, recipe: Recipe) -> None:
    """Raise ValueError unless every volume can be normalised and stored in the recipe's dtype.

    Raises
    ------
    ValueError
        The message names the volumes and gives the reason for the first one.
    """
    wrong: list[tuple[str, str]] = []
    for volume in (volume for case in index.cases for volume in case.volumes):
        try:
            _check_volume(volume, recipe)
        except ValueError as error:
            wrong.append((volume.path, str(error)))
    if wrong:
        others = [path for path, _ in wrong[1:]]
        more = f"; likewise {', '.join(others[:10])}" + (f" and {len(others) - 10} more" if len(others) > 10 else "")
        raise ValueError(wrong[0][1] + (more if others else ""))


def _check_volume(volume: Volume, recipe: Recipe) -> None:
    """Raise ValueError unless a volume can be normalised and stored in the recipe's dtype."""
    rescale_of(volume, recipe.normalize)
    limit = float(np.finfo(recipe.dtype).max)
    if recipe.spacing:
        # Interpolation computes the difference of two voxels in float32, which must be finite.
        limit = min(limit, float(np.finfo(np.float32).max) / 2)
    largest = max(abs(volume.statistics.minimum), abs(volume.statistics.maximum))
    if recipe.normalize is None and largest > limit:
        raise ValueError(
            f"dtype: expected values within {recipe.dtype}'s {limit:g}, got {largest:g} in {volume.path}; "
            "normalize, or take a wider dtype"
        )
