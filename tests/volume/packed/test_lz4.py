"""Test LZ4 and zlib by C libraries and by compiled loops: the same bytes, and no write outside of the target."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from pathlib import Path
from typing import Any

import lz4.block
import numpy as np
import pytest

from dali_cr.volume.packed import deflate, loops
from dali_cr.volume.packed import lz4 as own
from dali_cr.volume.packed.store import Store
from tests.helpers import stores

GUARD = 32
WAYS = (own.decompress_by_c, own.decompress_by_loops)


def compressed(content: np.ndarray, level: int = 5) -> np.ndarray:
    packed = lz4.block.compress(content.data, "high_compression", compression=level, store_size=False)
    return np.frombuffer(packed, np.uint8).copy()


def decompress(way: Any, block: np.ndarray, capacity: int, fill: int = 0) -> tuple[int, bytes]:
    """Return the result and output of a decoder; the block ends its memory, and guards surround the target."""
    memory = np.full(capacity + 2 * GUARD, fill, np.uint8)
    source = np.concatenate([np.zeros(3, np.uint8), block])
    size = way(source, 3, block.size, memory, GUARD, capacity)
    assert (memory[:GUARD] == fill).all()
    assert (memory[GUARD + capacity :] == fill).all()
    return int(size), memory[GUARD : GUARD + max(0, size)].tobytes()


def contents() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    runs = np.repeat(rng.integers(0, 9, 3000), rng.integers(1, 40, 3000)).astype(np.uint8)
    periods = [np.tile(rng.integers(0, 256, period).astype(np.uint8), 900) for period in (1, 2, 3, 5, 7, 15, 17)]
    small = [np.arange(size, dtype=np.uint8) for size in (1, 4, 5, 12, 13, 14, 300)]
    return [runs, *periods, *small, rng.integers(0, 256, 70000).astype(np.uint8), np.zeros(1 << 17, np.uint8)]


def test_the_libraries_are_found() -> None:
    """Fails if a later wheel hides the function; then loops replace it, six times as slow."""
    assert own.C_FUNCTION.exists()
    assert own.decompress is own.decompress_by_c
    assert deflate.C_FUNCTION.exists()


@pytest.mark.parametrize("way", WAYS)
def test_blocks_are_decompressed(way: Any) -> None:
    for content in contents():
        for level in (1, 5, 12):
            block = compressed(content, level)
            assert decompress(way, block, content.size) == (content.size, content.tobytes())
            assert decompress(way, block, content.size + 100) == (content.size, content.tobytes())
            assert decompress(way, block, content.size - 1)[0] < 0


def test_damaged_blocks_give_the_same_both_ways() -> None:
    """Except for a distance of 0, which the format forbids: the library then copies previous memory contents."""
    rng = np.random.default_rng(1)
    sound = [compressed(content) for content in contents() if content.size < 10_000]
    accepted = compared = 0
    for number in range(4000):
        block = sound[number % len(sound)].copy()
        for at in rng.integers(0, min(block.size, 40 if number % 3 else block.size), rng.integers(1, 4)):
            block[at] = rng.integers(256)
        block = block[: rng.integers(1, block.size + 1)] if number % 4 == 0 else block
        capacity = int(rng.integers(0, 12_000))
        first, second = (decompress(own.decompress_by_c, block, capacity, fill) for fill in (0xA5, 0x5A))
        loops_say = decompress(own.decompress_by_loops, block, capacity)
        accepted += loops_say[0] >= 0
        if first == second:
            compared += 1
            assert (first[0] < 0) == (loops_say[0] < 0) or zero_distance(block)
            assert first[0] < 0 or first == loops_say or zero_distance(block)
    assert accepted > 400
    assert compared > 3500


def test_damaged_zlib_streams_stay_inside_their_memory() -> None:
    rng = np.random.default_rng(2)
    content = rng.integers(0, 20, 40_000).astype(np.uint8)
    sound = np.frombuffer(zlib.compress(content.data, 9), np.uint8)
    state = np.zeros(deflate.STATE_BYTES, np.uint8)

    def way(source: np.ndarray, at: int, size: int, target: np.ndarray, to: int, capacity: int) -> int:
        return int(deflate.decompress_zlib(source, at, size, target, to, capacity, state))

    assert decompress(way, sound, content.size) == (content.size, content.tobytes())
    assert decompress(way, sound, content.size - 1)[0] < 0
    for number in range(2000):
        block = sound[: rng.integers(1, sound.size + 1)].copy() if number % 3 == 0 else sound.copy()
        for at in rng.integers(0, min(block.size, 200 if number % 2 else block.size), rng.integers(1, 4)):
            block[at] = rng.integers(256)
        decompress(way, block, int(rng.integers(0, 50_000)))
    assert decompress(way, sound, content.size) == (content.size, content.tobytes())


def zero_distance(block: np.ndarray) -> bool:
    """Return whether a block has a match at distance 0."""
    at, content = 0, block.tobytes()

    def length(at: int, start: int) -> tuple[int, int]:
        more = 255 if start == 15 else 0
        while more == 255 and at < len(content):
            more = content[at]
            start, at = start + more, at + 1
        return at, start

    while at < len(content):
        token = content[at]
        at, literals = length(at + 1, token >> 4)
        at += literals
        if at + 2 > len(content):
            return False
        if content[at : at + 2] == b"\0\0":
            return True
        at, _ = length(at + 2, token & 15)
    return False


def test_bricks_are_read_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.random.default_rng(0).integers(0, 50, (1, 40, 50, 60)).astype(np.int16)
    path = stores.write(tmp_path / "a.ozx", voxels)
    monkeypatch.setattr(own, "decompress", own.decompress_by_loops)
    spec = importlib.util.spec_from_file_location("loops_without", loops.__file__)
    assert spec is not None
    assert spec.loader is not None
    without = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "loops_without", without)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))  # the code has the name of its module
    spec.loader.exec_module(without)
    assert without.decompress is own.decompress_by_loops
    monkeypatch.setattr("dali_cr.volume.packed.store.read_bricks", without.read_bricks)
    assert Store(path).read_start(voxels.nbytes).tobytes() == voxels.tobytes()
