"""Damage volumes at random; each must be read correctly or refused: ``python -m tests.manual.fuzz --count 100000``.

Case n is a function of (seed, n). A case fails if it raises another error than `VolumeError`, returns other numbers
than nibabel, needs more than a second of CPU time, or more memory than its file could fill. Its file is then copied to
`KEPT`, whose files a test reads; tests do not check the time.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import logging
import math
import re
import shutil
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import dali_cr
from dali_cr.index.values.frames import read_volumes
from dali_cr.volume.geometry import DTYPES
from tests.helpers.volumes import ORIENTATIONS, expected, random_numbers, write_nifti

SECONDS = 1.0
KEPT = Path(__file__).resolve().parent / "damaged"
HOSTILE = [
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    255,
    348,
    352,
    540,
    2**15 - 1,
    -(2**15),
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    -(2**63),
]
HOSTILE_REAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e-310, 1e30, -1e38, 1.7e308, 352.5, 1e9, -352.0]
TINY = float(np.finfo(np.float32).tiny)


def seeds(folder: Path) -> list[bytes]:
    """Return small valid volumes of every dtype, byte order and header, not compressed."""
    rng = np.random.default_rng(0)
    kinds = itertools.cycle([nib.Nifti1Image, nib.Nifti1Image, nib.Nifti2Image])
    content = []
    for i, (dtype, order) in enumerate(itertools.product(DTYPES, "<>")):
        shape = [(6, 5, 4), (7, 3, 2, 3), (9, 8, 1), (12, 10, 8)][i % 4]
        stored = order + np.dtype(dtype).str[1:]
        path = write_nifti(
            folder / "seed.nii",
            random_numbers(rng, shape, stored),
            orientation=ORIENTATIONS[(5 * i) % 48],
            dtype=stored,
            slope=[None, 0.5, -2.0][i % 3],
            intercept=[0.0, 1.5, -3.0][i % 3],
            kind=next(kinds),
        )
        content.append(path.read_bytes())
    return content


def warm_up(folder: Path) -> list[bytes]:
    """Read a valid volume of each kind, so that no case includes compile time; return them."""
    sound = seeds(folder)
    for content in sound:
        path = folder / "sound.nii"
        path.write_bytes(content)
        dali_cr.read_volume(path)
    return sound


def damage(rng: np.random.Generator, sound: bytes) -> tuple[str, bytes]:
    """Return a damaged file and its suffix."""
    content = bytearray(sound)
    for _ in range(rng.integers(0, 4)):
        [set_field, set_field, set_field, flip_bits, cut_or_grow, declare_shape][rng.integers(6)](rng, content)
    if rng.random() < 0.5:
        return ".nii", bytes(content)
    if rng.random() < 0.05:
        content += bytes(int(rng.integers(1, 1 << 22)))
    packed = bytearray(gzip.compress(bytes(content), int(rng.integers(0, 7)), mtime=0))
    for _ in range(rng.integers(0, 3)):
        [flip_bits, flip_anywhere, cut_or_grow, repeat][rng.integers(4)](rng, packed)
    return ".nii.gz", bytes(packed)


def set_field(rng: np.random.Generator, content: bytearray) -> None:
    """Set one number of a field of the header to a hostile value."""
    first = int.from_bytes(content[:4], "little")
    kind = nib.Nifti2Header if first in (540, 0x1C020000) else nib.Nifti1Header
    dtype: Any = kind.template_dtype.newbyteorder("<" if first in (348, 540) else ">")
    if len(content) < dtype.itemsize:
        return
    header = np.frombuffer(content, dtype, 1)
    often = [
        "dim",
        "dim",
        "datatype",
        "bitpix",
        "pixdim",
        "vox_offset",
        "scl_slope",
        "scl_inter",
        "srow_x",
        "sform_code",
    ]
    name = str(rng.choice(often)) if rng.random() < 0.7 else str(rng.choice(dtype.names))
    field = header[name].reshape(-1)
    if field.dtype.kind == "S":
        return
    at = rng.integers(field.size)
    values = HOSTILE_REAL if field.dtype.kind == "f" else HOSTILE
    with np.errstate(all="ignore"):
        value = np.asarray(values[rng.integers(len(values))]).astype(field.dtype)
        near = np.asarray(field[at] + rng.integers(-2, 3)).astype(field.dtype)
        field[at] = value if rng.random() < 0.7 else near


def flip_bits(rng: np.random.Generator, content: bytearray) -> None:
    """Flip bits of the header."""
    for at in rng.integers(0, max(1, min(len(content), 560)), rng.integers(1, 6)):
        if at < len(content):
            content[at] ^= 1 << int(rng.integers(8))


def flip_anywhere(rng: np.random.Generator, content: bytearray) -> None:
    """Flip bits of any byte."""
    for at in rng.integers(0, max(1, len(content)), rng.integers(1, 6)):
        if at < len(content):
            content[at] ^= 1 << int(rng.integers(8))


def cut_or_grow(rng: np.random.Generator, content: bytearray) -> None:
    """Cut the end off, or append zeros or noise."""
    if rng.random() < 0.5:
        del content[int(rng.integers(0, len(content) + 1)) :]
    else:
        more = int(rng.integers(1, 2000))
        content += bytes(more) if rng.random() < 0.5 else rng.bytes(more)


def declare_shape(rng: np.random.Generator, content: bytearray) -> None:
    """Set the shape in the header to anything from a few voxels to more than any file can contain."""
    if len(content) >= 348 and int.from_bytes(content[:4], "little") == 348:
        axes = int(rng.integers(1, 8))
        dim = np.ones(8, "<i2")
        dim[0], dim[1 : axes + 1] = axes, 2 ** rng.integers(0, 15, axes)
        content[40:56] = dim.tobytes()


def repeat(rng: np.random.Generator, packed: bytearray) -> None:
    """Append gzip members: a copy, an empty one, or many zeros."""
    more = [bytes(packed), gzip.compress(b"", mtime=0), gzip.compress(bytes(1 << 16), mtime=0)][rng.integers(3)]
    packed += more * int(rng.integers(1, 40))


def check(path: Path, seconds: float = math.inf) -> str:
    """Read a file; return "read", "only ours" or the reason for refusing it; fail on other errors or a timeout."""
    most = (1032 if path.read_bytes()[:2] == b"\x1f\x8b" else 8) * path.stat().st_size
    started, before = time.thread_time(), tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    ours, refusal = None, None
    try:
        ours = dali_cr.read_volume(path)
        # A readable file may still be refused as a sample: constant volumes, too many frames.
        read_volumes(path.parent, path.name, "channels")
    except dali_cr.VolumeError as error:
        refusal = error
    taken, peak = time.thread_time() - started, tracemalloc.get_traced_memory()[1] - before
    assert taken < seconds, f"{taken:.2f} s"
    assert peak < 16 * most + (16 << 20), f"{peak} bytes for a file of {path.stat().st_size}"
    if refusal is not None:
        assert path.name in str(refusal), f"the message does not name the file: {refusal}"
    if ours is None:
        return re.sub(r"-?\d\S*|-?inf\b|nan\b|\(.*", "N", str(refusal and refusal.reason).split(":")[0])
    return compare(path, ours)


def compare(path: Path, ours: np.ndarray) -> str:
    """Compare with nibabel, if it can read the file."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            image = nib.load(path)
            values, (slope, inter) = expected(path), image.header.get_slope_inter()
            rounded = values.astype(np.float32)
            raw = values if slope is None else (values - inter) / slope
            if image.dataobj.offset == 0:
                return "only ours"  # nibabel reads the header as voxels
    except Exception:  # nibabel raises many kinds of errors for damaged files
        return "only ours"
    rounded[np.abs(rounded) < TINY] = 0
    same = (ours == rounded) | np.isnan(ours) & np.isnan(rounded)
    subnormal = np.abs(raw) < 2 * TINY if image.get_data_dtype().itemsize == 4 else np.zeros_like(same)
    assert (same | subnormal).all(), f"{np.count_nonzero(~same)} of {same.size} voxels differ from nibabel's"
    return "read"


