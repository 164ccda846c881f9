"""Test sums in a fixed order."""

import numpy as np

from dali_cr.ops.cpu import lanes as op
from tests.ops.test_blur import volumes


def test_the_order_of_the_sum() -> None:
    """Compare with sums per lane in plain Python; numbers of many magnitudes reveal the order."""
    array = volumes((1, 1, 5, 17, 61))
    sums = [0.0] * op.LANES
    for i, value in enumerate(array.ravel().tolist()):
        sums[i % op.LANES] += value
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [a + b for a, b in zip(sums[:half], sums[half:], strict=True)]
    assert float(op.sum_of(array.ravel(), 0.0, False, np.empty(op.LANES))) == sums[0]
    assert sums[0] != float(array.ravel().astype(np.float64).cumsum()[-1])
