"""From DALI's list of samples to one array and back, for functions that run on a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dali_cr.ops import launch


def as_batch(samples: Sequence[Any]) -> Any:
    """Return samples of one shape as one contiguous array.

    DALI lays the samples of a batch back to back in GPU memory; where it did, nothing is copied.

    Parameters
    ----------
    samples : list of B CuPy (or NumPy) arrays of one shape and dtype

    Returns
    -------
    batch : (B, ...) array

    Raises
    ------
    ValueError
        If the samples differ in shape.
    """
    first, xp = samples[0], launch.array_module()
    shapes = {sample.shape for sample in samples}
    if len(shapes) != 1:
        raise ValueError(f"wanted samples of one shape in a batch, got {sorted(shapes)}")
    if hasattr(first, "__cuda_array_interface__") and first.nbytes:
        start = first.data.ptr
        if all(s.data.ptr == start + i * first.nbytes and s.flags.c_contiguous for i, s in enumerate(samples)):
            return xp.ndarray((len(samples), *first.shape), first.dtype, memptr=first.data)
    return xp.stack(samples)
