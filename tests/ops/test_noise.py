"""Test `add_noise`: independent normal numbers, the same bits from the kernel, and Philox in CUDA."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dali_cr import rng
from dali_cr.ops import noise as op
from dali_cr.ops.gpu.launch import cuda_source
from tests.cuda_on_cpu.host import ORDERS, HostCuda, compiler, host_kernel_from_text
from tests.ops.test_blur import volumes
from tests.ops.test_gather import assert_same


def drawn(shape: tuple[int, ...], seed: int = 0, counters: list[list[int]] | None = None) -> np.ndarray:
    """Return the normal numbers."""
    counters = counters or [[i, 0] for i in range(shape[0])]
    return op.add_noise_ref(np.zeros(shape, np.float32), np.ones(shape[0], np.float32), seed, np.array(counters))


def by_hand(voxel: int, voxels: int, seed: int, sample: int, view: int) -> float:
    """Return the normal number of one voxel in Python floats."""
    number, block = divmod(voxel, -(-voxels // 4))
    counter = [sample & 0xFFFFFFFF, sample >> 32, block, int(rng.Purpose.NOISE) | view << 8]
    words = rng.philox(counter, [seed & 0xFFFFFFFF, seed >> 32]).tolist()
    a, b = words[:2] if number < 2 else words[2:]
    radius = math.sqrt(-2 * math.log(((a >> 8) + 1) / 2**24))
    angle = math.pi / 2 * (b >> 8) / 2**24
    sign = -1 if b >> number % 2 & 1 else 1
    return sign * radius * (math.sin(angle) if number % 2 else math.cos(angle))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (1, 1, 1, 1, 5), (1, 2, 1, 3, 1), (1, 1, 3, 5, 7), (1, 2, 3, 5, 35)], ids=str
)
def test_by_hand(shape: tuple[int, ...]) -> None:
    seed, sample, view = 2**64 - 3, 2**40 + 17, 2**24 - 1
    got = drawn(shape, seed, [[sample, view]]).ravel()
    wanted = [by_hand(i, got.size, seed, sample, view) for i in range(got.size)]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_they_are_normal() -> None:
    """Test moments, tails and quantiles of a million numbers, within five standard errors."""
    got = drawn((4, 1, 64, 64, 64)).astype(np.float64)
    count = got.size
    for moment, wanted in ((1, 0), (2, 1), (3, 0), (4, 3)):
        spread = math.sqrt(math.prod(range(2 * moment - 1, 0, -2)) / count)
        assert abs((got**moment).mean() - wanted) < 5 * spread, moment
    for bound in (0.5, 1, 2, 3, 4):
        share = math.erfc(bound / math.sqrt(2))
        assert abs((np.abs(got) > bound).mean() - share) < 5 * math.sqrt(share / count), bound
    assert 4.5 < np.abs(got).max() < 5.8
    quarters = got.reshape(4, 4, -1)
    assert np.abs(np.corrcoef(quarters.reshape(16, -1)) - np.eye(16)).max() < 5 / math.sqrt(quarters.shape[-1])


def test_streams_never_meet() -> None:
    first = drawn((1, 1, 8, 8, 8), 5, [[7, 1]])
    for seed, sample, view in ((6, 7, 1), (5 + 2**32, 7, 1), (5, 8, 1), (5, 7 + 2**32, 1), (5, 7, 2)):
        assert not (drawn((1, 1, 8, 8, 8), seed, [[sample, view]]) == first).any()


def test_what_is_added_and_where() -> None:
    array = volumes((3, 2, 5, 6, 7))
    counters = np.array([[3, 0], [3, 1], [4, 0]], np.uint64)
    got = op.add_noise_ref(array, np.float32([0.5, 0, 0.25]), 9, counters)
    assert_same(got[1], array[1])
    for i in (0, 2):
        normal = drawn((1, *array.shape[1:]), 9, counters[i : i + 1].tolist())[0]
        assert_same(got[i], array[i] + np.float32([0.5, 0, 0.25])[i] * normal)
    own = array.copy()
    assert op.add_noise_ref(own, np.float32([0.5, 0, 0.25]), 9, counters, out=own) is own
    assert_same(own, got)
    with pytest.raises(ValueError, match="seed: expected"):
        op.add_noise_ref(array, np.zeros(3, np.float32), -1, counters)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
def test_philox_in_cuda() -> None:
    text = (
        cuda_source("philox.cuh")
        + """
    extern "C" __global__ void draw(unsigned int* out, const unsigned int* in, const unsigned long long* keys) {
      const unsigned int* own = in + 4 * threadIdx.x;
      const Words words = philox({own[0], own[1], own[2], own[3]}, keys[threadIdx.x]);
      const unsigned int all[4] = {words.a, words.b, words.c, words.d};
      for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = all[i];
    }"""
    )
    random = np.random.default_rng(0)
    counters = random.integers(0, 2**32, (64, 4), np.uint32)
    keys = random.integers(0, 2**32, (64, 2), np.uint32)
    counters[0], keys[0] = 0, 0
    out = np.empty_like(counters)
    host_kernel_from_text("draw", text)((1,), (64,), (out, counters, keys.view("<u8").ravel()))
    np.testing.assert_array_equal(out, rng.philox(counters, keys))


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20)),
    seed=st.integers(0, 2**64 - 1),
    sample=st.integers(0, 2**63 - 4),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    order=st.sampled_from(ORDERS),
    unsigned=st.booleans(),
)
@example(shape=(1, 1, 1, 1, 5), seed=0, sample=7, scale=1.0, order=ORDERS[0], unsigned=False)
@settings(max_examples=40, deadline=None)
def test_kernel_equals_reference(
    shape: tuple[int, int, int, int, int], seed: int, sample: int, scale: float, order: int, unsigned: bool
) -> None:
    cuda = HostCuda()
    cuda.order = order
    random = np.random.default_rng(sample)
    array = volumes(shape, sample, scale)
    stds = (random.uniform(0, scale, shape[0]) * random.choice([0, 1e-7, 1], shape[0])).astype(np.float32)
    counters = np.stack([sample + np.arange(shape[0]), random.integers(0, 2**24, shape[0])], axis=1)
    counters = counters.astype(np.uint64 if unsigned else np.int64)
    wanted = op.add_noise_ref(array, stds, seed, counters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "kernel", cuda.kernel)
        assert op.add_noise(array, stds, seed, counters) is array
    assert_same(array, wanted)


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    array, ones, counters = volumes((2, 1, 3, 4, 5)), np.ones(2, np.float32), np.zeros((2, 2), np.int64)
    with pytest.raises(TypeError, match="volumes: expected a contiguous"):
        op.add_noise(array[0], ones, 0, counters)
    with pytest.raises(TypeError, match="stds: expected a contiguous"):
        op.add_noise(array, ones.astype(float), 0, counters)
    with pytest.raises(TypeError, match="counters: expected a contiguous"):
        op.add_noise(array, ones, 0, counters.astype(np.int32))
    with pytest.raises(ValueError, match=r"stds: .* \(2,\), got float32 \(1,\)"):
        op.add_noise(array, ones[:1], 0, counters)
    with pytest.raises(ValueError, match="seed: expected"):
        op.add_noise(array, ones, 2**64, counters)
