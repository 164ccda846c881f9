"""Test decoding: lookup table, arithmetic, records and kernel give the same bits."""

import ctypes
import mmap
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.ops import decode as op
from dali_cr.ops.records.crops import make_record
from dali_cr.ops.records.layout import RECORD_WORDS
from dali_cr.ops.records.rescale import Rescale
from tests.cuda_on_cpu.host import ORDERS, HostCuda
from tests.helpers.decoding import ORDERED, RESCALES, aligned_rows, check_bits, numbers


@pytest.mark.parametrize("rescale", RESCALES, ids=repr)
@pytest.mark.parametrize("dtype", ORDERED)
def test_by_hand(dtype: str, rescale: Rescale) -> None:
    """Compare with single voxels computed in Python floats, which are float64."""
    raw = numbers(dtype, (4, 5, 6))
    out = np.empty(raw.shape, np.float32)
    op.decode_channel(raw, rescale, out)
    tiny = np.finfo(np.float32).tiny
    for got, value in zip(out.ravel(), raw.ravel(), strict=True):
        x = float(value)
        if dtype[1:] == "f4" and abs(x) < tiny:
            x = 0.0
        with np.errstate(over="ignore"):
            wanted = np.float32(x * rescale.scale + rescale.shift)
        wanted = np.float32(0) if abs(wanted) < tiny else wanted
        wanted = min(max(wanted, np.float32(rescale.low)), np.float32(rescale.high)) if wanted == wanted else wanted
        wanted = wanted if rescale.keep or np.isfinite(x) else np.float32(rescale.padding)
        assert got.tobytes() == np.float32(wanted).tobytes() or (got != got and wanted != wanted), (value, got, wanted)


@pytest.mark.parametrize("dtype", ORDERED)
@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_any_strides_and_a_copy_in_the_same_pass(dtype: str, stored: str) -> None:
    raw = numbers(dtype, (7, 9, 11))
    wide = numbers(dtype, (7, 9, 22))
    views = (raw, raw[::-1, :, ::-1], raw[:, ::-1], raw.transpose(2, 0, 1), raw.T[::-1], wide[..., ::2], raw[2:3, 1:4])
    for rescale in RESCALES:
        for view in views:
            assert decoded(view, rescale, stored).tobytes() == decoded(view.copy(order="C"), rescale, stored).tobytes()
            around = np.full((view.shape[0] + 1, view.shape[1] + 3, view.shape[2] + 2), np.float16(3), stored)
            copy = around.copy()
            op.decode_channel(view, rescale, around, copy, first=(1, 1, 2))
            wanted = np.full_like(around, np.float32(rescale.padding))
            wanted[1:, 1 : 1 + view.shape[1], 2:] = decoded(view, rescale, stored)
            assert around.tobytes() == copy.tobytes() == wanted.tobytes()


def decoded(raw: np.ndarray, rescale: Rescale, dtype: str = "float32") -> np.ndarray:
    out = np.empty(raw.shape, dtype)
    op.decode_channel(raw, rescale, out)
    return out


def test_no_voxel_inside_has_the_padding_value() -> None:
    out = np.empty((2, 2, 2), np.float32)
    op.decode_channel(np.empty((2, 0, 2), ">f4"), Rescale(padding=7), out, first=(0, 1, 0))
    assert (out == 7).all()


def test_channel_refuses() -> None:
    raw, out = np.zeros((2, 3, 4), np.int16), np.zeros((2, 3, 4), np.float32)
    for wrong, copy, first, message in (
        (out.astype(np.float64), None, (0, 0, 0), "float32 or float16"),
        (out, out.astype(np.float16), (0, 0, 0), "one shape and dtype"),
        (out, out[:1], (0, 0, 0), "one shape and dtype"),
        (np.empty((2, 3, 8), np.float32)[..., ::2], None, (0, 0, 0), "contiguous"),
        (out, None, (0, 0, 1), "fits into"),
        (out, None, (-1, 0, 0), "fits into"),
    ):
        with pytest.raises(ValueError, match=message):
            op.decode_channel(raw, Rescale(), wrong, copy, first)


def test_a_signalling_nan_is_a_nan() -> None:
    raw = np.array([[[0x7F800001, 0xFFA00000]]], np.uint32).view(np.float32)
    assert decoded(raw, Rescale(padding=3)).tolist() == [[[3, 3]]]


@pytest.mark.parametrize("shift", [0.0, 1e-21, -1e-30, 1e-19, -0.5, 3.0])
@pytest.mark.parametrize("scale", [1e-38, 1e-19, 0.1, 1 / 3, -7e-5])
def test_no_subnormal_comes_of_integers(scale: float, shift: float) -> None:
    """Check also sums close to 0."""
    raw = np.append(np.arange(-32768, 32768), round(-shift / scale) if abs(shift / scale) < 2**31 else 0).astype("<i4")
    out = decoded(raw.reshape(1, 1, -1), Rescale(scale, shift))
    assert ((np.abs(out) >= np.finfo(np.float32).tiny) | (out.view(np.uint32) == 0)).all()


