"""Test `draw_disjoint`: kernel and reference draw the same boxes, which do not overlap."""

import numpy as np
import pytest

from dali_cr.ops.draw import disjoint as op
from dali_cr.ops.draw.boxes import Edges
from tests.cuda_on_cpu.host import ORDERS, HostCuda
from tests.ops.test_draw_swaps import NUMBERS

APART: list[tuple[tuple[int, int, int], Edges, int]] = [
    ((64, 64, 64), ((4, 16),) * 3, 32),
    ((130, 128, 131), ((15, 15),) * 3, 150),
    ((1, 512, 500), ((1, 1), (3, 20), (3, 9)), 600),
    ((1, 1, 9), ((1, 1), (1, 1), (2, 4)), 1),
    ((2000, 3000, 4000), ((1, 999), (1, 3), (1, 2000)), 40),
]
"""Crops, edges and numbers of swaps, below and above the number of threads in a block."""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shape", "edges", "iterations"), APART, ids=str)
def test_kernel_equals_reference(
    cuda_on_cpu: HostCuda, shape: tuple[int, int, int], edges: Edges, iterations: int, order: int
) -> None:
    cuda_on_cpu.order = order
    for seed, groups in ((0, 1), (2**64 - 1, 3)):
        out = cuda_on_cpu.arrays.empty((len(NUMBERS), groups, iterations, 3, 3), np.int32)
        expected = np.empty_like(out)
        op.draw_disjoint_on_gpu(seed, NUMBERS, shape, edges, out)
        op.draw_disjoint_ref(seed, NUMBERS, shape, edges, expected)
        np.testing.assert_array_equal(out, expected)


def test_more_swaps_than_threads(cuda_on_cpu: HostCuda) -> None:
    out = cuda_on_cpu.arrays.empty((1, 1, 1100, 3, 3), np.int32)
    expected, edges = np.empty_like(out), ((1, 1), (1, 2), (1, 2))
    op.draw_disjoint_on_gpu(5, NUMBERS[:1], (8, 33, 40), edges, out)
    op.draw_disjoint_ref(5, NUMBERS[:1], (8, 33, 40), edges, expected)
    np.testing.assert_array_equal(out, expected)


def test_no_swap_and_no_sample(cuda_on_cpu: HostCuda) -> None:
    for samples, turns in ((2, 0), (0, 3)):
        out = np.empty((samples, 1, turns, 3, 3), np.int32)
        op.draw_disjoint_on_gpu(0, np.zeros(samples, np.int64), (4, 4, 4), ((1, 2),) * 3, out)


def test_wrapper_refuses(cuda_on_cpu: HostCuda) -> None:
    numbers, edges = np.zeros(2, np.int64), ((1, 2),) * 3
    for shape in ((3, 1, 5, 3, 3), (2, 1, 5, 3, 2)):
        with pytest.raises(ValueError, match="out: expected"):
            op.draw_disjoint_on_gpu(0, numbers, (4, 4, 4), edges, np.empty(shape, np.int32))
    with pytest.raises(TypeError, match="out: expected"):
        op.draw_disjoint_on_gpu(0, numbers, (4, 4, 4), edges, np.empty((2, 5, 3, 3), np.int32))
