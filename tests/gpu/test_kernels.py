"""Test the compiled kernels on a GPU against the CPU, bit for bit."""

from typing import Any

import numpy as np
import pytest
import torch

import dali_cr
from dali_cr.ops import blur, contrast, decode, erase, gamma, gather, jitter, noise, standardize, swap, zscore
from dali_cr.ops.draw import blocks, disjoint, swaps
from dali_cr.ops.draw.boxes import Edges
from dali_cr.ops.records.crops import make_record
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import make_gather_record
from dali_cr.plan.swaps import draw_batch
from tests.helpers.decoding import ORDERED, aligned_rows, check_bits
from tests.helpers.volumes import random_numbers
from tests.ops.test_draw_blocks import BLOCKS
from tests.ops.test_draw_disjoint import APART
from tests.ops.test_draw_swaps import NUMBERS, SIZES

pytestmark = pytest.mark.gpu
cupy: Any = pytest.importorskip("cupy", reason="the GPU's tests need CuPy", exc_type=ImportError)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 2, 33, 65, 40), (1, 1, 128, 128, 128), (70, 1, 8, 9, 10)], ids=str)
def test_swap_kernel(shape: tuple[int, ...], dtype: str) -> None:
    array = random_numbers(np.random.default_rng(0), shape, dtype)
    swaps = draw_batch(0, np.arange(shape[0]), shape[2:], dali_cr.Swap(100, (1, 4)))  # type: ignore[arg-type]
    wanted = array.copy()
    swap.swap_in_place_ref(wanted, swaps)
    on_gpu = cupy.asarray(array)
    swap.swap_in_place(on_gpu, cupy.asarray(swaps))
    assert cupy.asnumpy(on_gpu).tobytes() == wanted.tobytes()


@pytest.mark.parametrize(("shape", "edges"), SIZES, ids=str)
def test_draw_kernel(shape: tuple[int, int, int], edges: Edges) -> None:
    numbers = np.append(NUMBERS, np.random.default_rng(0).integers(2**63, size=56))
    wanted = np.empty((len(numbers), 300, 3, 3), np.int32)
    got = cupy.full(wanted.shape, -1, np.int32)
    for seed in (0, 2**63 + 5, 2**64 - 1):
        swaps.draw_swaps_ref(seed, numbers, shape, edges, wanted)
        swaps.draw_swaps_on_gpu(seed, cupy.asarray(numbers), shape, edges, got)
        np.testing.assert_array_equal(cupy.asnumpy(got), wanted)


@pytest.mark.parametrize(("shape", "edges", "iterations"), APART, ids=str)
def test_draw_disjoint_kernel(shape: tuple[int, int, int], edges: Edges, iterations: int) -> None:
    wanted = np.empty((len(NUMBERS), 2, iterations, 3, 3), np.int32)
    got = cupy.full(wanted.shape, -1, np.int32)
    disjoint.draw_disjoint_ref(2**63 + 5, NUMBERS, shape, edges, wanted)
    disjoint.draw_disjoint_on_gpu(2**63 + 5, cupy.asarray(NUMBERS), shape, edges, got)
    np.testing.assert_array_equal(cupy.asnumpy(got), wanted)


@pytest.mark.parametrize(("shape", "block", "masked"), BLOCKS, ids=str)
def test_draw_blocks_kernel(shape: tuple[int, int, int], block: tuple[int, int, int], masked: int) -> None:
    wanted = np.empty((len(NUMBERS), masked, 3, 3), np.int32)
    got = cupy.full(wanted.shape, -1, np.int32)
    blocks.draw_blocks_ref(2**63 + 5, NUMBERS, shape, block, wanted)
    blocks.draw_blocks_on_gpu(2**63 + 5, cupy.asarray(NUMBERS), shape, block, got)
    np.testing.assert_array_equal(cupy.asnumpy(got), wanted)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_erase_kernel(dtype: str) -> None:
    wanted = random_numbers(np.random.default_rng(0), (3, 2, 33, 65, 40), dtype)
    swaps, fills = draw_batch(0, np.arange(3), (33, 65, 40), dali_cr.Swap(100, (1, 9))), np.ones((3, 2), dtype)
    got = cupy.asarray(wanted)
    erase.erase_in_place(got, cupy.asarray(swaps), cupy.asarray(fills))
    erase.erase_in_place_ref(wanted, swaps, fills)
    assert cupy.asnumpy(got).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("stored", ["|u1", "|i1", "<i2", ">u2", "<u4", ">i4", "<i8", ">u8", "<f4", ">f4", "<f8", ">f8"])
