"""Damage brick stores at random; each must be read correctly or refused: ``python -m tests.manual.fuzz_stores``.

Case n is a function of (seed, n). In half of the cases the checksum is corrected after the damage, because reading
boxes does not check those of bricks. A case fails if it raises another error than `VolumeError`, or writes outside of
its target memory. Bricks with a valid checksum must contain the stored voxels.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import struct
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

import dali_cr
from dali_cr.volume import reader
from dali_cr.volume.geometry import DTYPES
from dali_cr.volume.packed.layout import read_layout
from dali_cr.volume.packed.metadata import ARRAY, GROUP, SHARD
from dali_cr.volume.packed.store import Store
from tests.helpers import stores

GUARD = 64
HOSTILE: list[Any] = [
    0,
    1,
    -1,
    2,
    31,
    32,
    33,
    2**31 - 1,
    2**31,
    2**63,
    1e308,
    "",
    "LPS",
    None,
    True,
    [],
    {},
    [0],
    ["x"],
]
Store_ = tuple[np.ndarray, bytes]


def seeds(folder: Path) -> list[tuple[np.ndarray, bytes]]:
    """Return voxels of every dtype and their stores, with shuffled, stored and empty bricks."""
    found = []
    for number, dtype in enumerate(DTYPES):
        rng = np.random.default_rng(number)
        shape = [(1, 8, 70, 60), (2, 3, 40, 50), (1, 33, 32, 33)][number % 3]
        voxels = (rng.integers(0, 9, shape) * 3).astype(dtype)
        voxels[:, : shape[1] // 2] = rng.integers(0, 100, (shape[0], shape[1] // 2, *shape[2:])).astype(dtype)
        voxels[:, :, :30, :32] = 0
        path = stores.write(folder / f"seed{number}.ozx", voxels)
        found.append((voxels, path.read_bytes()))
    return found


def flip(rng: np.random.Generator, content: bytearray) -> None:
    """Flip bits of any byte."""
    for at in rng.integers(0, len(content), rng.integers(1, 6)):
        content[at] ^= 1 << int(rng.integers(8))


def cut_or_grow(rng: np.random.Generator, content: bytearray) -> None:
    """Remove the end or a piece, or append noise."""
    at, more = int(rng.integers(0, len(content))), int(rng.integers(1, 300))
    [lambda: content.__delitem__(slice(at, None)), lambda: content.__delitem__(slice(at, at + more)),
     lambda: content.extend(rng.bytes(more))][rng.integers(3)]()  # fmt: skip


def set_document(rng: np.random.Generator, entries: dict[str, bytes]) -> None:
    """Set a value somewhere in a JSON document."""
    name = [GROUP, ARRAY][rng.integers(2)]
    place: Any = json.loads(entries[name])
    whole = place
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[rng.integers(len(keys))]
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.9:
            place = place[key]
            continue
        old = place[key]
        number = isinstance(old, (int, float)) and rng.random() < 0.5
        place[key] = old + int(rng.integers(-2, 3)) if number else HOSTILE[rng.integers(len(HOSTILE))]
        break
    entries[name] = json.dumps(whole).encode()


def set_table(rng: np.random.Generator, entries: dict[str, bytes]) -> None:
    """Change an entry of the table, and correct its checksum."""
    shard = bytearray(entries[SHARD])
    shape, brick = (json.loads(entries[ARRAY])[key] for key in ("shape", "codecs"))
    edges = brick[0]["configuration"]["chunk_shape"]
    length = 16 * int(np.prod([-(-n // e) for n, e in zip(shape, edges, strict=True)]))
    table = np.frombuffer(memoryview(shard)[-length - 4 : -4], "<u8")
    at = rng.integers(table.size)
    near = [int(table[at]) + int(rng.integers(-9, 10)), len(shard), 2**64 - 1, 2**63, 0, 24, 1 << 17]
    table[at] = near[rng.integers(len(near))] % 2**64
    shard[-4:] = struct.pack("<I", google_crc32c.value(bytes(shard[-length - 4 : -4])))
    entries[SHARD] = bytes(shard)


def set_brick(rng: np.random.Generator, entries: dict[str, bytes]) -> None:
    """Damage the beginning of the first brick; its checksum is wrong, but reading boxes does not check it."""
    shard = bytearray(entries[SHARD])
    first = int.from_bytes(shard[12:16], "little")
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, min(first, 60 if rng.random() < 0.7 else 1 << 20)))
        shard[at] = int(rng.integers(256))
    entries[SHARD] = bytes(shard)


def damage(rng: np.random.Generator, sound: bytes) -> bytes:
    """Return a damaged store."""
    if rng.random() < 0.4:
        content = bytearray(sound)
        [flip, flip, cut_or_grow][rng.integers(3)](rng, content)
        return bytes(content)
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    how: list[Callable[[np.random.Generator, dict[str, bytes]], None]] = [set_document, set_table, set_brick]
    how[rng.integers(3)](rng, entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def check(path: Path, voxels: np.ndarray) -> str:
    """Read a store; return "read", "other geometry" or "refused", or fail."""
    read_layout.cache_clear()
    with contextlib.suppress(dali_cr.VolumeError):
        read_a_box(path)
    try:
        found = reader.read_whole(path, voxels.nbytes)[0]
        geometry = reader.read_header(path)[0]
    except dali_cr.VolumeError as error:
        if path.name not in str(error):
            raise AssertionError(f"the message does not name the file: {error}") from error
        return "refused"
    if (geometry.frames, *geometry.shape) != voxels.shape or geometry.dtype != voxels.dtype.name:
        return "other geometry"
    assert found.tobytes()[: voxels.nbytes] == voxels.tobytes(), "other voxels than were stored"
    return "read"


def read_a_box(path: Path) -> None:
    """Read a channel between guards, without checking the checksums of bricks."""
    store = Store(path)
    geometry = store.layout.geometry
    size = geometry.voxels * geometry.itemsize
    if size > 1 << 24:
        return
    memory = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    try:
        store.read_box(0, (0, 0, 0), geometry.shape, memory[GUARD:-GUARD])
    finally:
        assert (memory[:GUARD] == 0xA5).all() and (memory[-GUARD:] == 0xA5).all(), "wrote outside of its memory"  # noqa: PT018


def run(folder: Path, seed: int, first: int, count: int) -> Counter[str]:
    """Run cases; return the count of each outcome."""
    sound, outcomes = seeds(folder), Counter[str]()
    for n in range(first, first + count):
        rng = np.random.Generator(np.random.Philox(key=[seed, n]))
        voxels, content = sound[n % len(sound)]
        path = folder / "case.ozx"
        path.write_bytes(damage(rng, content))
        try:
            outcomes[check(path, voxels)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {n}: {type(error).__name__}: {error}") from error
    return outcomes


def main() -> int:
    """Run many cases and print the outcomes."""
    parser = argparse.ArgumentParser(prog="python -m tests.manual.fuzz_stores", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), chosen.seed, chosen.first, chosen.count)
    for outcome, times in outcomes.most_common():
        print(f"{times:8}  {outcome}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
