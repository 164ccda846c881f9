"""Test `standardize` against NumPy, and the kernel bit for bit."""

import numpy as np
import pytest

from dali_cr.ops import standardize as op
from tests.cuda_on_cpu.host import ORDERS, HostCuda
from tests.ops.test_blur import volumes
from tests.ops.test_gather import assert_same


def test_subtracts_and_divides_on_both_devices(cuda_on_cpu: HostCuda) -> None:
    array = volumes((2, 2, 7, 8, 9))
    wanted = op.standardize_ref(array, 0.449, 0.226)
    np.testing.assert_allclose(wanted, (array.astype(float) - 0.449) / 0.226, rtol=1e-7, atol=1e-7)
    for order in ORDERS:
        cuda_on_cpu.order, there = order, array.copy()
        assert op.standardize(there, 0.449, 0.226) is there
        assert_same(there, wanted)
    assert op.standardize_ref(array, 0.449, 0.226, array) is array
    assert_same(array, wanted)


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    for wrong in (np.zeros((2, 1, 3, 4), np.float32), np.zeros((2, 1, 3, 4, 5))):
        with pytest.raises(TypeError, match="volumes: expected a contiguous"):
            op.standardize(wrong, 0, 1)
