"""Test `draw_swaps`: kernel and reference draw the same disjoint pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops.draw import swaps as op
from dali_cr.ops.draw.boxes import Edges
from tests.cuda_on_cpu.host import HostCuda

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


def test_no_swap_and_no_sample(cuda_on_cpu: HostCuda) -> None:
    for samples, turns in ((2, 0), (0, 3)):
        out = np.empty((samples, turns, 3, 3), np.int32)
        op.draw_swaps_on_gpu(0, np.zeros(samples, np.int64), (4, 4, 4), ((1, 2),) * 3, out)


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
