"""Check the arrays that kernels are given, and join the samples of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.gpu import launch

INTEGERS = (np.int64, np.uint64)
"""Dtypes of sample numbers; negative ones are reinterpreted as unsigned."""


def check_array(
    array: Any, name: str, dtype: npt.DTypeLike | tuple[npt.DTypeLike, ...], shape: Sequence[int | str]
) -> None:
    """Check that an array has the dtype, shape and layout that a kernel expects.

    Parameters
    ----------
    array : CuPy (or NumPy) array
    name : str
        Name of the argument in messages.
    dtype : dtype, or several
    shape : sequence of int and str
        Length of each axis; a name stands for any length.

    Raises
    ------
    TypeError
        If the dtype or number of axes differs, or the array is not contiguous.
    ValueError
        If the length of an axis differs.

    Examples
    --------
    >>> check_array(np.zeros((2, 4), np.float32), "factors", np.float32, ("N", 3))
    Traceback (most recent call last):
    ValueError: factors: expected a contiguous float32 array (N, 3), got float32 (2, 4)
    """
    dtypes = [np.dtype(one) for one in (dtype if isinstance(dtype, tuple) else (dtype,))]
    contiguous = array.flags.c_contiguous
    fits = array.dtype in dtypes and array.ndim == len(shape) and contiguous
    if fits and all(isinstance(wanted, str) or wanted == got for wanted, got in zip(shape, array.shape, strict=True)):
        return
    expected = f"{' or '.join(map(str, dtypes))} array {_text(shape)}"
    got = f"{array.dtype} {_text(array.shape)}{'' if contiguous else ' that is not contiguous'}"
    raise (ValueError if fits else TypeError)(f"{name}: expected a contiguous {expected}, got {got}")


def check_volumes(volumes: Any) -> None:
    """Check that volumes are contiguous float32 (N, C, D, H, W); see `check_array`."""
    check_array(volumes, "volumes", np.float32, ("N", "C", "D", "H", "W"))


def check_raw(raw: Any, records: Any, axes: Sequence[int | str]) -> None:
    """Check raw voxels, (B, multiple of 16) uint8, and their records, (B, *axes) int64; see `check_array`."""
    check_array(raw, "raw", np.uint8, ("B", "bytes"))
    check_array(records, "records", np.int64, (len(raw), *axes))
    if raw.shape[1] % 16:
        raise ValueError(f"raw: expected rows of a multiple of 16 bytes, got {raw.shape[1]}; pad them with zeros")


def _text(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def as_batch(samples: Sequence[Any]) -> Any:
    """Return samples of equal shape as one contiguous array.

    DALI usually stores the samples of a batch contiguously in GPU memory; then nothing is copied.

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
        raise ValueError(f"samples: expected equal shapes in a batch, got {sorted(shapes)}")
    if hasattr(first, "__cuda_array_interface__") and first.nbytes:
        start = first.data.ptr
        if all(s.data.ptr == start + i * first.nbytes and s.flags.c_contiguous for i, s in enumerate(samples)):
            return xp.ndarray((len(samples), *first.shape), first.dtype, memptr=first.data)
    return xp.stack(samples)
