"""Elementary functions with the same bits on CPU and GPU (kernels/elementary.cuh).

NumPy's, libm's and CUDA's log, exp and sin differ in their last bits. These are polynomials, evaluated by Horner's
rule, every product and every sum rounded by itself, so whoever evaluates them gets the same. The coefficients are
Chebyshev fits, rounded. Arrays are float32 but for `exp_double`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.compiled import compiled
from dali_cr.ops.cpu.memory import memory

Floats = npt.NDArray[np.float32]

_LOG2 = (1.442695, -0.72134733, 0.48089853, -0.36069655, 0.28855255, -0.23960812, 0.20485765, -0.19138838, 0.18476033,
         -0.10749789)  # fmt: skip
"""log2(1 + y) / y on [sqrt(1/2) - 1, sqrt(2) - 1], lowest power first: wrong by 8e-9 at most."""

_EXP2 = (0.6931472, 0.24022721, 0.055496022, 0.0096521955, 0.0012692166, 0.00020817915)
"""(2**y - 1) / y on [0, 1]: wrong by 1.1e-8 at most."""

_SINE = (1.5707964, -0.6459638, 0.07968992, -0.0046741436, 0.0001516717)
"""sin(pi y / 2) / y in powers of y**2 on [0, 1]: wrong by 7e-9 at most."""

_ROOT_HALF_BITS = 0x3F3504F3
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693147180369123816490, 1.90821492927058770002e-10
"""ln 2 in two parts, as in fdlibm: whole numbers below 2**20 times the first are exact."""

_EXP_TERMS = 14
_TINY, _ZERO = np.finfo(np.float32).tiny, np.float32(0)

_MINUS_ZERO = -(2**31)
"""The bits of -0, as a signed integer."""

_INFINITY = 0x7F800000
_LOOKED_AT = 1 << 17
"""Numbers at a time in `_least_bits`, so that what is made of them stays in the cache."""


@compiled
def flushed(x: np.float32) -> np.float32:
    """Return a number, 0 in place of -0 and of subnormals."""
    return _ZERO if abs(x) < _TINY else x


@compiled
def half_bits(x: np.float32) -> np.uint32:
    """Return the bits of a number as float16, to the nearest, of two equally near ones the even one."""
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


def log2(x: Floats, out: Floats | None = None) -> Floats:
    """Return the logarithm to base 2 of normal numbers above 0, within 1.5e-7 of max(1, its size)."""
    bits, y = x.view(np.int32), _floats("rest", x.shape)
    exponent = np.subtract(bits, np.int32(_ROOT_HALF_BITS), out=_whole_numbers(x.shape))
    exponent >>= np.int32(23)
    mantissa = np.left_shift(exponent, np.int32(23), out=y.view(np.int32))
    np.subtract(bits, mantissa, out=mantissa)
    y -= np.float32(1)
    out = _horner(y, _LOG2, out)
    out *= y
    np.copyto(y, exponent, casting="unsafe")
    out += y
    return out


def exp2(x: Floats, out: Floats | None = None) -> Floats:
    """Return 2**x, relatively within 2e-7; 0 below -126, inf from 128 on. `x` is used up; no NaN is taken."""
    np.clip(x, np.float32(-127), np.float32(128), out=x)
    whole = np.floor(x, out=_floats("rest", x.shape))
    x -= whole
    out = _horner(x, _EXP2, out)
    out *= x
    out += np.float32(1)
    power = _whole_numbers(x.shape)
    np.copyto(power, whole, casting="unsafe")
    power += np.int32(127)
    power <<= np.int32(23)
    out *= power.view(np.float32)
    return out


def quarter_sine(y: Floats, out: Floats | None = None) -> Floats:
    """Return sin(pi y / 2) for y in [0, 1], within 1.2e-7."""
    out = _horner(np.multiply(y, y, out=_floats("rest", y.shape)), _SINE, out)
    out *= y
    return out


def exp_double(x: Any) -> npt.NDArray[np.float64]:
    """Return e**x for float64 x from -700 to 0, relatively within 1e-15."""
    x = np.asarray(x, np.float64)
    whole = np.floor(x * _LOG2_E + 0.5)
    rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    out = np.ones_like(rest)
    for term in range(_EXP_TERMS, 0, -1):
        out = out * rest / term + 1.0
    power = (whole.astype(np.int64) + 1023) << 52
    return np.asarray(out * power.view(np.float64))


def flush(array: Floats, least: float) -> None:
    """Put 0 in place of -0 and of numbers nearer to 0 than `least`, a normal power of two; in place."""
    # Seldom is there one, and to look is cheaper than to write through a mask.
    if has_below(array, least):
        array[np.abs(array) < np.float32(least)] = 0


def has_below(array: Floats, least: float) -> bool:
    """Whether a number is nearer to 0 than `least`, a normal power of two, but not 0; -0 counts as such a number."""
    bound = int(np.float32(least).view(np.int32))
    # As signed integers, -0 and the numbers just below are least.
    below = bool(array.size) and bool(array.view(np.int32).min() < _MINUS_ZERO + bound)
    return below or any(bits < bound for bits in _least_bits(array))


def least_above(array: Floats) -> float:
    """Return the least number above 0, at most inf; 0 if there is a -0 or a number below."""
    if not array.size or array.view(np.int32).min() < 0:
        return 0.0
    return float(np.uint32(min(_INFINITY, *_least_bits(array))).view(np.float32))


def _least_bits(array: Floats) -> Iterator[int]:
    """Yield, a part after the other, the bits of the least number above 0, or more than those of any number."""
    flat = array.reshape(-1).view(np.uint32)
    for first in range(0, flat.size, _LOOKED_AT):
        some = flat[first : first + _LOOKED_AT]
        # Less 1, 0 is the greatest.
        less = np.subtract(some, np.uint32(1), out=memory.take("less", some.shape, np.uint32))
        yield int(less.min()) + 1


def _horner(y: Floats, coefficients: tuple[float, ...], out: Floats | None) -> Floats:
    """Return the polynomial's values."""
    out = np.multiply(y, np.float32(coefficients[-1]), out=np.empty_like(y) if out is None else out)
    out += np.float32(coefficients[-2])
    for coefficient in coefficients[-3::-1]:
        out *= y
        out += np.float32(coefficient)
    return out


def _floats(name: str, shape: tuple[int, ...]) -> Floats:
    array: Floats = memory.take(name, shape, np.float32)
    return array


def _whole_numbers(shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    array: npt.NDArray[np.int32] = memory.take("whole", shape, np.int32)
    return array
