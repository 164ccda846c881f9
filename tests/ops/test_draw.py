"""Test that kernel and CPU draw the same swaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import draw as op
from dali_cr.ops.draw import Edges
from tests.cuda_on_cpu.host import ORDERS, HostCuda

NUMBERS = np.array([0, 1, 7, 2**32 - 1, 2**32, 2**40 + 3, 2**63 - 1, -1])
"""Sample numbers; -1 is a placeholder."""

SIZES: list[tuple[tuple[int, int, int], Edges]] = [
    ((64, 64, 64), ((4, 16),) * 3),
    ((128, 128, 128), ((15, 15),) * 3),
    ((1, 512, 512), ((1, 1), (256, 256), (512, 512))),
    ((32, 32, 32), ((16, 16),) * 3),
    ((1, 1, 9), ((1, 1), (1, 1), (2, 4))),
    ((9, 8, 31), ((1, 9), (1, 8), (1, 15))),
    ((2000, 3000, 4000), ((1, 999), (1, 3), (1, 2000))),
]


def drawn(
    cuda: HostCuda, seed: int, numbers: np.ndarray, shape: tuple[int, int, int], edges: Edges, turns: int
) -> None:
    """Draw with the kernel and with the reference, and compare."""
    out = cuda.arrays.empty((len(numbers), turns, 3, 3), np.int32)
    expected = np.empty_like(out)
    op.draw_swaps_on_gpu(seed, numbers, shape, edges, out)
    op.draw_swaps_ref(seed, numbers, shape, edges, expected)
    np.testing.assert_array_equal(out, expected)
    a, b, size = np.moveaxis(expected, -2, 0)
    assert (np.minimum(a, b) >= 0).all()
    assert (np.maximum(a, b) + size <= shape).all()
    assert (np.abs(a - b) >= size).any(-1).all()


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize(("shape", "edges"), SIZES, ids=str)
def test_kernel_equals_reference(cuda_on_cpu: HostCuda, shape: tuple[int, int, int], edges: Edges, dtype: type) -> None:
    for seed in (0, 2**63 + 5, 2**64 - 1):
        drawn(cuda_on_cpu, seed, NUMBERS.astype(dtype), shape, edges, 150)


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    edges=st.tuples(*[st.tuples(st.integers(1, 40), st.integers(0, 20))] * 3),
    number=st.integers(-1, 2**63 - 1),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=100, deadline=None)
def test_any_box(shape: tuple[int, int, int], edges: tuple[tuple[int, int], ...], number: int, seed: int) -> None:
    high = [min(low + more, n) for (low, more), n in zip(edges, shape, strict=True)]
    if not any(2 * h <= n for h, n in zip(high, shape, strict=True)):
        high[int(np.argmax(shape))] = max(max(shape) // 2, 1)
    if max(shape) < 2:
        shape = (shape[0], shape[1], 2)
    pairs = tuple((min(low, h), h) for (low, _), h in zip(edges, high, strict=True))
    cuda = HostCuda()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "kernel", cuda.kernel)
        drawn(cuda, seed, np.array([number]), shape, pairs, 40)  # type: ignore[arg-type]


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
def test_disjoint_kernel_equals_reference(
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


BLOCKS: list[tuple[tuple[int, int, int], tuple[int, int, int], int]] = [
    ((160, 160, 160), (16, 16, 16), 750),
    ((1, 70, 33), (1, 16, 16), 9),
    ((5, 33, 40), (1, 3, 1), 2100),
]
"""Crops, edges of blocks and numbers of masked blocks."""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shape", "block", "masked"), BLOCKS, ids=str)
def test_blocks_of_the_kernel_equal_the_reference(
    cuda_on_cpu: HostCuda, shape: tuple[int, int, int], block: tuple[int, int, int], masked: int, order: int
) -> None:
    cuda_on_cpu.order = order
    for seed in (0, 2**64 - 1):
        out = cuda_on_cpu.arrays.empty((3, masked, 3, 3), np.int32)
        expected = np.empty_like(out)
        op.draw_blocks_on_gpu(seed, NUMBERS[-3:], shape, block, out)
        op.draw_blocks_ref(seed, NUMBERS[-3:], shape, block, expected)
        np.testing.assert_array_equal(out, expected)


def test_no_swap_and_no_sample(cuda_on_cpu: HostCuda) -> None:
    for samples, turns in ((2, 0), (0, 3)):
        out = np.empty((samples, turns, 3, 3), np.int32)
        op.draw_swaps_on_gpu(0, np.zeros(samples, np.int64), (4, 4, 4), ((1, 2),) * 3, out)
        op.draw_disjoint_on_gpu(0, np.zeros(samples, np.int64), (4, 4, 4), ((1, 2),) * 3, out[:, None])
        op.draw_blocks_on_gpu(0, np.zeros(samples, np.int64), (4, 4, 4), (1, 2, 2), out)


def test_wrapper_refuses(cuda_on_cpu: HostCuda) -> None:
    numbers, out, edges = np.zeros(2, np.int64), np.empty((2, 5, 3, 3), np.int32), ((1, 2),) * 3
    with pytest.raises(ValueError, match="seed: expected"):
        op.draw_swaps_on_gpu(-1, numbers, (4, 4, 4), edges, out)
    for wrong in (numbers.astype(np.int32), numbers[None], np.zeros(4, np.int64)[::2]):
        with pytest.raises(TypeError, match="numbers: expected"):
            op.draw_swaps_on_gpu(0, wrong, (4, 4, 4), edges, out)
    with pytest.raises(TypeError, match="out: expected"):
        op.draw_swaps_on_gpu(0, numbers, (4, 4, 4), edges, out.astype(np.int64))
    for shape in ((3, 5, 3, 3), (2, 5, 3, 2)):
        with pytest.raises(ValueError, match="out: expected"):
            op.draw_swaps_on_gpu(0, numbers, (4, 4, 4), edges, np.empty(shape, np.int32))
    for shape in ((3, 1, 5, 3, 3), (2, 1, 5, 3, 2)):
        with pytest.raises(ValueError, match="out: expected"):
            op.draw_disjoint_on_gpu(0, numbers, (4, 4, 4), edges, np.empty(shape, np.int32))
    with pytest.raises(TypeError, match="out: expected"):
        op.draw_disjoint_on_gpu(0, numbers, (4, 4, 4), edges, out)
    with pytest.raises(ValueError, match="out: expected"):
        op.draw_blocks_on_gpu(0, numbers, (4, 4, 4), (2, 2, 2), out[:1])
