"""Shared definitions of recipes: names of axes, normalisations, and checks of fields."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeGuard

from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import is_spacing

Normalize = Literal["zscore", "zscore-image", "percentile"] | tuple[str, float, float] | None

AXES = "DHW"

MOST_HOLES = 1024
"""Largest number of holes of a view (project choice)."""

ZSCORE_LIMIT = 5.0
"""z-scores are clipped to plus and minus this many standard deviations."""


def check_normalize(normalize: object) -> None:
    """Raise ValueError unless a value is a valid `normalize`."""
    if normalize is None or (isinstance(normalize, str) and normalize in ("zscore", "zscore-image", "percentile")):
        return
    if isinstance(normalize, tuple) and len(normalize) == 3 and normalize[0] == "window":
        low, high = normalize[1:]
        if is_number(low) and is_number(high) and low < high:
            return
    raise ValueError(
        f"normalize: expected zscore, zscore-image, percentile, none, or a window with low < high, got {normalize!r}"
    )


def check_spacing(spacing: object) -> None:
    """Raise ValueError unless a value is a valid spacing or None."""
    if spacing is not None and not is_spacing(spacing):
        raise ValueError(f"spacing: expected three positive numbers in mm (D, H, W), got {spacing!r}")


def check_standardize(value: object) -> None:
    """Raise ValueError unless a value is "zscore", or a mean and a standard deviation above 0."""
    if value == "zscore" or (is_pair(value) and value[1] > 0):
        return
    raise ValueError(f"standardize: expected zscore, or a mean and a standard deviation above 0, got {value!r}")


def check_cutout(cutout: object, shape: Triple) -> None:
    """Raise ValueError unless a value is None, or holes that are not larger than a view.

    Parameters
    ----------
    cutout : (holes, edge) or None
    shape : (3,) int
        (D, H, W) of the view.
    """
    if cutout is None:
        return
    if not isinstance(cutout, tuple) or len(cutout) != 2 or not all(is_int(n) and n > 0 for n in cutout):
        raise ValueError(f"cutout: expected a number of holes and their edge in voxels, both positive, got {cutout!r}")
    if any(cutout[1] > length for length in shape if length > 1):
        raise ValueError(f"cutout: expected an edge of at most that of a view, {shape}, got {cutout[1]}")
    if cutout[0] > MOST_HOLES:
        raise ValueError(f"cutout: expected at most {MOST_HOLES} holes, got {cutout[0]}")


def check_area(name: str, area: object) -> None:
    """Raise ValueError unless a value is a range of shares of an image's area."""
    if not is_pair(area) or not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"{name}: expected (low, high) with 0 < low <= high <= 1, got {area!r}")


def is_pair(value: Any) -> TypeGuard[tuple[float, float]]:
    """Whether a value is a tuple of two finite numbers."""
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value))


def is_number(value: Any) -> bool:
    """Whether a value is a finite number and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_int(value: object) -> bool:
    """Whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)
