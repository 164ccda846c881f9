"""Test damaged stores: each is refused with its name; `python -m tests.manual.fuzz_stores` tests more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.volume import reader
from dali_cr.volume.packed import writer
from dali_cr.volume.packed.store import Store, open_store
from tests.helpers import stores
from tests.manual import fuzz_stores


def test_damaged_stores_are_read_rightly_or_refused(tmp_path: Path) -> None:
    outcomes = fuzz_stores.run(tmp_path, seed=0, first=0, count=2000)
    assert outcomes.total() == 2000
    assert outcomes["refused"] > 1000
    assert outcomes["read"] > 200
    assert outcomes["other geometry"] < 20


@pytest.fixture
def store(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).integers(0, 50, (1, 40, 50, 60)).astype(np.int16)
    return stores.write(tmp_path / "a.ozx", voxels)


def test_a_flipped_bit_in_a_brick_is_found_by_scan(store: Path) -> None:
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 8
    store.write_bytes(content)
    (problem,) = dali_cr.scan(store.parent, progress=False).problems
    assert problem.path == "a.ozx"
    assert "of channel 0: its checksum is wrong" in problem.reason


@pytest.mark.parametrize("left", [0, 1, 30, 2000, 20_000, -1, -30])
def test_a_cut_store_is_refused(store: Path, left: int) -> None:
    content = store.read_bytes()
    store.write_bytes(content[:left])
    with pytest.raises(dali_cr.VolumeError, match=r"a.ozx: brick store that cannot be read"):
        dali_cr.read_volume(store)


def test_a_store_that_is_cut_while_it_is_open(store: Path) -> None:
    """Check that no SIGBUS occurs, as it would with a memory map."""
    opened = Store(store)
    os.truncate(store, 5000)
    with pytest.raises(dali_cr.VolumeError, match=r"a.ozx: brick \d+ of channel 0: the file ends early"):
        opened.read_start(2 * 40 * 50 * 60)


def test_a_store_that_changed_since_the_scan(store: Path) -> None:
    status = store.stat()
    known = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    out = np.empty(2 * 1000, np.uint8)
    box = ((0, 0, 0), (10, 10, 10))
    open_store(store, **known).read_box(0, *box, out)
    os.utime(store, ns=(0, 12345))
    for read in (
        lambda: reader.read_data(store, 100, **known),
        lambda: open_store(store, **known).read_box(0, *box, out),
    ):
        with pytest.raises(dali_cr.VolumeError, match=r"a.ozx: changed since the scan: its modification time differs"):
            read()
    # Another file replaces it while the first one is still open.
    os.utime(store, ns=(0, status.st_mtime_ns))
    open_store(store, **known)
    shutil.copy(store, store.with_name("b"))
    with open(store.with_name("b"), "ab") as file:
        file.write(b"more")
    os.replace(store.with_name("b"), store)
    with pytest.raises(dali_cr.VolumeError, match=r"a.ozx: changed since the scan: \d+ bytes then, \d+ now"):
        open_store(store, **known)
    store.unlink()
    with pytest.raises(dali_cr.VolumeError, match=r"a.ozx: cannot be opened: No such file"):
        open_store(store, **known)


def test_a_box_beyond_the_volume_or_the_memory_is_refused(store: Path) -> None:
    opened, out = Store(store), np.empty(2 * 27, np.uint8)
    opened.read_box(0, (37, 47, 57), (40, 50, 60), out)
    for start, stop in (((38, 47, 57), (41, 50, 60)), ((-1, 0, 0), (2, 3, 3)), ((3, 0, 0), (0, 3, 3))):
        with pytest.raises(ValueError, match=r"box: expected a box inside \(40, 50, 60\)"):
            opened.read_box(0, start, stop, out)
    for memory in (out[:-1], out.view(np.int16)):
        with pytest.raises(ValueError, match="out: expected uint8 for a box of"):
            opened.read_box(0, (0, 0, 0), (3, 3, 3), memory)


def test_failed_writes_leave_no_file(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store.read_bytes()
    voxels = np.ones((1, 4, 5, 6), np.int16)
    monkeypatch.setattr(os, "fdatasync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        stores.write(store, voxels)
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == ["a.ozx"]


def test_written_stores_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = writer.encode_brick
    monkeypatch.setattr(writer, "encode_brick", lambda brick, *how: really(brick ^ 1, *how))
    with pytest.raises(dali_cr.VolumeError, match="expected the voxels that were written, read others"):
        stores.write(tmp_path / "a.ozx", np.ones((1, 4, 5, 6), np.int16))
    assert not list(tmp_path.iterdir())
