"""`erase_in_place`: fill boxes with a value, for inpainting and masking (kernels/erase.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.boxes import Swaps, place_of
from dali_cr.ops.gpu.arrays import check_array
from dali_cr.ops.gpu.elements import check_elements, kernel_for, variants_of
from dali_cr.system.compiled import compiled

_SOURCES = ("boxes.cuh", "erase.cu")
VARIANTS = variants_of("erase_patches", _SOURCES)
_THREADS = 256
_MOST_BOXES = 65535
"""Largest number of boxes, the limit of the y axis of a grid."""


def erase_in_place_ref(array: npt.NDArray[Any], swaps: Swaps, values: npt.NDArray[Any]) -> None:
    """Fill the first box of each swap on the CPU; the definition of `erase_in_place`.

    Parameters
    ----------
    array : (C, D, H, W) or (B, C, D, H, W), contiguous, of 1, 2, 4 or 8 bytes per element
    swaps : (T, 3, 3) or (B, T, 3, 3) int32
        Must be valid; not checked. The second box of each swap is ignored.
    values : (C,) or (B, C) of the array's dtype

    Raises
    ------
    TypeError
        If the array is not contiguous, or the dtypes differ.

    Examples
    --------
    >>> image = np.arange(8.0).reshape(1, 1, 1, 8)
    >>> erase_in_place_ref(image, np.array([[[0, 0, 1], [0, 0, 5], [1, 1, 3]]]), np.array([-1.0]))
    >>> image
    array([[[[ 0., -1., -1., -1.,  4.,  5.,  6.,  7.]]]])
    """
    if not array.flags.c_contiguous or values.dtype != array.dtype:
        raise TypeError(
            f"expected a contiguous array and values of its dtype, got {array.dtype} with strides {array.strides} "
            f"and {values.dtype}"
        )
    bits = f"u{array.itemsize}"
    sets = np.ascontiguousarray(swaps if swaps.ndim == 4 else swaps[None], np.int32)
    if array.size:
        erase_line(
            array.reshape(-1).view(bits), array.shape[-3:], sets, np.ascontiguousarray(values).reshape(-1).view(bits)
        )


@compiled
def erase_line(line: npt.NDArray[Any], shape: tuple[int, int, int], sets: Swaps, values: npt.NDArray[Any]) -> None:
    """Fill boxes in consecutive volumes (D, H, W), with one of the values (B * C,) per volume."""
    for number in range(values.size):
        value = values[number]
        for swap in sets[number * sets.shape[0] // values.size]:
            first = number * shape[0] * shape[1] * shape[2] + place_of(swap[0], shape)
            for z in range(swap[2, 0]):
                for y in range(swap[2, 1]):
                    begin = np.uint64(first + (z * shape[1] + y) * shape[2])
                    for x in range(np.uint64(swap[2, 2])):
                        line[begin + x] = value


def erase_in_place(array: Any, swaps: Any, values: Any) -> None:
    """Fill the first box of each swap on the GPU, in one launch; same bits as `erase_in_place_ref`.

    Parameters
    ----------
    array : (B, C, D, H, W) CuPy array, contiguous, of 1, 2, 4 or 8 bytes per element
    swaps : (B, T, 3, 3) int32 CuPy array, contiguous
        Must be valid; not checked: a box that leaves the array traps the kernel, after which the process cannot use the
        GPU.
    values : (B, C) CuPy array of the array's dtype, contiguous

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout.
    """
    check_elements(array, ("B", "C", "D", "H", "W"))
    check_array(swaps, "swaps", np.int32, (len(array), "T", 3, 3))
    check_array(values, "values", array.dtype, array.shape[:2])
    boxes = swaps.shape[1]
    if boxes > _MOST_BOXES:
        raise ValueError(f"swaps: expected at most {_MOST_BOXES} per sample, got {boxes}")
    if array.size == 0 or boxes == 0:
        return
    scalars = tuple(np.int32(n) for n in (boxes, array.shape[1], *array.shape[-3:]))
    erase = kernel_for(array, "erase_patches", _SOURCES)
    erase((math.prod(array.shape[:2]), boxes), (_THREADS,), (array, values, swaps, *scalars))