def packed_batch(seed: int, samples: int, channels: int, crop: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return raw rows and records of whole volumes stored in every dtype, order and orientation."""
    rng = np.random.default_rng(seed)
    rows, records = [], np.zeros((samples, channels, RECORD_WORDS), np.int64)
    for sample in range(samples):
        row = b""
        for channel in range(channels):
            dtype = ORDERED[rng.integers(len(ORDERED))]
            shape = tuple(int(n) for n in rng.integers(1, 12, 3))
            axes, signs = rng.permutation(3), rng.choice([-1, 1], 3)
            stored = numbers(dtype, tuple(shape[a] for a in axes), int(rng.integers(2**32)))
            steps = np.array([stored[0, 0].size * stored.shape[1], stored.shape[2], 1])
            steps[0] = stored.shape[1] * stored.shape[2]
            strides, base = [0, 0, 0], 0
            for place, axis in enumerate(axes):
                strides[axis] = int(signs[axis] * steps[place])
                base += int(steps[place]) * (shape[axis] - 1) if signs[axis] < 0 else 0
            origin = [int(rng.integers(-2, max(n - 1, 1))) for n in shape]
            records[sample, channel] = make_record(
                dtype=np.dtype(dtype).newbyteorder("=").name,
                big_endian=dtype[0] == ">",
                first_byte=len(row) + base * stored.itemsize,
                itemsize=stored.itemsize,
                strides=strides,
                origin=origin,
                flips=[bool(f) for f in rng.integers(0, 2, 3)],
                crop=crop,
                shape=shape,
                rescale=RESCALES[rng.integers(len(RESCALES))],
            )
            row += stored.tobytes() + bytes(-stored.nbytes % 16)
        rows.append(np.frombuffer(row, np.uint8))
    raw = np.zeros((samples, max(r.size for r in rows)), np.uint8)
    for target, row_ in zip(raw, rows, strict=True):
        target[: row_.size] = row_
    return raw, records


def aligned(raw: np.ndarray) -> np.ndarray:
    """Return a copy at an address that is a multiple of 16, as a GPU's allocations are."""
    memory = np.empty(raw.size + 16, np.uint8)
    copy = memory[-memory.ctypes.data % 16 :][: raw.size].reshape(raw.shape)
    copy[...] = raw
    return copy


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@given(
    seed=st.integers(0, 2**32),
    crop=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40)),
    order=st.sampled_from(ORDERS),
    dtype=st.sampled_from(["float32", "float16"]),
)
@settings(max_examples=60, deadline=None)
def test_kernel_equals_reference(seed: int, crop: tuple[int, int, int], order: int, dtype: str) -> None:
    cuda = HostCuda()
    cuda.order = order
    raw, records = packed_batch(seed, 2, 2, crop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op.launch, "array_module", lambda: cuda.arrays)
        patch.setattr(op.launch, "kernel", cuda.kernel)
        target, copy = op.decode_volume(aligned(raw), records, crop, dtype, twice=True)
        alone = op.decode_volume(aligned(raw), records, crop, dtype)
    expected = op.decode_volume_ref(raw, records, crop, dtype)
    for got in (target, copy, alone):
        check_bits(got, expected)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_kernel_reads_rows_at_any_alignment(cuda_on_cpu: HostCuda, dtype: str, twice: bool) -> None:
    raw, records = aligned_rows((3, 4, 16), ORDERED)
    cuda_on_cpu.order = 2
    got = op.decode_volume(aligned(raw), records, (3, 4, 16), dtype, twice=twice)
    expected = op.decode_volume_ref(raw, records, (3, 4, 16), dtype)
    for one in got if twice else (got,):
        check_bits(one, expected)