def test_decode_kernel(stored: str, dtype: str) -> None:
    """Test every dtype and byte order, with special values and subnormals."""
    shape = (37, 41, 64)
    volume = random_numbers(np.random.default_rng(0), shape, stored).astype(stored)
    if volume.dtype.kind == "f":
        special = [np.nan, np.inf, -np.inf, -0.0, 1e-45, -1e-40, 1.1754944e-38, 6e-8]
        volume.ravel()[: len(special)] = special
    row = np.zeros((1, -(-volume.nbytes // 16) * 16), np.uint8)
    row[0, : volume.nbytes] = np.frombuffer(volume.tobytes(), np.uint8)
    records = [
        make_record(
            dtype=volume.dtype.newbyteorder("=").name, big_endian=stored[0] == ">", first_byte=0,
            itemsize=volume.itemsize, strides=(shape[1] * shape[2], shape[2], 1), origin=origin, flips=flips,
            crop=(33, 45, 70), shape=shape, rescale=rescale,
        )
        for origin, flips, rescale in (
            ((0, 0, 0), (False, False, False), Rescale(1 / 3, -0.1, -5, 5, 0)),
            ((3, -2, -3), (True, False, True), Rescale(1e-40, 0.0, padding=-7)),
            ((-1, 5, 0), (False, True, False), Rescale(2e-3, 0.25, 0, 1, 0.5)),
        )
    ]  # fmt: skip
    batch = np.stack(records)[None]
    with np.errstate(over="ignore"):
        wanted = decode.decode_volume_ref(row, batch, (33, 45, 70), dtype)
    got = decode.decode_volume(cupy.asarray(row), cupy.asarray(batch), (33, 45, 70), dtype)
    np.testing.assert_array_equal(cupy.asnumpy(got).view(f"u{wanted.itemsize}"), wanted.view(f"u{wanted.itemsize}"))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("crop", [(3, 4, 16), (3, 4, 13), (2, 39, 136)], ids=str)
def test_decode_kernel_reads_rows_at_any_alignment(crop: tuple[int, int, int], dtype: str, twice: bool) -> None:
    raw, records = aligned_rows(crop, ORDERED)
    wanted = decode.decode_volume_ref(raw, records, crop, dtype)
    rows, words = cupy.asarray(raw), cupy.asarray(records)
    memory = cupy.full(2 * wanted.nbytes + 4096, 0xA5, cupy.uint8)  # the outputs reuse this memory
    del memory
    got = decode.decode_volume(rows, words, crop, dtype, twice=twice)
    for one in got if twice else (got,):
        check_bits(cupy.asnumpy(one), wanted)


@pytest.mark.parametrize("mode", ["trilinear", "nearest", "clamped"])
@pytest.mark.parametrize("stored", ["|u1", "|i1", "<i2", ">u2", "<u4", ">i4", "<i8", ">u8", "<f4", ">f4", "<f8", ">f8"])
def test_gather_kernel(stored: str, mode: str) -> None:
    rng, shape = np.random.default_rng(0), (37, 41, 64)
    volume = random_numbers(rng, shape, stored).astype(stored)
    if volume.dtype.kind == "f":
        volume.ravel()[:5] = [np.nan, np.inf, -0.0, 1e-45, 1.1754944e-38]
    row = np.zeros((1, -(-volume.nbytes // 16) * 16), np.uint8)
    row[0, : volume.nbytes] = np.frombuffer(volume.tobytes(), np.uint8)
    matrices = [np.linalg.qr(rng.normal(size=(3, 3)))[0], np.diag([0.5, -1.5, 2]), rng.normal(0, 3, (3, 3))]
    records = [
        make_gather_record(
            dtype=volume.dtype.newbyteorder("=").name, big_endian=stored[0] == ">", first_byte=0,
            itemsize=volume.itemsize, strides=(shape[1] * shape[2], shape[2], 1), lo=(1, 0, 2), hi=(37, 40, 64),
            rescale=rescale, matrix=matrix, offset=rng.uniform(0, 40, 3), nearest=mode == "nearest",
            clamped=mode == "clamped",
        )
        for matrix in matrices
        for rescale in (Rescale(1 / 3, -0.1, -5, 5, 0), Rescale(1e-40, 0.0, padding=-7))
    ]  # fmt: skip
    batch = np.stack(records).reshape(1, 3, 2, -1)
    with np.errstate(over="ignore"):
        wanted = gather.gather_views_ref(row, batch, (17, 33, 70))
    got = gather.gather_views(cupy.asarray(row), cupy.asarray(batch), (17, 33, 70))
    np.testing.assert_array_equal(cupy.asnumpy(got).view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("shape", [(2, 1, 32, 64, 64), (6, 1, 16, 16, 16), (3, 2, 5, 33, 40)], ids=str)
def test_kernels_of_views(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(0, 1, shape).astype(np.float32) * rng.choice([1e-20, 1e-6, 1], shape).astype(np.float32)
    sigmas = rng.uniform(0, 2, (shape[0], 3)).astype(np.float32)
    values = rng.uniform(0.1, 2, shape[0]).astype(np.float32)
    counters = np.stack([rng.integers(2**40, size=shape[0]), np.arange(shape[0])], 1)
    there, sent, seed = cupy.asarray(array), cupy.asarray(values), 2**63 + 5
    factors = np.stack([*rng.uniform(0.6, 1.4, (2, shape[0])), rng.integers(0, 2, shape[0])], 1).astype(np.float32)
    pairs = {
        "blur": (blur.blur(there, cupy.asarray(sigmas), 8), blur.blur_ref(array, sigmas)),
        "noise": (
            noise.add_noise(there.copy(), sent, seed, cupy.asarray(counters)),
            noise.add_noise_ref(array, values, seed, counters),
        ),
        "gamma": (gamma.gamma(there.copy(), sent), gamma.gamma_ref(array, values)),
        "contrast": (contrast.adjust_contrast(there.copy(), sent), contrast.adjust_contrast_ref(array, values)),
        "jitter": (jitter.jitter(there.copy(), cupy.asarray(factors)), jitter.jitter_ref(array, factors)),
        "zscore": (zscore.zscore(there.copy()), zscore.zscore_ref(array)),
        "standardize": (
            standardize.standardize(there.copy(), 0.449, 0.226),
            standardize.standardize_ref(array, 0.449, 0.226),
        ),
    }
    for name, (got, wanted) in pairs.items():
        np.testing.assert_array_equal(cupy.asnumpy(got).view(np.uint32), wanted.view(np.uint32), err_msg=name)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_swap_patches_of_torch_and_cupy(dtype: torch.dtype) -> None:
    swaps = dali_cr.draw_swaps(0, 0, (20, 24, 28), dali_cr.Swap(50, (2, 8)))
    tensor = torch.randint(0, 99, (2, 20, 24, 28)).to(dtype)
    wanted = dali_cr.swap_patches(tensor, swaps)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        got = dali_cr.swap_patches(tensor.cuda(), swaps)
        back = dali_cr.unswap_patches(got, swaps)
    side.synchronize()
    assert got.is_cuda
    assert torch.equal(got.cpu(), wanted)
    assert torch.equal(back.cpu(), tensor)
    if dtype != torch.bfloat16:
        array = cupy.asarray(tensor.numpy())
        assert cupy.asnumpy(dali_cr.swap_patches(array, swaps)).tobytes() == wanted.numpy().tobytes()


def test_more_than_2_to_the_31_elements() -> None:
    """Test 64-bit indices with the last patch of an array of more than 2**31 elements."""
    if torch.cuda.mem_get_info()[0] < 12 << 30:
        pytest.skip("needs 12 GB of free GPU memory")
    shape = (2049, 1024, 1024)
    array = cupy.zeros(shape, "uint8")
    array[0, :4, :4] = 7
    array[-1, -4:, -4:] = 9
    swaps = np.array([[[0, 0, 0], [2048, 1020, 1020], [1, 4, 4]]], np.int32)
    swap.swap_in_place(array, cupy.asarray(swaps))
    assert (int(array[0, 0, 0]), int(array[-1, -1, -1]), int(array.astype("uint8").sum(dtype="int64"))) == (9, 7, 256)
