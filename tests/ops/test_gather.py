"""Test `gather`: records, boxes and kernel give the same bits."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import gather as op
from dali_cr.ops.decode import decode_volume_ref
from dali_cr.ops.records.crops import make_record
from dali_cr.ops.records.layout import VIEW_WORDS
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import make_gather_record
from tests.cuda_on_cpu.host import ORDERS, HostCuda, compiler
from tests.ops.test_decode import ORDERED, RESCALES, aligned, numbers

Triple = tuple[int, int, int]
MODES = ["trilinear", "nearest", "clamped"]
MAPS = ["turned", "straight", "whole", "any", "odd"]

ODD = [np.nan, np.inf, -np.inf, 1e300, -1e17, 2.0**31, -(2.0**40), 1e-300]


def turned(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Return a scaled rotation by random angles."""
    return scale * np.linalg.qr(rng.normal(size=(3, 3)))[0]


def map_of(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix and offset of a map of kind `MAPS`, near a volume of up to 11 voxels per edge."""
    matrix = {
        "turned": turned(rng, rng.uniform(0.3, 2)),
        "straight": np.diag(rng.choice([-1, 1], 3) * rng.uniform(0.2, 3, 3)),
        "whole": np.diag(rng.choice([-2, -1, 1], 3)).astype(float)[rng.permutation(3)],
        "any": rng.normal(0, 2, (3, 3)),
        "odd": turned(rng, 1),
    }[kind]
    offset = rng.uniform(-3, 14, 3)
    if kind == "whole" or rng.random() < 0.5:
        offset = np.round(2 * offset) / 2
    if kind == "odd":
        matrix[tuple(rng.integers(0, 3, 2))] = rng.choice(ODD)
        offset[rng.integers(3)] = rng.choice(ODD)
    return matrix, offset


def packed_views(seed: int, counts: Triple, mode: str, in_arena: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return raw rows with one stored volume per channel, and records of views."""
    rng = np.random.default_rng(seed)
    rows, records = [], np.zeros((*counts, VIEW_WORDS), np.int64)
    for sample in range(counts[0]):
        row = b""
        for channel in range(counts[2]):
            dtype = ORDERED[rng.integers(len(ORDERED))]
            shape, axes, signs = rng.integers(1, 12, 3), rng.permutation(3), rng.choice([-1, 1], 3)
            stored = numbers(dtype, tuple(int(shape[a]) for a in axes), int(rng.integers(2**32)))
            steps = np.array(stored.strides) // stored.itemsize
            strides, base = np.zeros(3, int), 0
            for place, axis in enumerate(axes):
                strides[axis] = signs[axis] * steps[place]
                base += int(steps[place]) * (int(shape[axis]) - 1) if signs[axis] < 0 else 0
            lo = rng.integers(0, 2, 3) * (shape > 2)
            for view in range(counts[1]):
                matrix, offset = map_of(rng, MAPS[rng.integers(len(MAPS))])
                records[sample, view, channel] = make_gather_record(
                    dtype=np.dtype(dtype).newbyteorder("=").name,
                    big_endian=dtype[0] == ">",
                    first_byte=len(row) + base * stored.itemsize,
                    itemsize=stored.itemsize,
                    strides=strides.tolist(),
                    lo=lo,
                    hi=shape - rng.integers(0, 2, 3) * (shape > 3),
                    rescale=RESCALES[rng.integers(len(RESCALES))],
                    matrix=matrix,
                    offset=offset,
                    nearest=mode == "nearest",
                    clamped=mode == "clamped",
                    in_arena=in_arena,
                )
            row += stored.tobytes() + bytes(-stored.nbytes % 16)
        rows.append(np.frombuffer(row, np.uint8))
    raw = np.zeros((counts[0], max(row.size for row in rows)), np.uint8)
    for target, bytes_ in zip(raw, rows, strict=True):
        target[: bytes_.size] = bytes_
    return raw, records


def assert_same(got: np.ndarray, wanted: np.ndarray) -> None:
    quiet = np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(got), quiet)
    assert np.where(quiet, 0, got).tobytes() == np.where(quiet, 0, wanted).tobytes()


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 40)),
    order=st.sampled_from(ORDERS),
    mode=st.sampled_from(MODES),
)
@settings(max_examples=60, deadline=None)
def test_kernel_equals_reference(seed: int, shape: Triple, order: int, mode: str) -> None:
    cuda = HostCuda()
    cuda.order = order
    raw, records = packed_views(seed, (2, 2, 2), mode, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "array_module", lambda: cuda.arrays)
        patch.setattr(op.launch, "kernel", cuda.kernel)
        got = op.gather_views(aligned(raw), records, shape)
    assert_same(got, op.gather_views_ref(raw, records, shape))


