"""Elementary functions with the same bits on CPU and GPU (kernels/elementary.cuh).

log, exp and sin of NumPy, libm and CUDA differ in their last bits. These functions are polynomials evaluated by
Horner's rule, with every product and sum rounded separately, so that all devices give the same bits. The coefficients
are rounded Chebyshev fits. All functions are float32 except `exp_double`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dali_cr.system.compiled import compiled

_LOG2 = (1.442695, -0.72134733, 0.48089853, -0.36069655, 0.28855255, -0.23960812, 0.20485765, -0.19138838, 0.18476033,
         -0.10749789)  # fmt: skip
"""log2(1 + y) / y on [sqrt(1/2) - 1, sqrt(2) - 1], lowest power first; maximum error 8e-9."""

_EXP2 = (0.6931472, 0.24022721, 0.055496022, 0.0096521955, 0.0012692166, 0.00020817915)
"""(2**y - 1) / y on [0, 1]; maximum error 1.1e-8."""

_SINE = (1.5707964, -0.6459638, 0.07968992, -0.0046741436, 0.0001516717)
"""sin(pi y / 2) / y in powers of y**2 on [0, 1]; maximum error 7e-9."""

_ROOT_HALF_BITS = 0x3F3504F3
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693147180369123816490, 1.90821492927058770002e-10
"""ln 2 in two parts, as in fdlibm: products of the first part with integers below 2**20 are exact."""

_EXP_TERMS = 14
_TINY, _ZERO, _ONE = np.finfo(np.float32).tiny, np.float32(0), np.float32(1)
_LEAST_POWER, _MOST_POWER = np.float32(-127), np.float32(128)
_LOG2_TERMS, _EXP2_TERMS, _SINE_TERMS = (tuple(map(np.float32, terms[::-1])) for terms in (_LOG2, _EXP2, _SINE))


@compiled
def flushed(x: np.float32) -> np.float32:
    """Return a number, with -0 and subnormals replaced by 0."""
    return _ZERO if abs(x) < _TINY else x


@compiled
def half_bits(x: np.float32) -> np.uint32:
    """Return the bits of a number as float16, rounded to nearest even."""
    bits = np.uint32(np.float32(x).view(np.uint32))
    sign, magnitude = bits >> 16 & 0x8000, bits & 0x7FFFFFFF
    if magnitude > 0x7F800000:
        return np.uint32(sign | 0x7E00)
    if magnitude >= 0x477FF000:
        return np.uint32(sign | 0x7C00)
    if magnitude < 0x33000000:
        return np.uint32(sign)
    subnormal = magnitude < 0x38800000
    shift = 126 - (magnitude >> 23) if subnormal else 13
    significand = (magnitude & 0x7FFFFF) | 0x800000 if subnormal else magnitude - 0x38000000
    half, rest, middle = significand >> shift, significand & ((1 << shift) - 1), 1 << (shift - 1)
    return np.uint32(sign | (half + (rest > middle or (rest == middle and (half & 1) == 1))))


@compiled
def horner(y: np.float32, terms: tuple[np.float32, ...]) -> np.float32:
    """Evaluate a polynomial; the highest power comes first."""
    found = terms[0]
    for term in terms[1:]:
        found = found * y + term
    return found


@compiled
def log2(x: np.float32) -> np.float32:
    """Return the base-2 logarithm of a positive normal number, with an error below 1.5e-7 * max(1, |result|)."""
    bits = np.float32(x).view(np.int32)
    exponent = np.int32(np.int32(bits - _ROOT_HALF_BITS) >> 23)
    y = np.int32(bits - (exponent << 23)).view(np.float32) - _ONE
    return horner(y, _LOG2_TERMS) * y + np.float32(exponent)


@compiled
def exp2(x: np.float32) -> Any:
    """Return 2**x with a relative error below 2e-7; 0 below -126, inf from 128. NaN is not supported."""
    x = _LEAST_POWER if x < _LEAST_POWER else x
    x = _MOST_POWER if x > _MOST_POWER else x
    whole = np.floor(x)
    y = x - whole
    power = np.int32((np.int32(whole) + 127) << 23)
    return (horner(y, _EXP2_TERMS) * y + _ONE) * np.int32(power).view(np.float32)


@compiled
def quarter_sine(y: np.float32) -> np.float32:
    """Return sin(pi y / 2) for y in [0, 1], with an error below 1.2e-7."""
    return horner(y * y, _SINE_TERMS) * y


@compiled
def exp_double(x: float) -> float:
    """Return e**x for float64 x from -700 to 0, with a relative error below 1e-15."""
    whole = np.floor(x * _LOG2_E + 0.5)
    rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    found = 1.0
    for term in range(_EXP_TERMS, 0, -1):
        found = found * rest / term + 1.0
    return found * np.int64((np.int64(whole) + 1023) << 52).view(np.float64)
