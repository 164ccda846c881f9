"""Test `swap_patches`: a permutation with an exact inverse, equal for all array types and the kernel."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr import Swap, draw_swaps, swap_patches, unswap_patches
from dali_cr.ops import swap as op
from dali_cr.ops.gpu import elements
from dali_cr.plan.swaps import draw_batch
from tests.cuda_on_cpu.host import ORDERS, HostCuda, KernelError

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "float16", "int32", "float32", "int64", "uint64", "float64"]


def by_hand(array: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """Swap voxel by voxel."""
    out = array.copy()
    for a, b, size in swaps:
        for offset in np.ndindex(*size):
            p, q = tuple(a + offset), tuple(b + offset)
            out[(..., *p)], out[(..., *q)] = out[(..., *q)].copy(), out[(..., *p)].copy()
    return out


def image(shape: tuple[int, ...], dtype: str = "int32") -> np.ndarray:
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(dtype)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(2, 9), st.integers(1, 9)),
    leading=st.lists(st.integers(1, 3), max_size=2),
    iterations=st.integers(0, 12),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_permutation_and_inverse(shape: tuple[int, int, int], leading: list[int], iterations: int, seed: int) -> None:
    array = image((*leading, *shape))
    swaps = draw_swaps(seed, 0, shape, Swap(iterations, (1, min(1, *shape))))
    swapped = swap_patches(array, swaps)
    np.testing.assert_array_equal(swapped, by_hand(array, swaps))
    np.testing.assert_array_equal(np.sort(swapped, axis=None), np.sort(array, axis=None))
    np.testing.assert_array_equal(unswap_patches(swapped, swaps), array)


def test_real_patches_by_hand() -> None:
    swaps = draw_swaps(1, 2, (12, 10, 14), Swap(30, (2, 5)))
    array = image((2, 12, 10, 14))
    kept = array.copy()
    swapped = swap_patches(array, swaps)
    np.testing.assert_array_equal(swapped, by_hand(array, swaps))
    np.testing.assert_array_equal(array, kept)
    assert (swapped != array).mean() > 0.3


def test_no_swap_is_a_copy() -> None:
    array = image((3, 4, 5))
    swapped = swap_patches(array, np.empty((0, 3, 3), int))
    np.testing.assert_array_equal(swapped, array)
    assert not np.shares_memory(swapped, array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided", "reversed"])
def test_any_dtype_and_layout(dtype: str, layout: str) -> None:
    base = image((8, 9, 10), "int64").astype(dtype)
    array = {"contiguous": base, "transposed": base.T, "strided": base[:, ::2], "reversed": base[:, :, ::-1]}[layout]
    swaps = draw_swaps(0, 0, array.shape, Swap(10, (1, 4)))
    swapped = swap_patches(array, swaps)
    assert swapped.dtype == array.dtype
    np.testing.assert_array_equal(swapped, by_hand(array, swaps))


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float32, torch.int64],
    ids=str,
)
def test_torch(dtype: torch.dtype) -> None:
    array = torch.from_numpy(image((2, 6, 7, 8), "float32")).to(dtype)
    swaps = draw_swaps(0, 0, (6, 7, 8), Swap(10, (1, 3)))
    swapped = swap_patches(array.transpose(2, 3).transpose(2, 3), swaps)
    assert swapped.dtype == dtype
    assert swapped.shape == array.shape
    expected = by_hand(array.to(torch.float64).numpy(), swaps)
    np.testing.assert_array_equal(swapped.to(torch.float64).numpy(), expected)
    assert torch.equal(unswap_patches(swapped, torch.from_numpy(swaps)).view(torch.uint8), array.view(torch.uint8))


def test_one_set_of_swaps_a_sample() -> None:
    swaps = draw_batch(0, [0, 1, 2], (6, 7, 8), Swap(10, (1, 3)))
    array = image((3, 2, 6, 7, 8))
    swapped = swap_patches(array, swaps)
    for i in range(3):
        np.testing.assert_array_equal(swapped[i], by_hand(array[i], swaps[i]))
    np.testing.assert_array_equal(unswap_patches(swapped, swaps), array)


@pytest.mark.parametrize(
    ("swaps", "shape", "message"),
    [
        ([[[0, 0, 0], [0, 0, 1], [1, 1, 2]]], (4, 4, 4), "overlaps its partner"),
        ([[[0, 0, 0], [0, 0, 0], [1, 1, 1]]], (4, 4, 4), "overlaps its partner"),
        ([[[0, 0, 0], [0, 0, 3], [1, 1, 2]]], (4, 4, 4), "leaves the array"),
        ([[[0, -1, 0], [0, 0, 3], [1, 1, 1]]], (4, 4, 4), "leaves the array"),
        ([[[0, 0, 0], [0, 0, 3], [0, 1, 1]]], (4, 4, 4), "leaves the array"),
        ([[[0, 0], [0, 3], [1, 1]]], (4, 4, 4), r"expected \(T, 3, 3\)"),
        (np.zeros((2, 1, 3, 3), int), (3, 4, 4, 4), "with B = 3"),
        (np.zeros((4, 0, 3, 3), int), (4, 4, 4), "batch axis"),
        ([[[0, 0, 0], [0, 0, 3], [1, 1, 1]]], (4, 4), "2 axes"),
    ],
)
def test_refuses_swaps(swaps: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swap_patches(np.zeros(shape), swaps)


@pytest.mark.parametrize(
    ("array", "error"),
    [
        ([[[1, 2]]], TypeError),
        (np.zeros((2, 2, 2), complex), TypeError),
        (np.zeros((2, 2, 2), object), TypeError),
        (torch.zeros(2, 2, 2, dtype=torch.complex64), TypeError),
        (torch.zeros(2, 2, 2, requires_grad=True), ValueError),
        (torch.zeros(2, 2, 2, device="meta"), TypeError),
    ],
    ids=["list", "complex", "object", "torch complex", "gradient", "meta"],
)
def test_refuses_arrays(array: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="array: "):
        swap_patches(array, [[[0, 0, 0], [0, 0, 1], [1, 1, 1]]])


def test_refuses_swaps_that_are_no_integers() -> None:
    with pytest.raises(TypeError, match="integers"):
        swap_patches(np.zeros((2, 2, 2)), [[[0, 0, 0], [0, 0, 1.5], [1, 1, 1]]])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [2**31, 1], ids=["int", "long long"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 2, 7, 11, 13), (2, 1, 1, 17, 40), (1, 3, 16, 16, 16)], ids=str)
def test_kernel_equals_reference(
    cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: str, limit: int, order: int
) -> None:
    monkeypatch.setattr(elements, "INT_LIMIT", limit)
    cuda_on_cpu.order = order
    swaps = draw_batch(0, np.arange(shape[0]), shape[2:], Swap(15, (1, 6)))  # type: ignore[arg-type]
    expected, got = image(shape, "int64").astype(dtype), image(shape, "int64").astype(dtype)
    op.swap_in_place_ref(expected, swaps)
    op.swap_in_place(got, swaps)
    np.testing.assert_array_equal(got, expected)


def test_kernel_with_one_set_for_all(cuda_on_cpu: HostCuda) -> None:
    swaps = draw_swaps(0, 0, (7, 11, 13), Swap(15, (1, 6)))
    got = image((3, 2, 7, 11, 13))
    expected = got.copy()
    op.swap_in_place_ref(expected, swaps)
    op.swap_in_place(got, swaps)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("box", [[0, 0, 5], [0, 0, -1], [4, 0, 0]])
def test_kernel_stops_at_a_box_outside(cuda_on_cpu: HostCuda, box: list[int]) -> None:
    swaps = np.array([[[0, 0, 0], box, [1, 1, 2]]], np.int32)
    with pytest.raises(KernelError, match="trap"):
        op.swap_in_place(np.zeros((4, 5, 6), np.float32), swaps)


def test_kernel_wrapper_refuses(cuda_on_cpu: HostCuda) -> None:
    swaps = draw_swaps(0, 0, (4, 5, 6), Swap(2, 2))
    with pytest.raises(TypeError, match="contiguous"):
        op.swap_in_place(np.zeros((4, 5, 12), np.float32)[..., ::2], swaps)
    with pytest.raises(TypeError, match="int32"):
        op.swap_in_place(np.zeros((4, 5, 6), np.float32), swaps.astype(np.int64))
    with pytest.raises(TypeError, match="1, 2, 4 or 8"):
        op.swap_in_place(np.zeros((4, 5, 6), np.complex128), swaps)
    with pytest.raises(ValueError, match=r"\(3, T, 3, 3\)"):
        op.swap_in_place(np.zeros((3, 4, 5, 6), np.float32), swaps[None])
