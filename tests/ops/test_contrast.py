"""Test `adjust_contrast`: near the exact result, and the same bits from the kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import contrast as op
from tests.cuda_on_cpu.host import ORDERS, HostCuda, compiler
from tests.ops.test_blur import volumes
from tests.ops.test_gather import assert_same


@pytest.mark.parametrize("exponent", [0.4, 0.74, 1.35, 3.0])
def test_near_the_exact_power_within_the_range_of_each_channel(exponent: float) -> None:
    array = np.random.default_rng(0).normal(-0.3, 1.5, (1, 2, 9, 16, 21)).astype(np.float32)
    values = array.astype(np.float64)
    low, high = (end((2, 3, 4), keepdims=True) for end in (values.min, values.max))
    wanted = low + (high - low) * ((values - low) / (high - low)) ** float(np.float32(exponent))
    np.testing.assert_allclose(op.adjust_contrast_ref(array, np.float32([exponent])), wanted, atol=3e-6)


def test_ends_stay_and_an_exponent_of_1_and_constants_change_nothing() -> None:
    array = volumes((3, 2, 7, 8, 29))
    array[1, 1], array[2, 0, 0, 0, :2] = 3, [3e38, -3e38]
    got = op.adjust_contrast_ref(array, np.float32([1, 0.5, 0.5]))
    assert_same(got[[0, 1, 2], [0, 1, 0]], array[[0, 1, 2], [0, 1, 0]])
    np.testing.assert_allclose([got[1, 0].min(), got[1, 0].max()], [array[1, 0].min(), array[1, 0].max()], rtol=1e-6)
    assert (got[1, 0] != array[1, 0]).mean() > 0.9
    assert op.adjust_contrast_ref(array, np.float32([1, 0.5, 0.5]), array) is array
    assert_same(array, got)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 99)),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 1e30]),
    order=st.sampled_from(ORDERS),
)
@settings(max_examples=10, deadline=None)
def test_kernel_equals_reference(shape: tuple[int, int, int, int, int], seed: int, scale: float, order: int) -> None:
    cuda = HostCuda()
    cuda.order = order
    array, rng = volumes(shape, seed, scale), np.random.default_rng(seed)
    exponents = (2 ** rng.uniform(-2, 2, shape[0])).astype(np.float32)
    exponents[rng.random(shape[0]) < 0.2] = 1
    wanted = op.adjust_contrast_ref(array, exponents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "kernel", cuda.kernel)
        patch.setattr(op.launch, "array_module", lambda: cuda.arrays)
        assert op.adjust_contrast(array, exponents) is array
    assert_same(array, wanted)


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    array = volumes((2, 1, 3, 4, 5))
    with pytest.raises(TypeError, match="volumes: expected a contiguous"):
        op.adjust_contrast(array[0], np.ones(2, np.float32))
    with pytest.raises(TypeError, match="exponents: expected a contiguous"):
        op.adjust_contrast(array, np.ones(2))
    with pytest.raises(ValueError, match=r"exponents: .* \(2,\), got float32 \(3,\)"):
        op.adjust_contrast(array, np.ones(3, np.float32))
