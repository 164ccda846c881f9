"""Check the augmentation fields of a recipe."""

from __future__ import annotations

import math
from typing import Any

from dali_cr.recipe.checks import is_number, is_pair

Range = tuple[float, float]

NO_SCALE: Range = (1.0, 1.0)

SCALES: Range = (0.1, 10.0)
"""Smallest and largest allowed scale of a crop."""

_LARGEST = {
    "degrees": 180.0,
    "affine_probability": 1.0,
    "noise": math.inf,
    "gamma": 8.0,
    "intensity_probability": 1.0,
}


def check_augmentation(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the augmentation fields; fields without effect are set to their defaults.

    Parameters
    ----------
    fields : dict
        degrees, scale, affine_probability, noise, gamma and intensity_probability, as in `Restoration`.

    Raises
    ------
    ValueError
        If a field is out of range; the message names the field.

    Examples
    --------
    >>> fields = {"degrees": 30.0, "scale": (1.0, 1.0), "noise": 0.0, "gamma": 0.0}
    >>> checked = check_augmentation(fields | {"affine_probability": 0.2, "intensity_probability": 0.2})
    >>> checked["degrees"], checked["affine_probability"], checked["intensity_probability"]
    (30.0, 0.2, 1.0)
    """
    checked: dict[str, Any] = {"scale": fields["scale"]}
    for name, most in _LARGEST.items():
        value = fields[name]
        if not is_number(value) or not 0 <= value <= most:
            bounds = f"number from 0 to {most:g}" if math.isfinite(most) else "finite number of at least 0"
            raise ValueError(f"{name}: expected a {bounds}, got {value!r}")
        checked[name] = value
    _check_scale(fields["scale"])
    for probability, defaults in (
        ("affine_probability", {"degrees": 0.0, "scale": NO_SCALE}),
        ("intensity_probability", {"noise": 0.0, "gamma": 0.0}),
    ):
        if checked[probability] == 0 or all(checked[name] == default for name, default in defaults.items()):
            checked |= {**defaults, probability: 1.0}
    return checked


def _check_scale(scale: Any) -> None:
    """Raise ValueError unless a value is a range of scales."""
    if not is_pair(scale) or not SCALES[0] <= scale[0] <= scale[1] <= SCALES[1]:
        raise ValueError(
            f"scale: expected (low, high) with {SCALES[0]:g} <= low <= high <= {SCALES[1]:g}, got {scale!r}"
        )