def test_kernel_reads_the_arena(cuda_on_cpu: HostCuda) -> None:
    volume = aligned(np.arange(-30, 30, dtype="<i2").view(np.uint8)).view("<i2").reshape(3, 4, 5)
    record = make_gather_record(
        dtype="int16", big_endian=False, first_byte=0, itemsize=2, strides=(20, 5, 1), lo=(0, 0, 0), hi=(3, 4, 5),
        rescale=Rescale(), matrix=np.eye(3), offset=(0.25, -1, 0), in_arena=True,
    )  # fmt: skip
    row, arena = aligned(np.full((1, 16), 99, np.uint8)), volume.view(np.uint8).reshape(-1)
    got = op.gather_views(row, record[None, None, None], (2, 4, 5), arena=arena)
    assert_same(got, op.gather_views_ref(row, record[None, None, None], (2, 4, 5), arena=arena))
    np.testing.assert_array_equal(got[0, 0, 0, :, 1], volume[:2, 0] * 0.75 + volume[1:, 0] * 0.25)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(MAPS),
    out_shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 90)),
    mode=st.sampled_from(MODES),
    scale=st.sampled_from([1, 1e-12, 1e-18, 1e-25, 1e-30, 1e37]),
)
@settings(max_examples=150, deadline=None)
def test_box_equals_reference(seed: int, kind: str, out_shape: Triple, mode: str, scale: float) -> None:
    nearest, clamped = mode == "nearest", mode == "clamped"
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 12, 3))
    box = (rng.normal(0, scale, shape) * rng.choice([0, 1e-6, 1], shape)).astype("<f4")
    box[np.abs(box) < np.finfo(np.float32).tiny] = 0
    (matrix, offset), lo, padding = map_of(rng, kind), rng.integers(0, 3, 3), float(rng.choice([0, -1.5, 3 * scale]))
    strides = (shape[1] * shape[2], shape[2], 1)
    record = make_gather_record(
        dtype="float32", big_endian=False, first_byte=-4 * int(lo @ strides), itemsize=4, strides=strides,
        lo=lo, hi=lo + shape, rescale=Rescale(padding=padding), matrix=matrix, offset=offset,
        nearest=nearest, clamped=clamped,
    )  # fmt: skip
    wanted = op.gather_views_ref(np.frombuffer(box.tobytes(), np.uint8)[None], record[None, None, None], out_shape)
    got = np.full(out_shape, np.nan, np.float32)
    op.gather_box(box, lo, padding, matrix, offset, got, nearest, clamped)
    assert_same(got, wanted[0, 0, 0])
    turned_box = np.ascontiguousarray(box.T).T
    op.gather_box(turned_box, lo, padding, matrix, offset, got, nearest, clamped)
    assert_same(got, wanted[0, 0, 0])
    assert_same(by_hand(box, lo, padding, (matrix, offset), out_shape, mode), got)


