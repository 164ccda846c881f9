"""Test reading bytes of files: right or refused, without allocating memory that the file cannot fill."""

import gzip
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from dali_cr import VolumeError
from dali_cr.system import scratch
from dali_cr.volume import igzip, reader
from tests.helpers.volumes import write_nifti

NUMBERS = np.random.default_rng(0).integers(-500, 500, (20, 18, 16))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "v.nii.gz", NUMBERS)


def stop_of(path: Path) -> int:
    geometry, _ = reader.read_header(path)
    return geometry.data_offset + geometry.data_bytes


def damaged(path: Path, at: int) -> Path:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)
    return path


def test_a_part_and_the_whole(packed: Path) -> None:
    whole, digest = reader.read_whole(packed, stop_of(packed))
    whole = whole.copy()
    part = reader.read_data(packed, 1000)
    np.testing.assert_array_equal(part, whole[:1000])
    assert whole.tobytes() == gzip.decompress(packed.read_bytes())
    assert len(digest) == 64


def test_plain_files_are_mapped(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", NUMBERS)
    whole, digest = reader.read_whole(path, stop_of(path))
    assert whole.tobytes() == path.read_bytes()
    assert not whole.flags.writeable
    assert digest == __import__("hashlib").sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("keep", [0, 1, 200, 2000, -1, -8])
def test_truncated(packed: Path, keep: int) -> None:
    stop = stop_of(packed)
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(
        VolumeError, match="v.nii.gz: (empty|damaged|ends early|too short|not a NIfTI|its header declares)"
    ):
        reader.read_header(packed)
        reader.read_whole(packed, stop)


@pytest.mark.parametrize("at", [-1, -5, -40, 900])
def test_flipped_bit(packed: Path, at: int) -> None:
    with pytest.raises(VolumeError, match="damaged gzip stream"):
        reader.read_whole(damaged(packed, at), stop_of(packed))


def test_truncated_plain(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", NUMBERS)
    stop = stop_of(path)
    os.truncate(path, 5000)
    with pytest.raises(VolumeError, match=f"ends early: its header declares {stop} bytes, the file has 5000"):
        reader.read_data(path, stop)


def test_changed_since_the_scan(packed: Path) -> None:
    status = packed.stat()
    known = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    reader.read_data(packed, 1000, **known)
    os.utime(packed, ns=(0, 1))
    with pytest.raises(VolumeError, match="changed since the scan: its modification time"):
        reader.read_data(packed, 1000, **known)
    packed.write_bytes(packed.read_bytes() + b"\0")
    with pytest.raises(VolumeError, match=r"changed since the scan: \d+ bytes then"):
        reader.read_data(packed, 1000, **known)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    for read in (reader.read_header, lambda path: reader.read_data(path, 8), lambda path: reader.read_whole(path, 8)):
        with pytest.raises(VolumeError, match="gone.nii: cannot be (opened|read): No such file"):
            read(tmp_path / "gone.nii")
        with pytest.raises(VolumeError, match="it is a folder, not a file"):
            read(tmp_path)


def test_a_header_of_more_voxels_than_gzip_can_contain(packed: Path) -> None:
    with pytest.raises(VolumeError, match="more than"):
        reader.read_data(packed, 10**13)
    assert "decompressed" not in vars(scratch._scratch) or len(scratch._scratch.decompressed) < 10**9


def test_pairs(tmp_path: Path) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Pair(NUMBERS.astype(np.int16), np.eye(4)), tmp_path / "pair.hdr")
    geometry, data = reader.read_header(tmp_path / "pair.hdr")
    assert data.name == "pair.img"
    assert geometry.data_bytes == NUMBERS.size * 2
    (tmp_path / "pair.img").unlink()
    with pytest.raises(VolumeError, match="pair.img is missing"):
        reader.read_header(tmp_path / "pair.hdr")


def header_of(shape: tuple[int, ...]) -> bytes:
    """Return a NIfTI-1 header of uint8 voxels, with the extension flag."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header["dim"][: len(shape) + 1] = len(shape), *shape
    header["pixdim"][:4], header["magic"], header["vox_offset"] = 1, b"n+1", 352
    return header.binaryblock + bytes(4)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_header_that_declares_ten_terabytes(tmp_path: Path, suffix: str) -> None:
    content = header_of((32000, 32000, 10000)) + bytes(1000)
    path = tmp_path / f"huge.nii{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(VolumeError, match="huge.nii.*its header declares 10240000000352 bytes"):
        reader.read_whole(path, stop_of(path))


def test_a_gzip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test a header of a hundred voxels before a gibibyte of zeros, of which only 1 MiB is read."""
    decompress, sizes = igzip._decompress, []
    monkeypatch.setattr(scratch, "_scratch", threading.local())
    monkeypatch.setattr(igzip, "_decompress", lambda *about: sizes.append(decompress(*about)) or sizes[-1])
    members = gzip.compress(bytes(1 << 26), 9) * 16
    path = tmp_path / "bomb.nii.gz"
    for content in (gzip.compress(header_of((5, 5, 4)) + bytes(100)) + members, gzip.compress(bytes(452)) * 50_000):
        path.write_bytes(content)
        with pytest.raises(VolumeError, match=r"bomb.nii.gz: (its header declares 452 bytes|is \d+ bytes long)"):
            reader.read_whole(path, 452)
    assert 452 < sum(sizes) < 1 << 21
    assert all(len(kept) < 1 << 22 for kept in vars(scratch._scratch).values() if kept)


def test_a_sparse_file_of_a_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "sparse.nii"
    path.write_bytes(header_of((5, 5, 4)))
    os.truncate(path, 1 << 40)
    with pytest.raises(VolumeError, match="sparse.nii: is 1099511627776 bytes long, but its header declares only 452"):
        reader.read_whole(path, stop_of(path))


def test_more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.nii.gz"
    path.write_bytes(gzip.compress(header_of((400, 400, 400)) + bytes(64_000_000), 1))
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    with pytest.raises(VolumeError, match="declares 64000352 bytes, this machine has 4096000 bytes of memory"):
        reader.read_whole(path, stop_of(path))


def test_a_footer_is_no_attack(packed: Path) -> None:
    stop = stop_of(packed)
    packed.write_bytes(packed.read_bytes() + gzip.compress(b"a footer" * 1000))
    assert len(reader.read_whole(packed, stop)[0]) == stop
