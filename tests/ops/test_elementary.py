"""Test elementary functions: close to exact values, with the same bits in the kernels."""

from typing import Any

import numpy as np
import pytest

from dali_cr.ops.cpu import elementary as op
from tests.cuda_on_cpu.host import compiler, host_kernel_from_text
from tests.ops.test_gather import assert_same

SOURCES = ("elementary.cuh",)


def on_device(function: str, x: np.ndarray, kind: str = "float") -> np.ndarray:
    """Return the values of a function of `elementary.cuh`."""
    if compiler() is None:
        pytest.skip("needs a C++ compiler")
    from dali_cr.ops.gpu.launch import cuda_source

    text = (
        cuda_source(*SOURCES)
        + f"""
    extern "C" __global__ void each({kind}* out, const {kind}* in, int count) {{
      const int i = blockIdx.x * blockDim.x + threadIdx.x;
      if (i < count) out[i] = {function}(in[i]);
    }}"""
    )
    out = np.empty_like(x)
    host_kernel_from_text("each", text)((-(-x.size // 256),), (256,), (out, x, np.int32(x.size)))
    return out


def each(function: Any, x: np.ndarray) -> np.ndarray:
    """Return the values of a function."""
    return np.array([function(one) for one in x], x.dtype)


def test_log2() -> None:
    rng = np.random.default_rng(0)
    x = np.exp2(rng.uniform(-126, 128, 20000)).astype(np.float32)
    x = np.concatenate([x, 1 + np.float32(2.0**-23) * np.arange(-999, 999, dtype=np.float32), [1.1754944e-38]])
    x = x.astype(np.float32)
    got, wanted = each(op.log2, x), np.log2(x.astype(np.float64))
    assert (np.abs(got - wanted) <= 1.5e-7 * np.maximum(1, np.abs(wanted))).all()
    near = np.abs(x - 1) < 0.2
    np.testing.assert_allclose(got[near], wanted[near], rtol=4e-7)
    assert_same(on_device("log2_of", x), got)


def test_exp2() -> None:
    x = np.append(np.random.default_rng(0).uniform(-126, 128, 20000), [-126, -0.0, 0, 1, 127.99999]).astype(np.float32)
    got, wanted = each(op.exp2, x), np.exp2(x.astype(np.float64))
    np.testing.assert_allclose(got, wanted, rtol=2e-7)
    assert_same(on_device("exp2_of", x), got)
    beyond = np.float32([-1e30, -np.inf, -126.00001, 128, 200, np.inf])
    assert_same(each(op.exp2, beyond), np.float32([0, 0, 0, np.inf, np.inf, np.inf]))
    assert_same(on_device("exp2_of", beyond), np.float32([0, 0, 0, np.inf, np.inf, np.inf]))


def test_quarter_sine() -> None:
    y = np.linspace(0, 1, 20001, dtype=np.float32)
    got = each(op.quarter_sine, y)
    np.testing.assert_allclose(got, np.sin(np.pi / 2 * y.astype(np.float64)), atol=1.2e-7)
    assert (got.min(), got[-1] <= 1.0000001) == (0, True)
    assert_same(on_device("quarter_sine", y), got)


def test_exp_double() -> None:
    x = np.append(np.random.default_rng(0).uniform(-700, 0, 20000), [0, -32.0, -1e-300])
    got = each(op.exp_double, x)
    np.testing.assert_allclose(got, np.exp(x), rtol=1e-15)
    assert_same(on_device("exp_double", x, "double"), got)


@pytest.mark.parametrize("name", ["_LOG2", "_EXP2", "_SINE"])
def test_coefficients_are_float32(name: str) -> None:
    """Check that coefficients have the fewest digits that define the float32, so that both sources match."""
    coefficients: Any = getattr(op, name)
    assert [float(str(np.float32(c))) for c in coefficients] == list(coefficients)


def test_half_bits() -> None:
    """Compare with NumPy's conversion for every exponent, including cases that decide rounding."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20000, np.uint32) & rng.choice(np.uint32([0xFFFFFFFF, 0xFFFFE000, 0xFFFFF000]), 20000)
    x = np.append(bits.view(np.float32), np.float32([0, -0.0, 65519.996, 65520, 6e-8, 2.9802322e-8, 2.98023259e-8]))
    with np.errstate(over="ignore"):
        wanted = x.astype(np.float16)
    assert_same(np.array([op.half_bits(one) for one in x], np.uint16).view(np.float16), wanted)


def test_flushed() -> None:
    tiny = np.finfo(np.float32).tiny
    for x, wanted in ((tiny, tiny), (-tiny, -tiny), (tiny / 2, 0), (-tiny / 2, 0), (-0.0, 0), (np.inf, np.inf)):
        assert_same(np.float32([op.flushed(np.float32(x))]), np.float32([wanted]))
    assert np.isnan(op.flushed(np.float32(np.nan)))
