"""Combine the scaling of a file and the normalisation into one linear map from raw numbers to network inputs."""

from __future__ import annotations

import math

import numpy as np

from dali_cr.index.cases import Index
from dali_cr.index.volumes import Volume
from dali_cr.ops.records.rescale import Rescale
from dali_cr.recipe.checks import ZSCORE_LIMIT, Normalize
from dali_cr.recipe.per_dataset import Normalizes, normalize_of, spacing_of
from dali_cr.recipe.recipe import Recipe
from dali_cr.recipe.restoration import Restoration


def rescale_of(volume: Volume, normalize: Normalize) -> Rescale:
    """Return the linear map of a volume: slope and intercept, then normalisation.

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
        If the foreground (or image) is constant and cannot be scaled, or required statistics are missing.
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
        region = "non-zero part" if normalize == "zscore-image" else "foreground"
        raise ValueError(
            f"{volume.path}: its {region} is constant and {normalize!r} cannot scale it; "
            "exclude the file (exclude=...) or normalize with a window"
        )
    # Adding 0.0 turns -0.0 into 0.0, because the kernel's addition keeps -0.0.
    shift = (geometry.intercept - centre) / width + 0.0
    return Rescale(geometry.slope / width, shift, low, high, 0.0)


def rescales_of(index: Index, normalize: Normalizes, *, masks: bool = False) -> list[list[Rescale]]:
    """Return the intensity mapping of each volume of each case.

    Parameters
    ----------
    index : Index
    normalize : str, tuple, None or mapping
        As in `Restoration`.
    masks : bool
        Whether the last channel is a mask from `dali_cr.index.corpus.masks.with_masks`: not normalised, and 0
        everywhere for cases without a mask.
    """
    found = []
    for case in index.cases:
        own = normalize_of(normalize, case.dataset)
        volumes = case.volumes[:-1] if masks else case.volumes
        row = [rescale_of(volume, own) for volume in volumes]
        if masks:
            last = case.volumes[-1]
            row.append(Rescale(0.0) if last is volumes[0] else Rescale(last.geometry.slope, last.geometry.intercept))
        found.append(row)
    return found


def _image_statistics(volume: Volume) -> tuple[float, float]:
    """Return the mean and standard deviation of a whole image."""
    mean, std = volume.statistics.image_mean, volume.statistics.image_deviation
    if mean is None or std is None:
        raise ValueError(
            f"{volume.path}: expected the mean of its whole image for 'zscore-image', got an index of an earlier "
            "version without it; scan the data again"
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
    augmented = isinstance(recipe, Restoration) and recipe.augmented
    for case in index.cases:
        normalize = normalize_of(recipe.normalize, case.dataset)
        interpolated = augmented or spacing_of(recipe.spacing, case.dataset) is not None
        for volume in case.volumes:
            try:
                _check_volume(volume, normalize, recipe.dtype, interpolated=interpolated)
            except ValueError as error:
                wrong.append((volume.path, str(error)))
    if wrong:
        others = [path for path, _ in wrong[1:]]
        more = f"; likewise {', '.join(others[:10])}" + (f" and {len(others) - 10} more" if len(others) > 10 else "")
        raise ValueError(wrong[0][1] + (more if others else ""))


def _check_volume(volume: Volume, normalize: Normalize, dtype: str, *, interpolated: bool) -> None:
    """Raise ValueError unless a volume can be normalised and stored in a dtype."""
    rescale_of(volume, normalize)
    limit = float(np.finfo(dtype).max)
    if interpolated:
        # Interpolation and contrast compute the difference of two voxels in float32, which must be finite.
        limit = min(limit, float(np.finfo(np.float32).max) / 2)
    largest = max(abs(volume.statistics.minimum), abs(volume.statistics.maximum))
    if normalize is None and largest > limit:
        raise ValueError(
            f"dtype: expected values within {dtype}'s {limit:g}, got {largest:g} in {volume.path}; "
            "use a normalisation or a wider dtype"
        )
