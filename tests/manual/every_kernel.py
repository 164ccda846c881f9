"""Run every kernel once on tiny arrays and compare it with its reference; compute-sanitizer checks this in minutes.

::

    compute-sanitizer --tool memcheck python -m tests.manual.every_kernel
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dali_cr import Swap
from dali_cr.ops import blur, contrast, decode, erase, gamma, gather, jitter, noise, standardize, swap, zscore
from dali_cr.ops.draw import blocks, disjoint, swaps
from dali_cr.ops.gpu import launch
from dali_cr.ops.records.crops import make_record
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import make_gather_record
from dali_cr.plan.swaps import draw_batch

Pair = tuple[Any, np.ndarray]
"""Arrays of a kernel and of its reference."""

CROP = (6, 9, 11)
WIDE_CROP = (6, 9, 16)


def on_device(array: np.ndarray) -> Any:
    """Return a copy on the device of the kernels."""
    return launch.array_module().asarray(array.copy())


def on_host(array: Any) -> np.ndarray:
    """Return a device's array as NumPy's."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def try_decode() -> Iterator[Pair]:
    """Run all dtypes and byte orders, with flipped and padded crops, both output dtypes, by voxels and by rows."""
    rng = np.random.default_rng(0)
    dtypes = ("|u1", "|i1", "<i2", ">u2", "<u4", ">i4", "<i8", ">u8", "<f4", ">f4", "<f8", ">f8")
    for crop, stored in itertools.product((CROP, WIDE_CROP), dtypes):
        volume = rng.integers(0, 100, (5, 7, 13)).astype(stored)
        row = np.zeros((1, -(-volume.nbytes // 16) * 16), np.uint8)
        row[0, : volume.nbytes] = np.frombuffer(volume.tobytes(), np.uint8)
        record = make_record(
            dtype=volume.dtype.newbyteorder("=").name,
            big_endian=stored[0] == ">",
            first_byte=0,
            itemsize=volume.itemsize,
            strides=(91, 13, 1),
            origin=(-1, 0, 2),
            flips=(True, False, stored[0] != ">"),
            crop=crop,
            shape=volume.shape,
            rescale=Rescale(1 / 3, -0.1, -5, 25, 0.5),
        )
        for dtype in ("float32", "float16"):
            wanted = decode.decode_volume_ref(row, record[None, None], crop, dtype)
            got = decode.decode_volume(on_device(row), on_device(record[None, None]), crop, dtype, twice=True)
            yield from ((one, wanted) for one in got)


NUMBERS = np.array([0, 7, 2**40 + 3, -1])
"""Small and large sample numbers, and a placeholder's."""

DRAWN = (((64, 65, 66), ((1, 4), (2, 2), (3, 9))), ((4, 4, 9), ((2, 2), (1, 2), (9, 9))))
"""Large and small crops, with the edges of their boxes."""


def drawn(axes: tuple[int, ...], on_gpu: Callable[..., None], ref: Callable[..., None], *sizes: Any) -> Pair:
    """Run a kernel that draws boxes (4, *axes, 3, 3)."""
    wanted = np.empty((len(NUMBERS), *axes, 3, 3), np.int32)
    got = on_device(wanted)
    on_gpu(2**63 + 5, on_device(NUMBERS), *sizes, got)
    ref(2**63 + 5, NUMBERS, *sizes, wanted)
    return got, wanted


def try_draw_swaps() -> Iterator[Pair]:
    """Run large and small crops."""
    for shape, edges in DRAWN:
        yield drawn((50,), swaps.draw_swaps_on_gpu, swaps.draw_swaps_ref, shape, edges)


def try_draw_disjoint() -> Iterator[Pair]:
    """Run two arrays per sample."""
    for shape, edges in DRAWN:
        yield drawn((2, 2), disjoint.draw_disjoint_on_gpu, disjoint.draw_disjoint_ref, shape, edges)


def try_draw_blocks() -> Iterator[Pair]:
    """Run grids whose last blocks are shorter."""
    for shape, _ in DRAWN:
        yield drawn((3,), blocks.draw_blocks_on_gpu, blocks.draw_blocks_ref, shape, (2, 2, 7))


def try_swap() -> Iterator[Pair]:
    """All widths."""
    for dtype in ("uint8", "float16", "float32", "float64"):
        wanted = np.arange(2 * 2 * 594).reshape(2, 2, *CROP).astype(dtype)
        boxes, got = draw_batch(0, [0, 1], CROP, Swap(12, (1, 4))), on_device(wanted)
        swap.swap_in_place(got, on_device(boxes))
        swap.swap_in_place_ref(wanted, boxes)
        yield got, wanted


def try_erase() -> Iterator[Pair]:
    """All widths."""
    for dtype in ("uint8", "float16", "float32", "float64"):
        wanted = np.arange(2 * 2 * 594).reshape(2, 2, *CROP).astype(dtype)
        fills = np.arange(4).reshape(2, 2).astype(dtype)
        boxes, got = draw_batch(0, [0, 1], CROP, Swap(12, (1, 4))), on_device(wanted)
        erase.erase_in_place(got, on_device(boxes), on_device(fills))
        erase.erase_in_place_ref(wanted, boxes, fills)
        yield got, wanted


def try_gather() -> Iterator[Pair]:
    """Run rotated and resized views that exceed the volume, and nearest-neighbour interpolation."""
    volume = np.random.default_rng(0).integers(0, 100, (5, 7, 13)).astype(">i2")
    row = np.zeros((1, -(-volume.nbytes // 16) * 16), np.uint8)
    row[0, : volume.nbytes] = np.frombuffer(volume.tobytes(), np.uint8)
    records = [
        make_gather_record(
            dtype="int16",
            big_endian=True,
            first_byte=0,
            itemsize=2,
            strides=(91, 13, 1),
            lo=(0, 0, 0),
            hi=volume.shape,
            rescale=Rescale(1 / 3, -0.1, -5, 25, 0.5),
            matrix=np.array([[0.8, 0.1, 0], [-0.1, 0.7, 0.2], [0, 0.1, -1.3]]),
            offset=np.array([-0.5, 1.25, 12.0]),
            nearest=nearest,
        )
        for nearest in (False, True)
    ]
    batch = np.stack(records)[None, :, None]
    yield gather.gather_views(on_device(row), on_device(batch), CROP), gather.gather_views_ref(row, batch, CROP)


def volumes() -> np.ndarray:
    """Return (3, 2, *CROP) float32."""
    return np.random.default_rng(0).normal(0.5, 1, (3, 2, *CROP)).astype(np.float32)


def try_blur() -> Iterator[Pair]:
    """Run sigmas of 0, small ones, and ones wider than the volume."""
    sigmas = np.array([[0, 0, 0], [0.5, 1.0, 2.0], [2.0, 0.2, 1.5]], np.float32)
    yield blur.blur(on_device(volumes()), on_device(sigmas), 8), blur.blur_ref(volumes(), sigmas)


def try_noise() -> Iterator[Pair]:
    """Noise."""
    stds, counters = np.array([0, 0.1, 0.25], np.float32), np.array([[7, 0], [7, 1], [2**40, 1]])
    got = noise.add_noise(on_device(volumes()), on_device(stds), 5, on_device(counters))
    yield got, noise.add_noise_ref(volumes(), stds, 5, counters)


def try_gamma() -> Iterator[Pair]:
    """Run exponents below and above 1."""
    exponents = np.array([0.75, 1.0, 1.35], np.float32)
    yield gamma.gamma(on_device(volumes()), on_device(exponents)), gamma.gamma_ref(volumes(), exponents)


def try_contrast() -> Iterator[Pair]:
    """Exponents on both sides of 1, and one of the volumes constant."""
    exponents, values = np.array([0.75, 1.0, 1.35], np.float32), volumes()
    values[2, 1] = 3
    got = contrast.adjust_contrast(on_device(values), on_device(exponents))
    yield got, contrast.adjust_contrast_ref(values, exponents)


def try_jitter() -> Iterator[Pair]:
    """Run both orders, and factors without effect."""
    factors = np.array([[1.4, 0.6, 0], [1.0, 1.0, 0], [0.7, 1.3, 1]], np.float32)
    yield jitter.jitter(on_device(volumes()), on_device(factors)), jitter.jitter_ref(volumes(), factors)


def try_zscore() -> Iterator[Pair]:
    """Run several volumes, one of them constant."""
    values = volumes()
    values[1, 1] = 3
    yield zscore.zscore(on_device(values)), zscore.zscore_ref(values)


def try_standardize() -> Iterator[Pair]:
    """Run a mean and a standard deviation."""
    yield (
        standardize.standardize(on_device(volumes()), 0.449, 0.226),
        standardize.standardize_ref(volumes(), 0.449, 0.226),
    )


TRIALS: tuple[Callable[[], Iterator[Pair]], ...] = (
    *(try_decode, try_draw_swaps, try_draw_disjoint, try_draw_blocks, try_swap, try_erase, try_gather),
    *(try_blur, try_noise, try_gamma, try_contrast, try_jitter, try_zscore, try_standardize),
)


def main() -> int:
    """Run all kernels; return the exit code, 1 if a kernel and its reference differ."""
    failed = 0
    for trial in TRIALS:
        pairs = [(on_host(got), wanted) for got, wanted in trial()]
        wrong = sum(got.shape != wanted.shape or got.tobytes() != wanted.tobytes() for got, wanted in pairs)
        print(f"{trial.__name__.removeprefix('try_'):<13} {len(pairs)} arrays, {wrong} wrong")
        failed += wrong
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
