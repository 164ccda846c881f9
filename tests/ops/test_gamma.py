"""Test `gamma`: close to the exact power, with the same bits from the kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import gamma as op
from tests.cuda_on_cpu.host import ORDERS, HostCuda, compiler
from tests.ops.test_blur import volumes
from tests.ops.test_gather import assert_same

SPECIAL = np.float32([0, -0.0, np.nan, -np.nan, 3.4e38, -3.4e38, 1.1754944e-38, 1, -1])


@pytest.mark.parametrize("exponent", [0.1, 0.74, 1.0, 1.35, 3.0])
def test_near_the_exact_power(exponent: float) -> None:
    array = volumes((1, 2, 20, 30, 31))
    array[0, 0, 0] = np.random.default_rng(0).uniform(0.1, 10, array.shape[-2:])
    got = op.gamma_ref(array, np.float32([exponent])).astype(np.float64)
    power = float(np.float32(exponent))
    wanted = np.sign(array) * np.abs(array.astype(np.float64)) ** power
    with np.errstate(divide="ignore"):
        steps = np.abs(power * np.log2(np.abs(array.astype(np.float64))))
    real = np.abs(wanted) > np.finfo(np.float32).tiny
    assert (np.abs(got / np.where(real, wanted, 1) - 1)[real] <= 3e-7 + 2.5e-7 * steps[real]).all()
    np.testing.assert_array_equal(got[~real], 0)
    np.testing.assert_allclose(got[0, 0, 0], wanted[0, 0, 0], rtol=1e-6 if exponent < 2 else 3e-6)


def test_special_numbers_and_an_exponent_of_1() -> None:
    array = SPECIAL.reshape(1, 1, 1, 1, -1)
    got = op.gamma_ref(array, np.float32([0.5])).ravel()
    np.testing.assert_allclose(got, np.sign(SPECIAL) * np.sqrt(np.abs(SPECIAL)), rtol=3e-5)
    assert_same(op.gamma_ref(array, np.float32([1])), array)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(op.gamma_ref(array, np.float32([2])).ravel()[4:7], [np.inf, -np.inf, 0])


def test_in_place() -> None:
    array, exponents = volumes((2, 2, 7, 8, 9)), np.float32([0.8, 1.2])
    wanted = op.gamma_ref(array, exponents)
    assert op.gamma_ref(array, exponents, out=array) is array
    assert_same(array, wanted)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20)),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    order=st.sampled_from(ORDERS),
)
@settings(max_examples=40, deadline=None)
def test_kernel_equals_reference(shape: tuple[int, int, int, int, int], seed: int, scale: float, order: int) -> None:
    cuda = HostCuda()
    cuda.order = order
    array = volumes(shape, seed, scale)
    array.reshape(-1)[: SPECIAL.size] = SPECIAL[: array.size]
    rng = np.random.default_rng(seed)
    exponents = (2 ** rng.uniform(-2, 2, shape[0])).astype(np.float32)
    exponents[rng.random(shape[0]) < 0.2] = 1
    with np.errstate(over="ignore"):
        wanted = op.gamma_ref(array, exponents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "kernel", cuda.kernel)
        assert op.gamma(array, exponents) is array
    assert_same(array, wanted)


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    array = volumes((2, 1, 3, 4, 5))
    with pytest.raises(TypeError, match="volumes: expected a contiguous"):
        op.gamma(array[0], np.ones(2, np.float32))
    with pytest.raises(TypeError, match="exponents: expected a contiguous"):
        op.gamma(array, np.ones(2))
    with pytest.raises(ValueError, match=r"exponents: .* \(2,\), got float32 \(3,\)"):
        op.gamma(array, np.ones(3, np.float32))
