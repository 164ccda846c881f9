"""`gamma`: raise voxels to a power, keeping their signs (kernels/gamma.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.elementary import exp2, log2
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_array, check_volumes
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_SOURCES = ("elementary.cuh", "gamma.cu")
VARIANTS: tuple[launch.Variant, ...] = (("gamma_power", _SOURCES, ()),)
_THREADS = 256

_ZERO, _ONE = np.float32(0), np.float32(1)


def gamma_ref(volumes: Floats, exponents: Floats, out: Floats | None = None) -> Floats:
    """Raise voxels to a power on the CPU, ``sign(x) * |x| ** exponent``; the definition of `gamma`.

    Computed as ``2 ** (exponent * log2(|x|))`` in float32, with a relative error of at most ``3e-7 + 2.5e-7 * |exponent
    * log2(|x|)|``, which is 1e-6 for numbers between 0.1 and 10. Zeros stay 0, NaN stays NaN, infinities count as
    2**128.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals.
    exponents : (N,) float32
        Exponents above 0, one per volume; exactly 1 leaves a volume unchanged.
    out : as `volumes`, contiguous, optional
        Output array; may be `volumes`.

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
    if volumes.size:
        _raise(volumes.reshape(len(volumes), -1), np.ascontiguousarray(exponents), out.reshape(len(volumes), -1))
    return out


@compiled
def _raise(volumes: Floats, exponents: Floats, out: Floats) -> None:
    """Write the powers of (volumes, voxels) to `out`."""
    for number in range(volumes.shape[0]):
        source, target, exponent = volumes[number], out[number], exponents[number]
        for i in range(source.size):
            x = source[i]
            power = exp2(log2(abs(x)) * exponent)
            raised = power if x > _ZERO else -power
            raised = _ZERO if x == _ZERO else raised
            target[i] = x if exponent == _ONE or x != x else raised


def gamma(volumes: Any, exponents: Any) -> Any:
    """Raise voxels to a power on the GPU, in place; same bits as `gamma_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Changed in place.
    exponents : (N,) float32 CuPy array, contiguous

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout.
    """
    check_volumes(volumes)
    check_array(exponents, "exponents", np.float32, (len(volumes),))
    if volumes.size:
        voxels = math.prod(volumes.shape[1:])
        grid = (min(-(-voxels // _THREADS), 65535), len(volumes))
        launch.kernel("gamma_power", *_SOURCES)(grid, (_THREADS,), (volumes, exponents, np.int64(voxels)))
    return volumes
