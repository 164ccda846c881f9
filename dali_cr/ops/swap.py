"""`swap_patches`: swap pairs of disjoint patches, with an exact inverse (kernels/swap.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.boxes import Swaps, place_of
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_array
from dali_cr.ops.gpu.elements import ELEMENTS, check_elements, kernel_for, variants_of
from dali_cr.system.compiled import compiled

_SOURCES = ("boxes.cuh", "swap.cu")
VARIANTS = variants_of("swap_patches", _SOURCES)
_THREADS = 1024


def swap_patches(array: Any, swaps: Any) -> Any:
    """Swap pairs of patches, one pair after the other.

    Parameters
    ----------
    array : (..., D, H, W) NumPy, CuPy or torch array of a real dtype
        Unchanged.
    swaps : (T, 3, 3) or (B, T, 3, 3) int
        Origins of both patches and their size for each swap, each (D, H, W). With a batch axis, one set for each entry
        of the first axis of `array`, otherwise one set for all.

    Returns
    -------
    swapped : array of the same kind, shape and dtype
        A permutation of the input's voxels.

    Raises
    ------
    TypeError
        If `array` has an unsupported type or dtype.
    ValueError
        If a patch leaves the array, or the patches of a swap overlap.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(8).reshape(1, 1, 8)
    >>> swap_patches(image, [[[0, 0, 0], [0, 0, 5], [1, 1, 3]]])
    array([[[5, 6, 7, 3, 4, 0, 1, 2]]])
    """
    return _apply(array, swaps, inverse=False)


def unswap_patches(array: Any, swaps: Any) -> Any:
    """Undo `swap_patches` by applying the same swaps in reverse order.

    Parameters
    ----------
    array : (..., D, H, W) NumPy, CuPy or torch array of a real dtype
    swaps : (T, 3, 3) or (B, T, 3, 3) int

    Returns
    -------
    restored : array of the same kind, shape and dtype

    Raises
    ------
    TypeError, ValueError
        See `swap_patches`.

    Examples
    --------
    >>> import numpy as np
    >>> image, swaps = np.arange(8).reshape(1, 1, 8), [[[0, 0, 0], [0, 0, 5], [1, 1, 3]]]
    >>> np.array_equal(unswap_patches(swap_patches(image, swaps), swaps), image)
    True
    """
    return _apply(array, swaps, inverse=True)


def _apply(array: Any, swaps: Any, *, inverse: bool) -> Any:
    """Check the arguments and dispatch by the type of array."""
    kind = type(array).__module__.partition(".")[0]
    numbers = np.asarray(swaps.get() if type(swaps).__module__.startswith("cupy") else swaps)
    if kind == "torch":
        return _apply_torch(array, numbers, inverse)
    if kind not in ("numpy", "cupy"):
        raise TypeError(f"array: expected a NumPy, CuPy or torch array, got {type(array).__name__}")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize not in ELEMENTS:
        raise TypeError(f"array: expected a real dtype of 1, 2, 4 or 8 bytes, got {array.dtype}")
    checked = check_swaps(numbers, array.shape)[..., ::-1, :, :] if inverse else check_swaps(numbers, array.shape)
    if kind == "numpy":
        out = np.array(array, order="C")
        swap_in_place_ref(out, checked)
        return out
    out = array.copy(order="C")
    swap_in_place(out, launch.array_module().asarray(np.ascontiguousarray(checked)))
    return out


def _apply_torch(array: Any, swaps: npt.NDArray[Any], inverse: bool) -> Any:
    """Swap the bits of a torch tensor on its device and current stream."""
    import torch
    import torch.utils.dlpack

    width = array.element_size()
    if array.is_complex() or array.is_quantized or width not in ELEMENTS:
        raise TypeError(f"array: expected a real dtype of 1, 2, 4 or 8 bytes, got {array.dtype}")
    if array.requires_grad:
        raise ValueError("array: expected a tensor without gradients, got one that requires them; pass array.detach()")
    bits = array.contiguous().view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[width])
    if array.device.type == "cpu":
        return torch.from_numpy(_apply(bits.numpy(), swaps, inverse=inverse)).view(array.dtype)
    if array.device.type != "cuda":
        raise TypeError(f"array: expected a tensor on the CPU or a CUDA device, got {array.device}")
    cupy = launch.array_module()
    stream = torch.cuda.current_stream(array.device).cuda_stream
    with cupy.cuda.Device(array.device.index), cupy.cuda.ExternalStream(stream):
        swapped = _apply(cupy.from_dlpack(bits), swaps, inverse=inverse)
        return torch.utils.dlpack.from_dlpack(swapped).view(array.dtype)


def check_swaps(swaps: npt.NDArray[Any], shape: tuple[int, ...]) -> Swaps:
    """Check that boxes lie in an array of `shape` and pairs are disjoint; return the swaps as int32.

    Raises
    ------
    TypeError, ValueError
        If a swap is invalid; the message names the first one.
    """
    if len(shape) < 3:
        raise ValueError(f"array: expected (..., D, H, W), got {len(shape)} axes")
    batched = swaps.ndim == 4
    if swaps.ndim not in (3, 4) or swaps.shape[-2:] != (3, 3) or (batched and swaps.shape[0] != shape[0]):
        raise ValueError(f"swaps: expected (T, 3, 3), or (B, T, 3, 3) with B = {shape[0]}, got {swaps.shape}")
    if batched and len(shape) < 4:
        raise ValueError(f"swaps: expected no batch axis for an array of {shape}, got {swaps.shape}")
    if swaps.dtype.kind not in "iu" and swaps.size:
        raise TypeError(f"swaps: expected integers, got {swaps.dtype}")
    numbers = swaps.astype(np.int64)
    a, b, size = np.moveaxis(numbers, -2, 0)
    leaves = ((np.minimum(a, b) < 0) | (size < 1) | (np.maximum(a, b) + size > np.array(shape[-3:]))).any(-1)
    overlaps = (np.abs(a - b) < size).all(-1)
    for wrong, what in ((leaves, "leaves the array"), (overlaps, "overlaps its partner")):
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"swaps: swap {place} {numbers[place].tolist()} {what} {tuple(shape[-3:])}")
    return numbers.astype(np.int32)


def swap_in_place_ref(array: npt.NDArray[Any], swaps: Swaps) -> None:
    """Swap in place on the CPU, one pair after the other; the definition of `swap_in_place`.

    Parameters
    ----------
    array : (..., D, H, W), contiguous, of 1, 2, 4 or 8 bytes per element
    swaps : (T, 3, 3) or (B, T, 3, 3) int32
        Must be valid; not checked.

    Raises
    ------
    TypeError
        If the array is not contiguous.
    """
    if not array.flags.c_contiguous:
        raise TypeError(f"array: expected a contiguous array, got strides {array.strides} for {array.shape}")
    sets = np.ascontiguousarray(swaps if swaps.ndim == 4 else swaps[None])
    if array.size and sets.size:
        swap_line(array.reshape(-1).view(f"u{array.itemsize}"), array.shape[-3:], sets)


@compiled
def swap_line(line: npt.NDArray[Any], shape: tuple[int, int, int], sets: Swaps) -> None:
    """Swap in consecutive volumes (D, H, W) by (B, T, 3, 3); each set is for the same number of volumes."""
    voxels = shape[0] * shape[1] * shape[2]
    for number in range(line.size // voxels):
        sample = number * sets.shape[0] // (line.size // voxels)
        for turn in range(sets.shape[1]):
            swap = sets[sample, turn]
            first, second = number * voxels + place_of(swap[0], shape), number * voxels + place_of(swap[1], shape)
            for z in range(swap[2, 0]):
                for y in range(swap[2, 1]):
                    row = (z * shape[1] + y) * shape[2]
                    # Unsigned indices, because Numba checks signed ones for negative values.
                    a, b = np.uint64(first + row), np.uint64(second + row)
                    for x in range(np.uint64(swap[2, 2])):
                        line[a + x], line[b + x] = line[b + x], line[a + x]


def swap_in_place(array: Any, swaps: Any) -> None:
    """Swap in place on the GPU, in one launch for the whole batch; same bits as `swap_in_place_ref`.

    Parameters
    ----------
    array : (..., D, H, W) CuPy array, contiguous, of 1, 2, 4 or 8 bytes per element
    swaps : (T, 3, 3) or (B, T, 3, 3) int32 CuPy array, contiguous
        Must be valid; not checked: a box that leaves the array traps the kernel, after which the process cannot use the
        GPU.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout.
    """
    one_set = ("T", 3, 3)
    check_elements(array, ("...", "D", "H", "W"))
    check_array(swaps, "swaps", np.int32, one_set if swaps.ndim == 3 or array.ndim == 3 else (len(array), *one_set))
    count, iterations = math.prod(array.shape[:-3]), swaps.shape[-3]
    if array.size == 0 or iterations == 0:
        return
    per_set = count // len(swaps) if swaps.ndim == 4 else count
    scalars = tuple(np.int32(n) for n in (iterations, per_set, *array.shape[-3:]))
    kernel_for(array, "swap_patches", _SOURCES)((count,), (_THREADS,), (array, swaps, *scalars))
