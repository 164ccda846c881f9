"""Test `blur` against SciPy's Gaussian, and its kernel bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import blur as op
from tests.cuda_on_cpu.host import ORDERS, HostCuda, KernelError, compiler
from tests.ops.test_gather import assert_same


def volumes(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Return numbers of many magnitudes, with zeros and without subnormals."""
    rng = np.random.default_rng(seed)
    array = (rng.normal(0, scale, shape) * rng.choice([0, 1e-20, 1e-7, 1], shape)).astype(np.float32)
    array[np.abs(array) < np.finfo(np.float32).tiny] = 0
    return array


@pytest.mark.parametrize("shape", [(2, 1, 9, 16, 20), (1, 3, 1, 5, 3), (2, 2, 2, 1, 33), (1, 1, 3, 130, 90)], ids=str)
def test_agrees_with_scipy(shape: tuple[int, ...]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(1)
    array = rng.normal(0, 1, shape).astype(np.float32)
    for sigmas in (rng.uniform(0, 2, (shape[0], 3)), np.tile([0.0, 0.13, 3.7], (shape[0], 1))):
        got = op.blur_ref(array, sigmas.astype(np.float32))
        for volume, blurred, sigma in zip(array, got, sigmas.astype(np.float32).astype(float), strict=True):
            for channel, one in zip(volume, blurred, strict=True):
                wanted = ndimage.gaussian_filter(channel.astype(np.float64), sigma)
                np.testing.assert_allclose(one, wanted, atol=1e-6 * np.abs(array).max())


def test_a_sigma_of_0_and_a_constant_stay() -> None:
    array = volumes((2, 1, 5, 6, 7))
    assert_same(op.blur_ref(array, np.float32([[0, 0, 0], [0.12, 0.1, 0]])), array)
    np.testing.assert_allclose(op.blur_ref(np.full_like(array, 3), np.float32([[1, 2, 0.5]] * 2)), 3, rtol=1e-6)


def test_weights_are_whole_units() -> None:
    for sigma in (0.125, 0.3, 1.0, 2.0, 32.0):
        weights = op.gaussian_weights(sigma).tolist()
        assert len(weights) == int(4 * sigma + 0.5) + 1
        assert all((weight * 2**30).is_integer() for weight in weights)
        assert abs(weights[0] + 2 * sum(weights[1:]) - 1) < 1e-7


def test_in_place() -> None:
    array, sigmas = volumes((2, 2, 7, 8, 9)), np.float32([[0.7, 1.1, 0.4], [2, 0, 1]])
    wanted = op.blur_ref(array, sigmas)
    own = array.copy()
    assert op.blur_ref(own, sigmas, out=own) is own
    assert_same(own, wanted)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20)),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-30, 1e-18, 1.0, 1e30]),
    order=st.sampled_from(ORDERS),
    limit=st.sampled_from([2**30, 1]),
    positive=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_kernel_equals_reference(
    shape: tuple[int, int, int, int, int],
    seed: int,
    scale: float,
    order: int,
    limit: int,
    positive: bool,
) -> None:
    cuda = HostCuda()
    cuda.order = order
    rng = np.random.default_rng(seed)
    array = volumes(shape, seed, scale)
    array = np.abs(array) if positive else array
    sigmas = (rng.uniform(0, 2, (shape[0], 3)) * rng.choice([0, 0.07, 0.2, 1], (shape[0], 3))).astype(np.float32)
    kept = array.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "array_module", lambda: cuda.arrays)
        patch.setattr(op.launch, "kernel", cuda.kernel)
        patch.setattr(op, "INT_LIMIT", limit)
        got = op.blur(array, sigmas, 8)
        assert_same(got, op.blur_ref(array, sigmas))
    assert_same(array, kept)


def test_volumes_do_not_meet() -> None:
    """Test several volumes with different sigmas at once; infinities affect only their volume."""
    array, sigmas = volumes((5, 1, 6, 7, 8)), np.random.default_rng(0).uniform(0, 2, (5, 3)).astype(np.float32)
    sigmas[1], sigmas[3, 1] = 0, 0
    array[2, 0, 3, 3, 3], array[4, 0, 0, 0, 0] = np.inf, np.nan
    got = op.blur_ref(array, sigmas)
    for volume, sigma, one in zip(array, sigmas, got, strict=True):
        assert_same(one, op.blur_ref(volume[None], sigma[None])[0])
    assert np.isfinite(got[[0, 1, 3]]).all()


@pytest.mark.parametrize("small", [2.0**-71, 2.0**-70, 2.0**-40])
def test_small_voxels_are_flushed_after_each_axis(small: float) -> None:
    array = np.zeros((1, 1, 9, 9, 9), np.float32)
    array[..., 4, 4, 4] = small
    got = op.blur_ref(array, np.float32([[1, 1, 1]]))
    assert (got.any(), np.abs(got[got != 0]).min(initial=1) >= 2.0**-70) == (small > 2.0**-70, True)


@pytest.mark.parametrize("sigma", [2.13, np.nan, np.inf])
def test_kernel_stops_at_a_sigma_that_reaches_too_far(cuda_on_cpu: HostCuda, sigma: float) -> None:
    with pytest.raises(KernelError, match="trap"):
        op.blur(volumes((1, 1, 2, 3, 4)), np.float32([[0, sigma, 0]]), 8)


@pytest.mark.parametrize("sigma", [np.nan, np.inf])
def test_refuses_a_sigma_that_is_no_number(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigmas: expected finite"):
        op.blur_ref(volumes((1, 1, 2, 3, 4)), np.float32([[0, sigma, 0]]))


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    array, sigmas = volumes((2, 1, 3, 4, 5)), np.zeros((2, 3), np.float32)
    for wrong in (array.astype(np.float16), array[0], array[..., ::2]):
        with pytest.raises(TypeError, match="volumes: expected a contiguous"):
            op.blur(wrong, sigmas, 8)
    with pytest.raises(TypeError, match="sigmas: expected a contiguous"):
        op.blur(array, sigmas.astype(float), 8)
    with pytest.raises(ValueError, match=r"sigmas: .* \(2, 3\), got float32 \(1, 3\)"):
        op.blur(array, sigmas[:1], 8)
    with pytest.raises(ValueError, match="max_radius: expected 0 to 128"):
        op.blur(array, sigmas, 129)
