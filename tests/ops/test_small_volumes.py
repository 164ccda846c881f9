"""Test every operation on all small sizes: incomplete or empty parts, and crops outside of the volume."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from dali_cr import Swap
from dali_cr.ops import blur, decode, erase, gamma, gather, jitter, noise, standardize, swap, zscore
from dali_cr.ops.records.crops import make_record
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import make_gather_record
from dali_cr.plan.swaps import draw_batch
from tests.cuda_on_cpu.host import HostCuda
from tests.ops.test_blur import volumes
from tests.ops.test_decode import aligned
from tests.ops.test_gather import assert_same

Array = np.ndarray
SIZES = range(1, 41)
COUNTERS = np.array([[7, 0], [8, 1], [2**40, 2**24 - 1]])
STDS = np.float32([0.5, 0, 1e-20])
SIGMAS = np.float32([[0.3, 0.5, 0.7], [0, 1.5, 2], [2, 0, 0.2]])
EXPONENTS = np.float32([0.7, 1, 1.4])
FACTORS = np.float32([[0.7, 1.4, 0], [1.3, 1.4, 1], [1, 0.6, 0]])

OPS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "blur": (lambda array: blur.blur_ref(array, SIGMAS), lambda array: blur.blur(array, SIGMAS, 8)),
    "gamma": (lambda array: gamma.gamma_ref(array, EXPONENTS), lambda array: gamma.gamma(array, EXPONENTS)),
    "jitter": (lambda array: jitter.jitter_ref(array, FACTORS), lambda array: jitter.jitter(array, FACTORS)),
    "noise": (
        lambda array: noise.add_noise_ref(array, STDS, 3, COUNTERS),
        lambda array: noise.add_noise(array, STDS, 3, COUNTERS),
    ),
    "zscore": (zscore.zscore_ref, zscore.zscore),
    "standardize": (
        lambda array: standardize.standardize_ref(array, 0.4, 0.3),
        lambda array: standardize.standardize(array, 0.4, 0.3),
    ),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [2, 3, 4], ids="DHW")
def test_kernels_equal_references(cuda_on_cpu: HostCuda, op: str, axis: int) -> None:
    reference, kernel = OPS[op]
    for size, channels in itertools.product(SIZES, (1, 2)):
        shape = [3, channels, 1, 1, 1]
        shape[axis] = size
        array = volumes(tuple(shape), size)
        assert_same(kernel(array.copy()), reference(array))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("size", [511, 512, 513, 515, 1025])
def test_parts_that_end_past_the_last_voxel(cuda_on_cpu: HostCuda, op: str, size: int) -> None:
    """Test sizes that are no multiple of the loops' steps; the last quarter of noise is up to three voxels shorter."""
    reference, kernel = OPS[op]
    for shape in ((3, 1, 1, 1, size), (3, 1, 1, size, 1), (3, 1, 5, size // 5, 1)):
        array = volumes(shape, size)
        assert_same(kernel(array.copy()), reference(array))


def test_swaps_and_erasures(cuda_on_cpu: HostCuda) -> None:
    for size in SIZES[1:]:
        array = np.arange(2 * size, dtype=np.float32).reshape(2, 1, 1, 1, size)
        boxes = draw_batch(size, [0, 1], (1, 1, size), Swap(9, (1, 1)))
        swapped, wanted = array.copy(), array.copy()
        swap.swap_in_place_ref(wanted, boxes)
        swap.swap_in_place(swapped, boxes)
        assert_same(swapped, wanted)
        values = np.full((2, 1), -1, np.float32)
        erased, wanted = array.copy(), array.copy()
        erase.erase_in_place_ref(wanted, boxes, values)
        erase.erase_in_place(erased, boxes, values)
        assert_same(erased, wanted)


@pytest.mark.parametrize("flipped", [False, True])
def test_crops_outside_the_volume(cuda_on_cpu: HostCuda, flipped: bool) -> None:
    """Test crops from entirely before to entirely after the volume; `gather` and `decode` agree."""
    length, edge = 5, 4
    raw = aligned(np.arange(1, 17, dtype=np.uint8).reshape(1, 16))
    where = {"dtype": "uint8", "big_endian": False, "first_byte": 0, "itemsize": 1, "strides": (length, length, 1)}
    for origin in range(-9, 10):
        places = origin + np.arange(edge)[:: -1 if flipped else 1]
        wanted = np.where((places >= 0) & (places < length), places + 1, 0).astype(np.float32).reshape(1, 1, 1, 1, edge)
        record = make_record(
            origin=(0, 0, origin), flips=(False, False, flipped), crop=(1, 1, edge), shape=(1, 1, length),
            rescale=Rescale(), **where,
        )[None, None]  # fmt: skip
        assert_same(decode.decode_volume_ref(raw, record, (1, 1, edge)), wanted)
        assert_same(decode.decode_volume(raw, record, (1, 1, edge)), wanted)
        matrix, offset = np.diag([1, 1, -1 if flipped else 1]), (0, 0, int(places[0]))
        look = make_gather_record(
            lo=(0, 0, 0), hi=(1, 1, length), rescale=Rescale(), matrix=matrix, offset=offset, **where
        )[None, None, None]
        assert_same(gather.gather_views_ref(raw, look, (1, 1, edge)), wanted[None])
        assert_same(gather.gather_views(raw, look, (1, 1, edge)), wanted[None])
        view, box = np.empty((1, 1, edge), np.float32), raw[:, :length].astype(np.float32)[None]
        gather.gather_box(box, (0, 0, 0), 0.0, matrix, offset, view)
        assert_same(view, wanted[0, 0])
