"""Test `draw_blocks`: kernel and reference draw the same masked blocks."""

import numpy as np
import pytest

from dali_cr.ops.draw import blocks as op
from tests.cuda_on_cpu.host import ORDERS, HostCuda
from tests.ops.test_draw_swaps import NUMBERS

BLOCKS: list[tuple[tuple[int, int, int], tuple[int, int, int], int]] = [
    ((160, 160, 160), (16, 16, 16), 750),
    ((1, 70, 33), (1, 16, 16), 9),
    ((5, 33, 40), (1, 3, 1), 2100),
]
"""Crops, edges of blocks and numbers of masked blocks."""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shape", "block", "masked"), BLOCKS, ids=str)
def test_kernel_equals_reference(
    cuda_on_cpu: HostCuda, shape: tuple[int, int, int], block: tuple[int, int, int], masked: int, order: int
) -> None:
    cuda_on_cpu.order = order
    for seed in (0, 2**64 - 1):
        out = cuda_on_cpu.arrays.empty((3, masked, 3, 3), np.int32)
        expected = np.empty_like(out)
        op.draw_blocks_on_gpu(seed, NUMBERS[-3:], shape, block, out)
        op.draw_blocks_ref(seed, NUMBERS[-3:], shape, block, expected)
        np.testing.assert_array_equal(out, expected)


def test_no_block_and_no_sample(cuda_on_cpu: HostCuda) -> None:
    for samples, masked in ((2, 0), (0, 3)):
        out = np.empty((samples, masked, 3, 3), np.int32)
        op.draw_blocks_on_gpu(0, np.zeros(samples, np.int64), (4, 4, 4), (1, 2, 2), out)


def test_wrapper_refuses(cuda_on_cpu: HostCuda) -> None:
    with pytest.raises(ValueError, match="out: expected"):
        op.draw_blocks_on_gpu(0, np.zeros(2, np.int64), (4, 4, 4), (2, 2, 2), np.empty((1, 5, 3, 3), np.int32))
