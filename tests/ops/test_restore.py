"""`restore_pairs`: one pass gives the bits of decoding and swapping one pair after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_cr
from dali_cr.ops import restore as op
from dali_cr.ops.decode import Affine, make_record
from dali_cr.plan.swaps import draw_batch
from tests.cuda_on_cpu.host import ORDERS, HostCuda, KernelError
from tests.ops.test_decode import aligned, packed_batch

Triple = tuple[int, int, int]


def plain_batch(samples: int, crop: Triple) -> tuple[np.ndarray, np.ndarray]:
    """Return raw bytes and records of uint8 volumes as large as the crop."""
    numbers = np.random.default_rng(0).integers(0, 256, (samples, int(np.prod(crop))), np.uint8)
    record = make_record(
        dtype="uint8", big_endian=False, first_byte=0, itemsize=1, strides=(crop[1] * crop[2], crop[2], 1),
        origin=(0, 0, 0), flips=(False,) * 3, crop=crop, shape=crop,
        affine=Affine(),
    )  # fmt: skip
    raw = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % 16)))
    return aligned(raw), np.repeat(record[None, None], samples, 0)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@given(
    seed=st.integers(0, 2**32),
    crop=st.tuples(st.integers(1, 9), st.integers(2, 9), st.integers(2, 40)),
    order=st.sampled_from(ORDERS),
    dtype=st.sampled_from(["float32", "float16"]),
    iterations=st.sampled_from([0, 1, 5, 63, 64, 65, 128, 200]),
)
@settings(max_examples=60, deadline=None)
def test_kernel_equals_reference(seed: int, crop: Triple, order: int, dtype: str, iterations: int) -> None:
    """Any dtype, orientation and patch; around the 64 swaps that a word of the masks holds."""
    cuda = HostCuda()
    cuda.order = order
    rng = np.random.default_rng(seed)
    patch = tuple((1, int(rng.integers(1, max(1, edge // 2), endpoint=True))) for edge in crop)
    raw, records = packed_batch(seed, 2, 2, crop)
    swaps = draw_batch(seed, [0, 1], crop, dali_cr.Swap(iterations, patch))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(op.launch, "array_module", lambda: cuda.arrays)
        patched.setattr(op.launch, "kernel", cuda.kernel)
        got = op.restore_pairs(aligned(raw), records, swaps, crop, dtype)
    for one, expected in zip(got, op.restore_pairs_ref(raw, records, swaps, crop, dtype), strict=True):
        quiet = np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(one), quiet)
        assert np.where(quiet, 0, one).tobytes() == np.where(quiet, 0, expected).tobytes()


def test_chains_of_swaps_are_followed(cuda_on_cpu: HostCuda) -> None:
    """Few places and many swaps: each voxel moves dozens of times."""
    crop = (2, 4, 5)
    raw, records = plain_batch(3, crop)
    swaps = draw_batch(1, [0, 1, 2], crop, dali_cr.Swap(150, ((1, 1), (1, 3), (1, 4))))
    target, input = op.restore_pairs(raw, records, swaps, crop)
    wanted = op.restore_pairs_ref(raw, records, swaps, crop)
    assert (target.tobytes(), input.tobytes()) == (wanted[0].tobytes(), wanted[1].tobytes())
    assert (target != input).mean() > 0.5
    np.testing.assert_array_equal(np.sort(target, None), np.sort(input, None))


def test_reads_an_arena(cuda_on_cpu: HostCuda) -> None:
    crop = (3, 6, 8)
    raw, records = plain_batch(1, crop)
    kept, elsewhere = records.copy(), np.zeros_like(raw)
    kept[..., 1] |= 1 << 10
    swaps = draw_batch(1, [0], crop, dali_cr.Swap(9, 2))
    got = op.restore_pairs(elsewhere, kept, swaps, crop, arena=raw.ravel())
    for one, wanted in zip(got, op.restore_pairs_ref(raw, records, swaps, crop), strict=True):
        assert one.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("box", [[0, 0, 7], [0, -1, 0], [3, 0, 0]])
def test_kernel_stops_at_a_box_outside(cuda_on_cpu: HostCuda, box: list[int]) -> None:
    raw, records = plain_batch(1, (3, 6, 8))
    swaps = np.array([[[[0, 0, 0], box, [1, 1, 2]]]], np.int32)
    with pytest.raises(KernelError, match="trap"):
        op.restore_pairs(raw, records, swaps, (3, 6, 8))


def test_wrapper_refuses(cuda_on_cpu: HostCuda) -> None:
    raw, records = plain_batch(2, (3, 6, 8))
    swaps = draw_batch(1, [0, 1], (3, 6, 8), dali_cr.Swap(9, 2))
    with pytest.raises(TypeError, match="swaps: wanted"):
        op.restore_pairs(raw, records, swaps.astype(np.int64), (3, 6, 8))
    with pytest.raises(ValueError, match=r"swaps: wanted \(2, T, 3, 3\)"):
        op.restore_pairs(raw, records, swaps[:1].copy(), (3, 6, 8))
    with pytest.raises(ValueError, match="wanted raw"):
        op.restore_pairs(raw[:1], records, swaps, (3, 6, 8))
