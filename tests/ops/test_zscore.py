"""Test `zscore` against torch's mean and standard deviation, and the kernel bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import zscore as op
from tests.cuda_on_cpu.host import ORDERS, HostCuda, compiler
from tests.ops.test_blur import volumes
from tests.ops.test_gather import assert_same


@pytest.mark.parametrize("shape", [(2, 2, 9, 16, 20), (1, 1, 1, 1, 2), (3, 1, 1, 1, 513)], ids=str)
def test_agrees_with_torch(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(1000, 3, shape).astype(np.float32)
    tensor = torch.from_numpy(array).double()
    mean, std = tensor.mean((2, 3, 4), keepdim=True), tensor.std((2, 3, 4), keepdim=True)
    np.testing.assert_allclose(op.zscore_ref(array), ((tensor - mean) / std).numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 3e-38])
@pytest.mark.parametrize("shape", [(1, 2, 9, 16, 21), (1, 1, 1, 1, 1)], ids=str)
def test_a_constant_becomes_zeros(shape: tuple[int, ...], value: float) -> None:
    np.testing.assert_array_equal(op.zscore_ref(np.full(shape, value, np.float32)), 0)


def test_a_nan_is_not_hidden() -> None:
    array = volumes((1, 2, 3, 4, 5))
    array[0, 1, 0, 0, 0] = np.nan
    got = op.zscore_ref(array)
    assert (np.isfinite(got[0, 0]).all(), np.isnan(got[0, 1]).all()) == (True, True)


def test_volumes_do_not_meet() -> None:
    array = volumes((5, 2, 7, 8, 29))
    array[1, 1, 0, 0, 0], array[2] = np.nan, 3
    wanted = np.stack([op.zscore_ref(volume[None])[0] for volume in array])
    assert_same(op.zscore_ref(array), wanted)


def test_in_place() -> None:
    array = volumes((2, 2, 7, 8, 9))
    wanted = op.zscore_ref(array)
    assert op.zscore_ref(array, out=array) is array
    assert_same(array, wanted)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40)),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 1e30]),
    order=st.sampled_from(ORDERS),
)
@settings(max_examples=30, deadline=None)
def test_kernel_equals_reference(shape: tuple[int, int, int, int, int], seed: int, scale: float, order: int) -> None:
    cuda = HostCuda()
    cuda.order = order
    array = volumes(shape, seed, scale)
    wanted = op.zscore_ref(array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "kernel", cuda.kernel)
        assert op.zscore(array) is array
    assert_same(array, wanted)


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    for wrong in (np.zeros((2, 1, 3, 4), np.float32), np.zeros((2, 1, 3, 4, 5))):
        with pytest.raises(TypeError, match="volumes: expected a contiguous"):
            op.zscore(wrong)
