"""Shared definitions of recipes: names of axes, normalisations, and checks of fields."""

from __future__ import annotations

import math
from typing import Literal

from dali_cr.volume.grid import is_spacing

Normalize = Literal["zscore", "zscore-image", "percentile"] | tuple[str, float, float] | None

AXES = "DHW"

ZSCORE_LIMIT = 5.0
"""z-scores are clipped to plus and minus this many standard deviations."""


def check_normalize(normalize: object) -> None:
    """Raise ValueError unless a value is a valid `normalize`."""
    if normalize is None or (isinstance(normalize, str) and normalize in ("zscore", "zscore-image", "percentile")):
        return
    if isinstance(normalize, tuple) and len(normalize) == 3 and normalize[0] == "window":
        low, high = normalize[1:]
        if all(isinstance(v, (int, float)) and math.isfinite(v) for v in (low, high)) and low < high:
            return
    raise ValueError(
        f"normalize: expected zscore, zscore-image, percentile, none, or a window with low < high, got {normalize!r}"
    )


def check_spacing(spacing: object) -> None:
    """Raise ValueError unless a value is a valid spacing or None."""
    if spacing is not None and not is_spacing(spacing):
        raise ValueError(f"spacing: expected three positive numbers in mm (D, H, W), got {spacing!r}")


def is_int(value: object) -> bool:
    """Whether a value is an integer and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def tuples(value: object) -> object:
    """Convert nested lists to tuples."""
    return tuple(map(tuples, value)) if isinstance(value, (list, tuple)) else value
