"""Test `jitter` against torchvision's definition, and the kernel bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import jitter as op
from tests.cuda_on_cpu.host import ORDERS, HostCuda, compiler
from tests.ops.test_blur import volumes
from tests.ops.test_gather import assert_same

FACTORS = np.float32([[1, 1, 0], [1.4, 1, 0], [1, 0.6, 1], [0.7, 1.3, 0], [0.7, 1.3, 1], [1.3, 1.4, 1]])


def by_hand(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return one channel with other brightness and contrast, as torchvision defines them for float images."""
    brightness, contrast, contrast_first = factors.tolist()
    for change in "cb" if contrast_first else "bc":
        image = brightness * image if change == "b" else image.mean() + contrast * (image - image.mean())
        image = np.clip(image, 0, 1)
    return image


def test_changes_brightness_and_contrast_about_the_mean_in_the_given_order() -> None:
    array = np.random.default_rng(0).uniform(0, 1, (6, 2, 3, 16, 21)).astype(np.float32)
    array[:, 1] *= 0.2  # each channel has its own mean
    got = op.jitter_ref(array, FACTORS)
    wanted = [[by_hand(c.astype(float), own) for c in v] for v, own in zip(array, FACTORS, strict=True)]
    np.testing.assert_allclose(got, wanted, atol=3e-7)
    assert_same(got[0], array[0])
    assert np.abs(got[3] - got[4]).max() > 0.05
    assert (got.min(), got.max()) == (0, 1)
    assert op.jitter_ref(array, FACTORS, array) is array
    assert_same(array, got)


def test_factors_without_effect_does_not_clip() -> None:
    array = np.float32([-1, 0.5, 2]).reshape(1, 1, 1, 1, 3)
    assert_same(op.jitter_ref(array, np.float32([[1, 1, 1]])), array)
    assert op.jitter_ref(array, np.float32([[1.001, 1, 1]])).ravel()[[0, 2]].tolist() == [0, 1]


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 99)),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 1e30]),
    order=st.sampled_from(ORDERS),
)
@settings(max_examples=10, deadline=None)
def test_kernel_equals_reference(shape: tuple[int, int, int, int, int], seed: int, scale: float, order: int) -> None:
    cuda = HostCuda()
    cuda.order = order
    array, rng = volumes(shape, seed, scale), np.random.default_rng(seed)
    factors = rng.choice(FACTORS, shape[0])
    wanted = op.jitter_ref(array, factors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "kernel", cuda.kernel)
        assert op.jitter(array, factors) is array
    assert_same(array, wanted)


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    array = volumes((2, 1, 3, 4, 5))
    with pytest.raises(TypeError, match="factors: expected a contiguous"):
        op.jitter(array, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"factors: .* \(2, 3\), got float32 \(2, 2\)"):
        op.jitter(array, np.ones((2, 2), np.float32))