def between_pages(raw: np.ndarray, at_end: bool) -> np.ndarray:
    """Return a copy that starts or ends at a protected page, where a load ends the process."""
    libc, page = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    inner = -(-raw.nbytes // page) * page
    memory = np.frombuffer(mmap.mmap(-1, inner + 2 * page), np.uint8)
    for start in (0, page + inner):
        assert libc.mprotect(memory.ctypes.data + start, page, 0) == 0
    copy = memory[page + (inner - raw.nbytes if at_end else 0) :][: raw.nbytes].reshape(raw.shape)
    copy[...] = raw
    return copy


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.skipif(sys.platform != "linux", reason="mprotect by Linux's numbers")
@pytest.mark.parametrize("at_end", [False, True], ids=["front", "end"])
def test_kernel_reads_nothing_outside(cuda_on_cpu: HostCuda, at_end: bool) -> None:
    for stored in ("|u1", "<i2", ">f4", "<f8"):
        raw, records = aligned_rows((3, 4, 16), [stored])
        volume = numbers(stored, (3, 4, 37))
        lead = raw.shape[1] - volume.nbytes if at_end else 0
        raw[0, lead : lead + volume.nbytes] = np.frombuffer(volume.tobytes(), np.uint8)
        records[..., 0] += lead - volume.itemsize
        for dtype in ("float32", "float16"):
            got = op.decode_volume(between_pages(raw, at_end), records, (3, 4, 16), dtype)
            check_bits(got, op.decode_volume_ref(raw, records, (3, 4, 16), dtype))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("crop", [(3, 17, 136), (2, 41, 131), (1, 90, 8)], ids=str)
def test_kernel_goes_on_along_rows_and_over_them(
    cuda_on_cpu: HostCuda, monkeypatch: pytest.MonkeyPatch, crop: tuple[int, int, int], dtype: str
) -> None:
    monkeypatch.setattr(op.launch, "_BLOCKS", 1)
    shape = (3, 40, 137)
    raw, records = aligned_rows(crop, ["<i2", ">f4"], shape)
    records = np.ascontiguousarray(records[:, ::29])
    check_bits(op.decode_volume(aligned(raw), records, crop, dtype), op.decode_volume_ref(raw, records, crop, dtype))


def test_half_is_rounded_as_numpy_does(cuda_on_cpu: HostCuda) -> None:
    """Test every float16, the midpoints between them, and their neighbours in float32."""
    every = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = np.append((every[1:] + every[:-1]) / 2, [np.float32(65520), np.float32(1e9)])
    near = np.concatenate([every, middles, np.nextafter(middles, 0), np.nextafter(middles, np.float32(np.inf))])
    values = np.concatenate([near, -near]).astype("<f4")
    values = np.append(values, np.zeros(-values.size % 4, np.float32)).reshape(1, 1, -1)
    record = make_record(
        dtype="float32", big_endian=False, first_byte=0, itemsize=4, strides=(0, 0, 1), origin=(0, 0, 0),
        flips=(False,) * 3, crop=values.shape, shape=values.shape, rescale=Rescale(),
    )  # fmt: skip
    raw = aligned(values.view(np.uint8).reshape(1, -1))
    got = op.decode_volume(raw, record[None, None], values.shape, "float16")
    with np.errstate(over="ignore"):
        expected = op.decode_volume_ref(raw, record[None, None], values.shape, "float16")
    assert got.tobytes() == expected.tobytes()


def test_padding_value_is_that_of_the_record() -> None:
    """Rounded directly to float16, the first value would go up; through float32 it goes to even."""
    for padding, wanted in ((1 + 2**-11 + 2**-40, 1.0), (1e-42, 0.0), (-1e-42, 0.0), (0.1, np.float16(0.1))):
        rescale = Rescale(padding=padding)
        out = np.empty((1, 1, 1), np.float16)
        out[...] = rescale.padding
        record = make_record(
            dtype="uint8", big_endian=False, first_byte=0, itemsize=1, strides=(1, 1, 1), origin=(5, 5, 5),
            flips=(False,) * 3, crop=(1, 1, 1), shape=(2, 2, 2), rescale=rescale,
        )  # fmt: skip
        decoded = op.decode_volume_ref(np.zeros((1, 16), np.uint8), record[None, None], (1, 1, 1), "float16")
        assert out.tobytes() == decoded.tobytes() == np.float16(wanted).tobytes()


def test_wrapper_refuses(cuda_on_cpu: HostCuda) -> None:
    raw, records = np.zeros((2, 32), np.uint8), np.zeros((2, 1, RECORD_WORDS), np.int64)
    for wrong in (raw.astype(np.int8), raw[0], np.zeros((2, 64), np.uint8)[:, ::2]):
        with pytest.raises(TypeError, match="raw: expected a contiguous"):
            op.decode_volume(wrong, records, (2, 2, 2))
    with pytest.raises(TypeError, match="records: expected"):
        op.decode_volume(raw, records.astype(np.int32), (2, 2, 2))
    for rows, words, message in (
        (raw[:1], records, r"records: .* \(1, C, 16\), got int64 \(2, 1, 16\)"),
        (raw, np.zeros((2, 1, 8), np.int64), r"records: .* \(2, C, 16\), got int64 \(2, 1, 8\)"),
        (np.zeros((2, 30), np.uint8), records, "raw: expected rows of a multiple of 16 bytes, got 30"),
    ):
        with pytest.raises(ValueError, match=message):
            op.decode_volume(rows, words, (2, 2, 2))