def run(
    folder: Path, seed: int, first: int, count: int, *, kept: Path | None = None, seconds: float = math.inf
) -> Counter[str]:
    """Run cases; return the count of each outcome. The first failure is raised, or its file is copied to `kept`."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)
    sound, outcomes = warm_up(folder), Counter[str]()
    tracemalloc.start(1)
    try:
        for n in range(first, first + count):
            rng = np.random.Generator(np.random.Philox(key=[seed, n]))
            suffix, content = damage(rng, sound[n % len(sound)])
            path = folder / f"case{suffix}"
            path.write_bytes(content)
            try:
                outcomes[check(path, seconds)] += 1
            except Exception as error:
                if kept is None:
                    raise AssertionError(f"seed {seed}, case {n}: {type(error).__name__}: {error}") from error
                outcomes["FAILED"] += 1
                own = shutil.copy(path, kept / f"seed_{seed}_case_{n}{suffix}")
                print(f"seed {seed}, case {n}: {type(error).__name__}: {error}; kept as {own}")
    finally:
        tracemalloc.stop()
    return outcomes


def main() -> int:
    """Run many cases and print the outcomes."""
    parser = argparse.ArgumentParser(prog="python -m tests.manual.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), chosen.seed, chosen.first, chosen.count, kept=KEPT, seconds=SECONDS)
    for outcome, times in outcomes.most_common():
        print(f"{times:8}  {outcome}")
    return int(outcomes["FAILED"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
