"""`gamma`: voxels to a power, their signs kept (kernels/gamma.cu)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.cpu.memory import memory
from dali_cr.ops.elementary import exp2, log2

Floats = npt.NDArray[np.float32]

_SOURCES = ("elementary.cuh", "gamma.cu")
VARIANTS: tuple[launch.Variant, ...] = (("gamma_power", _SOURCES, ()),)
_THREADS = 256

_CACHED_VOXELS = 1 << 16
"""At a time on the CPU: few enough for its cache, enough that threads seldom wait for the interpreter's lock."""


def gamma_ref(volumes: Floats, exponents: Floats, out: Floats | None = None) -> Floats:
    """Raise voxels to a power in NumPy, ``sign(x) * |x| ** exponent``; the definition of `gamma`.

    It is computed as ``2 ** (exponent * log2(|x|))`` in float32 and agrees with the exact power to a relative
    ``3e-7 + 2.5e-7 * |exponent * log2(|x|)|``: 1e-6 for numbers between 0.1 and 10. Zeros stay, NaN stays NaN,
    infinities count as 2**128.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals.
    exponents : (N,) float32
        Above 0, one a volume; exactly 1 leaves a volume as it is.
    out : as `volumes`, contiguous, optional
        Gets the result; may be `volumes`.

    Returns
    -------
    powers : as `volumes`

    References
    ----------
    TorchIO's ``RandomGamma``: Pérez-García, Sparks, Ourselin: TorchIO. Comput. Methods Programs Biomed. 208, 2021.

    Examples
    --------
    >>> gamma_ref(np.float32([0, 4, -4]).reshape(1, 1, 1, 1, 3), np.float32([0.5])).ravel()
    array([ 0.,  2., -2.], dtype=float32)
    """
    out = np.empty_like(volumes) if out is None else out
    if volumes.size == 0:
        return out
    source, target = volumes.reshape(len(volumes), -1), out.reshape(len(volumes), -1)
    together = max(1, _CACHED_VOXELS // source.shape[1])  # small volumes, so that each step has enough to do
    for first, left in itertools.product(range(0, len(volumes), together), range(0, source.shape[1], _CACHED_VOXELS)):
        some = slice(first, first + together), slice(left, left + _CACHED_VOXELS)
        _raise(source[some], exponents[some[0]], target[some])
    return out


def _raise(x: Floats, exponents: Floats, target: Floats) -> None:
    """Put a few (volumes, voxels) to their powers into `target`."""
    same = exponents == 1
    if same.all():
        target[...] = x
        return
    size, powers = (memory.take(name, x.shape, np.float32) for name in ("size", "powers"))
    log2(np.abs(x, out=size), out=powers)
    powers *= exponents[:, None]
    exp2(powers, out=size)
    size *= np.sign(x, out=powers)
    size[same] = x[same]
    target[...] = size


def gamma(volumes: Any, exponents: Any) -> Any:
    """Raise voxels to a power on the GPU, in place; the bits are those of `gamma_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Gets the result.
    exponents : (N,) float32 CuPy array, contiguous

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout.
    """
    launch.check_array(volumes, "volumes", np.float32, 5)
    launch.check_array(exponents, "exponents", np.float32, 1)
    if len(exponents) != len(volumes):
        raise ValueError(f"exponents: wanted one for each of {len(volumes)} volumes, got {len(exponents)}")
    if volumes.size:
        voxels = math.prod(volumes.shape[1:])
        grid = (min(-(-voxels // _THREADS), 65535), len(volumes))
        launch.kernel("gamma_power", *_SOURCES)(grid, (_THREADS,), (volumes, exponents, np.int64(voxels)))
    return volumes