def by_hand(
    box: np.ndarray, lo: np.ndarray, padding: float, look: tuple[np.ndarray, np.ndarray], shape: Triple, mode: str
) -> np.ndarray:
    """Gather in NumPy, with all corners at once."""
    matrix, offset = look
    d, h, w = np.ogrid[tuple(slice(0, n) for n in shape)]
    out, ends = [], zip(lo, lo + box.shape, strict=True)
    with np.errstate(over="ignore", invalid="ignore"):
        sources = [(offset[i] + matrix[i, 0] * d) + (matrix[i, 1] * h + matrix[i, 2] * w) for i in range(3)]
        if mode == "clamped":
            sources = [
                np.where(s >= a - 0.5, np.where(s > b - 0.5, float(b), np.clip(s, a, b - 1)), a - 2.0)
                for s, (a, b) in zip(sources, ends, strict=True)
            ]
        if mode == "nearest":
            return voxels_at(box, lo, padding, [np.floor(s + 0.5) for s in sources])
        below = [np.floor(s) for s in sources]
        parts = [np.where(np.isfinite(s), s - b, 0).astype(np.float32) for s, b in zip(sources, below, strict=True)]
        fractions = [(part + np.float32(1)) - np.float32(1) for part in parts]
        for corner in np.ndindex(2, 2, 2):
            out.append(voxels_at(box, lo, padding, [b + c for b, c in zip(below, corner, strict=True)]))
        for fraction in fractions[::-1]:
            out = [flushed(a + flushed(fraction * flushed(b - a))) for a, b in zip(out[::2], out[1::2], strict=True)]
    return out[0]


def flushed(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.float32(0), x)


def voxels_at(box: np.ndarray, lo: np.ndarray, padding: float, places: list[np.ndarray]) -> np.ndarray:
    local = [p - first for p, first in zip(places, lo, strict=True)]
    inside = np.logical_and.reduce([(p >= 0) & (p < n) for p, n in zip(local, box.shape, strict=True)])
    out = np.full(inside.shape, padding, np.float32)
    out[inside] = box[tuple(p[inside].astype(np.int64) for p in local)]
    return out


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_whole_steps_are_a_crop(seed: int) -> None:
    """Check that without rotation, at whole voxels, a view equals a crop of `decode_volume`."""
    rng = np.random.default_rng(seed)
    shape, crop = (tuple(int(n) for n in rng.integers(2, 9, 3)) for _ in range(2))
    volume, flips, origin = numbers("<i2", shape), rng.integers(0, 2, 3), rng.integers(-3, 4, 3)
    row = np.frombuffer(volume.tobytes() + bytes(16), np.uint8)[None]
    where: dict[str, Any] = {
        "dtype": "int16", "big_endian": False, "first_byte": 0, "itemsize": 2,
        "strides": (shape[1] * shape[2], shape[2], 1), "rescale": Rescale(0.1, 2, -5, 900, padding=7),
    }  # fmt: skip
    wanted = make_record(origin=origin.tolist(), flips=flips.astype(bool).tolist(), crop=crop, shape=shape, **where)
    offset = np.where(flips, origin + np.array(crop) - 1, origin)
    for mode in ({}, {"nearest": True}, {"clamped": True}):
        record = make_gather_record(
            lo=(0, 0, 0), hi=shape, matrix=np.diag(1 - 2 * flips), offset=offset, **mode, **where
        )
        got = op.gather_views_ref(row, record[None, None, None], crop)
        assert_same(got[:, 0], decode_volume_ref(row, wanted[None, None], crop))


@pytest.mark.parametrize("nearest", [False, True])
def test_agrees_with_scipy(nearest: bool) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(3)
    box = rng.normal(0, 1, (20, 22, 24)).astype(np.float32)
    for matrix in (turned(rng, 0.8), np.diag([1.3, -0.7, 0.9])):
        offset = np.array([10, 11, 12]) - matrix @ (9, 10, 11)
        got = np.empty((18, 20, 22), np.float32)
        op.gather_box(box, (0, 0, 0), 0.5, matrix, offset, got, nearest)
        order = 0 if nearest else 1
        mode = "grid-constant"
        wanted = ndimage.affine_transform(box, matrix, offset, got.shape, order=order, mode=mode, cval=0.5)
        np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_threads_do_not_share_work_memory() -> None:
    rng = np.random.default_rng(0)
    box = rng.random((40, 50, 60), dtype=np.float32)
    matrices, shapes = [turned(rng, 1) for _ in range(24)], [(8, 16, 16 + i) for i in range(24)]

    def gather(i: int) -> bytes:
        out = np.empty(shapes[i], np.float32)
        op.gather_box(box, (0, 0, 0), 0.0, matrices[i], (20, 20, 20), out)
        return out.tobytes()

    wanted = [gather(i) for i in range(24)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(gather, range(24))) == wanted


