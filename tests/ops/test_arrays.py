"""Test the checks of arrays that kernels are given, and the joining of samples."""

import numpy as np
import pytest

from dali_cr.ops.gpu import arrays as op
from tests.cuda_on_cpu.host import HostCuda

FLOATS = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("array", "shape", "error", "got"),
    [
        (FLOATS.astype(np.float64), ("N", 3), TypeError, "float64 (2, 3)"),
        (FLOATS[0], ("N", 3), TypeError, "float32 (3,)"),
        (FLOATS.T, ("N", 2), TypeError, "float32 (3, 2) that is not contiguous"),
        (FLOATS, (3, 3), ValueError, "float32 (2, 3)"),
    ],
)
def test_an_error_names_what_was_expected_and_what_came(
    array: np.ndarray, shape: tuple[int | str, ...], error: type[Exception], got: str
) -> None:
    with pytest.raises(error) as caught:
        op.check_array(array, "factors", np.float32, shape)
    wanted = f"({', '.join(map(str, shape))})"
    assert str(caught.value) == f"factors: expected a contiguous float32 array {wanted}, got {got}"


def test_one_of_several_dtypes() -> None:
    for dtype in op.INTEGERS:
        op.check_array(np.zeros(2, dtype), "numbers", op.INTEGERS, ("B",))
    with pytest.raises(
        TypeError, match=r"numbers: expected a contiguous int64 or uint64 array \(B,\), got int32 \(2,\)"
    ):
        op.check_array(np.zeros(2, np.int32), "numbers", op.INTEGERS, ("B",))


def test_samples_of_a_batch_have_one_shape(cuda_on_cpu: HostCuda) -> None:
    np.testing.assert_array_equal(op.as_batch(list(FLOATS)), FLOATS)
    with pytest.raises(ValueError, match=r"samples: expected equal shapes in a batch, got \[\(2,\), \(3,\)\]"):
        op.as_batch([FLOATS[0], FLOATS[0, :2]])
