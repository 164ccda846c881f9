"""Element and index types of the kernels that move voxels of any dtype as bits."""

from __future__ import annotations

import math
from typing import Any

from dali_cr.ops.gpu import launch

ELEMENTS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}
"""Element type of a kernel by bytes per voxel."""

INT_LIMIT = 2**31
"""Volumes with at least this many elements are indexed with 64 bits."""


def variants_of(entry: str, sources: tuple[str, ...]) -> tuple[launch.Variant, ...]:
    """Return the variants of a kernel for all element and index types."""
    return tuple((entry, sources, _defines(size, wide)) for size in ELEMENTS for wide in (False, True))


def kernel_for(array: Any, entry: str, sources: tuple[str, ...]) -> launch.Launch:
    """Return the variant of a kernel for an array (..., D, H, W)."""
    wide = math.prod(array.shape[-3:]) >= INT_LIMIT
    return launch.kernel(entry, *sources, defines=_defines(array.itemsize, wide))


def check_elements(array: Any, axes: tuple[str, ...]) -> None:
    """Check that an array is contiguous with 1, 2, 4 or 8 bytes per element; the first of `axes` may be "...".

    Raises
    ------
    TypeError
        If the width, layout or number of axes differs.
    """
    contiguous = array.flags.c_contiguous
    fits = array.ndim >= len(axes) - 1 if axes[0] == "..." else array.ndim == len(axes)
    if not (fits and contiguous and array.itemsize in ELEMENTS):
        raise TypeError(
            f"array: expected a contiguous array ({', '.join(axes)}) of 1, 2, 4 or 8 bytes per element, "
            f"got {array.dtype} {array.shape}{'' if contiguous else ' that is not contiguous'}"
        )


def _defines(itemsize: int, wide: bool) -> launch.Defines:
    return (("ELEMENT", ELEMENTS[itemsize]), ("INDEX", "long long" if wide else "int"))