def test_a_half_goes_up() -> None:
    box, got = np.float32([[[1, 2, 4]]]), np.empty((1, 1, 4), np.float32)
    op.gather_box(box, (0, 0, 0), 9.0, np.eye(3), (0, 0, -0.5), got, nearest=True)
    np.testing.assert_array_equal(got, [[[1, 2, 4, 9]]])
    op.gather_box(box, (0, 0, 0), 9.0, np.eye(3), (0, 0, -0.75), got, nearest=True)
    np.testing.assert_array_equal(got, [[[9, 1, 2, 4]]])


def test_outside_is_padding_and_its_neighbours_blend() -> None:
    box, got = np.full((2, 2, 2), 4, np.float32), np.empty((2, 2, 6), np.float32)
    op.gather_box(box, (5, 5, 5), -1.0, np.eye(3), (5, 5, 3.5), got)
    np.testing.assert_array_equal(got, np.broadcast_to(np.float32([-1, 1.5, 4, 1.5, -1, -1]), got.shape))
    op.gather_box(box[:0], (5, 5, 5), -1.0, np.eye(3), (5, 5, 5), got)
    np.testing.assert_array_equal(got, -1)


def test_clamped_at_the_edges() -> None:
    """Check for the value at the edge up to half a voxel outside, and for the padding value farther outside."""
    box, got = np.float32([[[1, 2, 4]]]), np.empty((1, 1, 9), np.float32)
    op.gather_box(box, (0, 0, 5), 9.0, np.diag([1, 1, 0.5]), (0, 0, 4.25), got, clamped=True)
    np.testing.assert_array_equal(got, [[[9, 1, 1.25, 1.75, 2.5, 3.5, 4, 9, 9]]])
    got = np.empty((1, 1, 4), np.float32)
    op.gather_box(box, (0, 0, 5), 9.0, np.diag([1, 1, -1]), (-0.5, 0.5, 7.5), got, clamped=True)
    np.testing.assert_array_equal(got, [[[4, 3, 1.5, 1]]])


def test_refuses(cuda_on_cpu: HostCuda) -> None:
    raw, records = np.zeros((2, 32), np.uint8), np.zeros((2, 3, 1, VIEW_WORDS), np.int64)
    for wrong in (raw.astype(np.int8), raw[0], np.zeros((2, 64), np.uint8)[:, ::2]):
        with pytest.raises(TypeError, match="raw: expected a contiguous"):
            op.gather_views(wrong, records, (2, 2, 2))
    with pytest.raises(TypeError, match="records: expected"):
        op.gather_views(raw, records[:, 0], (2, 2, 2))
    for rows, words in ((raw[:1], records), (raw, records[..., :16].copy()), (np.zeros((2, 30), np.uint8), records)):
        with pytest.raises(ValueError, match="raw: expected|records: expected"):
            op.gather_views(rows, words, (2, 2, 2))
    with pytest.raises(ValueError, match="out: expected"):
        op.gather_box(np.zeros((2, 2, 2), np.float32), (0, 0, 0), 0, np.eye(3), (0, 0, 0), raw)
    with pytest.raises(ValueError, match="itemsize: expected 2 for int16, got 4"):
        make_gather_record(
            dtype="int16", big_endian=False, first_byte=0, itemsize=4, strides=(1, 1, 1), lo=(0, 0, 0), hi=(1, 1, 1),
            rescale=Rescale(), matrix=np.eye(3), offset=(0, 0, 0),
        )  # fmt: skip
    with pytest.raises(ValueError, match="nearest, clamped: expected at most one of them, got both"):
        op.gather_box(
            np.zeros((2, 2, 2), np.float32), (0, 0, 0), 0, np.eye(3), (0, 0, 0), np.empty((2, 2, 2), "f4"),
            nearest=True, clamped=True,
        )  # fmt: skip
