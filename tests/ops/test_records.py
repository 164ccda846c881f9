"""Test the words of records: written by Python, read by kernels/record.cuh and kernels/gather.cu."""

import re

import numpy as np
import pytest

from dali_cr.ops.gpu.launch import cuda_source
from dali_cr.ops.records.crops import make_record, place_crops
from dali_cr.ops.records.layout import (
    BIG_ENDIAN,
    CLAMPED,
    IN_ARENA,
    KEEP,
    NEAREST,
    RECORD,
    RECORD_WORDS,
    TRILINEAR,
    VIEW_RECORD,
    VIEW_WORDS,
)
from dali_cr.ops.records.rescale import Rescale, describe
from dali_cr.ops.records.views import make_gather_record
from dali_cr.volume.geometry import DTYPES

COMMON = {
    "start": 0,
    "code": 1,
    "flags": 1,
    "strides": 2,
    "lo": 5,
    "hi": 8,
    "scale": 11,
    "shift": 12,
    "low": 13,
    "high": 13,
    "padding": 14,
    "mode": 15,
}
WORDS = {"matrix": 16, "offset": 25}
RESCALE = Rescale(1 / 3, -0.1, -5, 25, 0.5)


@pytest.mark.parametrize(("dtype", "fields", "words"), [(RECORD, COMMON, 16), (VIEW_RECORD, COMMON | WORDS, 32)])
def test_fields_lie_in_their_words(dtype: np.dtype, fields: dict[str, int], words: int) -> None:
    assert dtype.itemsize == 8 * words
    assert dtype.fields is not None
    assert {name: offset // 8 for name, (_, offset, *_) in dtype.fields.items()} == fields
    taken = np.zeros(dtype.itemsize, int)
    for kind, offset, *_ in dtype.fields.values():
        taken[offset : offset + kind.itemsize] += 1
    assert taken.max() == 1


def test_the_kernels_read_the_same_words() -> None:
    """Check the words and bits in the CUDA sources."""
    header, gather = cuda_source("record.cuh"), cuda_source("gather.cu")
    taken = {
        "start": r"r\.start = words\[(\d+)\]",
        "code": r"r\.code = \(int\)\(words\[(\d+)\] & 0xff\)",
        "strides": r"r\.stride\[axis\] = words\[(\d+) \+ axis\]",
        "lo": r"r\.lo\[axis\] = \(int\)words\[(\d+) \+ axis\]",
        "hi": r"r\.hi\[axis\] = \(int\)words\[(\d+) \+ axis\]",
        "scale": r"r\.scale = __longlong_as_double\(words\[(\d+)\]\)",
        "shift": r"r\.shift = __longlong_as_double\(words\[(\d+)\]\)",
        "low": r"r\.low = __uint_as_float\(\(unsigned int\)\(words\[(\d+)\] & 0xffffffff",
        "high": r"r\.high = __uint_as_float\(\(unsigned int\)\(\(unsigned long long\)words\[(\d+)\] >> 32\)\)",
        "padding": r"r\.padding = __uint_as_float\(\(unsigned int\)\(words\[(\d+)\] & 0xffffffff",
    }
    for name, pattern in taken.items():
        assert re.findall(pattern, header) == [str(COMMON[name])], name
    for name, bit in (("big_endian", BIG_ENDIAN), ("keep", KEEP), ("in_arena", IN_ARENA)):
        (shift,) = re.findall(rf"r\.{name} = \(words\[1\] >> (\d+)\) & 1", header)
        assert 1 << (int(shift) - 8) == bit
    assert (RECORD_WORDS, VIEW_WORDS) == (16, 32)
    for name, place in (("matrix", 16), ("offset", 25), ("mode", 15)):
        assert re.search(rf"words\[{place}\b", gather), name


def test_a_crops_words() -> None:
    """Check that flips are in the strides and the first voxel, and that indices are those of the crop."""
    words = make_record(
        dtype="int16", big_endian=True, first_byte=1000, itemsize=2, strides=(-60, 6, 1), origin=(-2, 3, 1),
        flips=(True, False, True), crop=(8, 9, 4), shape=(5, 10, 6), rescale=RESCALE, in_arena=True,
    )  # fmt: skip
    assert words.dtype == np.int64
    assert words.shape == (16,)
    # Output voxel (0, 0, 0) is canonical (-2 + 7, 3, 1 + 3).
    assert words[0] == 1000 + 2 * (-60 * 5 + 6 * 3 + 1 * 4)
    assert words[1] == DTYPES.index("int16") | 1 << 8 | 1 << 10
    assert words[2:5].tolist() == [60, 6, -1]
    assert words[5:8].tolist() == [8 - 2 - 5, 0, 0]
    assert words[8:11].tolist() == [8 - 2, 7, 4]
    assert words[11:13].view(np.float64).tolist() == [1 / 3, -0.1]
    assert words[13:15].view(np.float32).tolist() == [-5, 25, 0.5, 0]
    assert words[15] == TRILINEAR == 0


@pytest.mark.parametrize("mode", ["trilinear", "nearest", "clamped"])
def test_a_views_words(mode: str) -> None:
    matrix, offset = np.arange(9.0).reshape(3, 3) / 7, np.array([0.5, -1.5, 1e300])
    words = make_gather_record(
        dtype="float64", big_endian=False, first_byte=-16, itemsize=8, strides=(30, -6, 1), lo=(0, 1, 2),
        hi=(5, 6, 7), rescale=Rescale(keep=True), matrix=matrix, offset=offset, nearest=mode == "nearest",
        clamped=mode == "clamped",
    )  # fmt: skip
    assert words.shape == (32,)
    assert words[0] == -16
    assert words[1] == DTYPES.index("float64") | 1 << 9
    assert words[2:11].tolist() == [30, -6, 1, 0, 1, 2, 5, 6, 7]
    assert words[15] == {"trilinear": TRILINEAR, "nearest": NEAREST, "clamped": CLAMPED}[mode]
    assert words[16:25].view(np.float64).tobytes() == matrix.tobytes()
    assert words[25:28].view(np.float64).tobytes() == offset.tobytes()
    assert not words[28:].any()


def test_a_batch_is_its_records() -> None:
    """Check that records of a batch equal those of single samples."""
    rng = np.random.default_rng(0)
    samples, channels, crop = 5, 2, (7, 8, 9)
    firsts, strides = rng.integers(-999, 999, (samples, channels)), rng.integers(-99, 99, (samples, channels, 3))
    origins, shapes = rng.integers(-9, 12, (samples, 3)), rng.integers(1, 20, (samples, 3))
    flips, dtypes = rng.random((samples, 3)) < 0.5, ("uint8", "float32")
    words = np.zeros((samples, channels, 16), np.int64)
    itemsizes = np.broadcast_to(np.array([1, 4]), (samples, channels)).copy()
    for c, dtype in enumerate(dtypes):
        for record in words.view(RECORD)[:, c, 0]:
            describe(dtype, c == 1, RESCALE, record)
    place_crops(words, firsts, strides, itemsizes, origins, flips, crop, shapes)
    for i in range(samples):
        for c, dtype in enumerate(dtypes):
            alone = make_record(
                dtype=dtype, big_endian=c == 1, first_byte=int(firsts[i, c]), itemsize=int(itemsizes[i, c]),
                strides=strides[i, c].tolist(), origin=origins[i].tolist(), flips=flips[i].tolist(), crop=crop,
                shape=tuple(shapes[i].tolist()), rescale=RESCALE,
            )  # fmt: skip
            assert words[i, c].tolist() == alone.tolist()


def test_refuses_another_item_size_and_two_modes() -> None:
    crop = {"first_byte": 0, "strides": (1, 1, 1), "rescale": RESCALE, "big_endian": False}
    rest = {"origin": (0, 0, 0), "flips": (False,) * 3, "crop": (1, 1, 1), "shape": (1, 1, 1)}
    with pytest.raises(ValueError, match="itemsize: expected 2 for int16, got 4"):
        make_record(dtype="int16", itemsize=4, **crop, **rest)  # type: ignore[arg-type]
    view = {"lo": (0, 0, 0), "hi": (1, 1, 1), "matrix": np.eye(3), "offset": np.zeros(3)}
    with pytest.raises(ValueError, match="itemsize: expected 2 for int16, got 4"):
        make_gather_record(dtype="int16", itemsize=4, **crop, **view)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nearest, clamped: expected at most one of them, got both"):
        make_gather_record(dtype="int16", itemsize=2, nearest=True, clamped=True, **crop, **view)  # type: ignore[arg-type]
