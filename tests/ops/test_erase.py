"""Test `erase_patches`: the reference against a plain loop, and the kernel against the reference."""

from dataclasses import replace

import numpy as np
import pytest

import dali_cr
from dali_cr.ops import erase as op
from dali_cr.ops.gpu import elements
from dali_cr.plan.swaps import draw_batch, draw_swaps
from tests.cuda_on_cpu.host import HostCuda, KernelError

RECIPE = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(8, (2, 6)), foreground=0.5)


def by_hand(array: np.ndarray, swaps: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = array.copy()
    for b, c, *place in np.ndindex(array.shape):
        for origin, _, size in swaps[b]:
            if all(o <= p < o + s for o, p, s in zip(origin, place, size, strict=True)):
                out[b, c][tuple(place)] = values[b, c]
    return out


def test_reference_by_hand() -> None:
    rng = np.random.default_rng(0)
    array, values = rng.normal(size=(2, 2, 5, 6, 7)).astype(np.float32), rng.normal(size=(2, 2)).astype(np.float32)
    swaps = draw_batch(3, [0, 1], (5, 6, 7), dali_cr.Swap(5, (1, 3)))
    got = array.copy()
    op.erase_in_place_ref(got, swaps, values)
    assert (got != array).any()
    np.testing.assert_array_equal(got, by_hand(array, swaps, values))


@pytest.mark.parametrize("limit", [2**31, 1], ids=["int", "long long"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 2, 7, 11, 13), (2, 1, 1, 17, 40), (1, 3, 16, 16, 16)], ids=str)
def test_kernel_equals_reference(
    cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: str, limit: int
) -> None:
    monkeypatch.setattr(elements, "INT_LIMIT", limit)
    swaps = draw_batch(0, np.arange(shape[0]), shape[2:], dali_cr.Swap(15, (1, 6)))  # type: ignore[arg-type]
    expected = np.random.default_rng(1).integers(0, 99, shape).astype(dtype)
    values = np.arange(100, 100 + shape[0] * shape[1]).reshape(shape[:2]).astype(dtype)
    got = expected.copy()
    op.erase_in_place_ref(expected, swaps, values)
    op.erase_in_place(got, swaps, values)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("box", [[0, 0, 5], [0, 0, -1], [4, 0, 0]])
def test_kernel_stops_at_a_box_outside(cuda_on_cpu: HostCuda, box: list[int]) -> None:
    swaps = np.array([[[box, [0, 0, 0], [1, 1, 2]]]], np.int32)
    with pytest.raises(KernelError, match="trap"):
        op.erase_in_place(np.zeros((1, 1, 4, 5, 6), np.float32), swaps, np.zeros((1, 1), np.float32))


def test_kernel_wrapper_refuses(cuda_on_cpu: HostCuda) -> None:
    swaps, array = draw_swaps(0, 0, (4, 5, 6), dali_cr.Swap(2, 2))[None], np.zeros((1, 1, 4, 5, 6), np.float32)
    values = np.zeros((1, 1), np.float32)
    with pytest.raises(TypeError, match="contiguous"):
        op.erase_in_place(np.zeros((1, 1, 4, 5, 12), np.float32)[..., ::2], swaps, values)
    with pytest.raises(TypeError, match="int32"):
        op.erase_in_place(array, swaps.astype(np.int64), values)
    with pytest.raises(TypeError, match="values"):
        op.erase_in_place(array, swaps, values.astype(np.float64))
    with pytest.raises(ValueError, match="values: expected"):
        op.erase_in_place(array, swaps, np.zeros((1, 2), np.float32))


def test_pretexts_differ_only_in_what_is_done(mixed_index: dali_cr.Index) -> None:
    """Check that crops are equal; inpainting erases the first patch of each pair, autoencoding changes nothing."""
    batches = {}
    for pretext in ("swap", "inpaint", "autoencode"):
        recipe = replace(RECIPE, pretext=pretext)  # type: ignore[arg-type]
        with dali_cr.Loader(mixed_index, recipe, batch_size=4, device="cpu", seed=3) as loader:
            batches[pretext] = next(iter(loader))
            plans = [loader.plan(n) for n in range(4)]
            assert all(len(plan.swaps) == (0 if pretext == "autoencode" else 8) for plan in plans)
            if pretext == "inpaint":
                wanted = batches[pretext]["target"].numpy().copy()
                op.erase_in_place_ref(wanted, np.stack([plan.swaps for plan in plans]), np.zeros((4, 1), np.float32))
    for batch in batches.values():
        np.testing.assert_array_equal(batch["target"], batches["swap"]["target"])
    np.testing.assert_array_equal(batches["autoencode"]["input"], batches["autoencode"]["target"])
    np.testing.assert_array_equal(batches["inpaint"]["input"], wanted)
    assert (batches["inpaint"]["input"] != batches["swap"]["input"]).any()


def test_refuses_another_pretext() -> None:
    with pytest.raises(ValueError, match="pretext: expected"):
        replace(RECIPE, pretext="jigsaw")  # type: ignore[arg-type]
