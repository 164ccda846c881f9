"""Test `pack` and `unpack`: the same samples, lossless conversion, and interrupted runs."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from dali_cr.__main__ import main
from dali_cr.read.boxes import read_boxes
from dali_cr.read.cache import open_cache
from dali_cr.read.packed import read_box
from dali_cr.volume.packed import originals
from dali_cr.volume.packed.store import Store
from tests.helpers.volumes import DATA, NIBABEL, expected, nifti_files, write_nifti
from tests.manual.kill_packing import run_and_kill

CROPS = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(8, (2, 6)), foreground=0.5)
RECIPES: dict[str, Any] = {
    "crops": CROPS,
    "slices": replace(CROPS, crop=(1, 16, 16), slices=dali_cr.Slices("D")),
    "spacing": replace(CROPS, spacing=(1.5, 1.0, 0.8), normalize="percentile"),
    "views": dali_cr.Views(),
}


def pack(source: Path, out: Path, **options: Any) -> Any:
    return dali_cr.pack(source, out, progress=False, **options)


def samples(index: dali_cr.Index, recipe: Any, **options: Any) -> list[bytes]:
    """Return the tensors of twelve samples."""
    with dali_cr.Loader(index, recipe, batch_size=4, device="cpu", seed=5, **options) as loader:
        batches = [batch for _, batch in zip(range(3), loader.stream(), strict=False)]
    tensors = [batch[name] for batch in batches for name in sorted(batch) if name != "case"]
    return [tensor.numpy().tobytes() for tensor in tensors]


@pytest.fixture(scope="session")
def packed_index(mixed_index: dali_cr.Index, tmp_path_factory: pytest.TempPathFactory) -> dali_cr.Index:
    folder = tmp_path_factory.mktemp("packed")
    pack(mixed_index.root, folder)
    return dali_cr.scan(folder, progress=False)


def test_an_index_of_stores_is_that_of_their_originals(
    mixed_index: dali_cr.Index, packed_index: dali_cr.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packed_index.fingerprint == mixed_index.fingerprint
    assert [case.name for case in packed_index] == [case.name for case in mixed_index]
    packed_index.save(tmp_path / "index.json")
    for again in (packed_index, dali_cr.Index.load(tmp_path / "index.json")):
        for packed, plain in zip(again, mixed_index, strict=True):
            (one,), (other,) = packed.volumes, plain.volumes
            assert (one.packed, other.packed) == (True, False)
            assert one.data == str(Path(other.data).name.split(".")[0]) + ".ozx"
            assert one.statistics == other.statistics
            assert (one.path, one.sha256, one.content_sha256) == (other.path, other.sha256, other.content_sha256)
            assert one.cache_key != other.cache_key == other.sha256
            assert (one.geometry.affine, one.geometry.spacing) == (other.geometry.affine, other.geometry.spacing)
            assert one.orientation == other.orientation
            np.testing.assert_array_equal(one.foreground, other.foreground)
            for ours, theirs in zip(one.occupied, other.occupied, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert not packed_index.changed()
    monkeypatch.delattr("dali_cr.index.values.frames.measure")  # nothing is read again
    known = dali_cr.scan(packed_index.root, known=packed_index, progress=False)
    assert known.fingerprint == packed_index.fingerprint
    assert not known.problems


@pytest.mark.parametrize("name", RECIPES)
def test_samples_have_the_same_bits(mixed_index: dali_cr.Index, packed_index: dali_cr.Index, name: str) -> None:
    plain = samples(mixed_index, RECIPES[name])
    assert samples(packed_index, RECIPES[name], threads=3) == plain
    assert samples(packed_index, RECIPES[name], cache=("host:50MB",)) == plain


def test_a_run_resumes_with_packed_data(mixed_index: dali_cr.Index, packed_index: dali_cr.Index) -> None:
    def numbers(batches: Any) -> list[bytes]:
        return [batch["input"].numpy().tobytes() for _, batch in zip(range(4), batches, strict=False)]

    with dali_cr.Loader(mixed_index, CROPS, batch_size=3, device="cpu") as whole:
        wanted = numbers(whole.stream())
    with dali_cr.Loader(mixed_index, CROPS, batch_size=3, device="cpu") as first:
        begun = [batch["input"].numpy().tobytes() for _, batch in zip(range(2), first.stream(), strict=False)]
        state = first.state_dict()
    with dali_cr.Loader(packed_index, CROPS, batch_size=3, device="cpu") as second:
        second.load_state_dict(state)
        assert (begun + numbers(second.stream()))[:4] == wanted


def test_channels_whose_axes_differ(tmp_path: Path) -> None:
    """Test a rotation by 45 degrees, where rounding decides the axes: both channels are read along the same axes."""
    rng = np.random.default_rng(0)
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(z=np.pi / 4), [3, 4, 5])
    for case, axes in (("a", [0, 1, 2]), ("b", [1, 0, 2])):
        (tmp_path / "in" / case).mkdir(parents=True)
        for channel, order in (("t1", [0, 1, 2]), ("t2", axes)):
            numbers = rng.integers(0, 99, (20, 24, 22)).astype(np.int16).transpose(order)
            image = nib.Nifti1Image(numbers, turned[:, [*order, 3]])
            nib.save(image, tmp_path / "in" / case / f"{channel}.nii.gz")
    pack(tmp_path / "in", tmp_path / "out")
    plain, packed = (dali_cr.scan(tmp_path / name, "{case}/{channel}.nii.gz", progress=False) for name in ("in", "out"))
    assert packed.fingerprint == plain.fingerprint
    turned_volume = packed.cases[1].volumes[1]
    assert abs(turned_volume.geometry.strides[2]) != 1
    assert samples(packed, CROPS) == samples(plain, CROPS)
    box, shape = ((1, 2, 3), (9, 11, 8)), (8, 9, 5)
    out = np.empty(2 * 8 * 9 * 5, np.uint8)
    read_box(turned_volume, packed.root, *box, out)
    ((_, _, raw),) = read_boxes(open_cache((), plain), plain.root, plain.cases[1], *box, channels=[1])
    np.testing.assert_array_equal(out.view("<i2").reshape(shape), raw)
    plain.save(tmp_path / "index.json")
    pack(tmp_path / "index.json", tmp_path / "of index")
    assert samples(dali_cr.Index.load(tmp_path / "of index" / "index.json"), CROPS) == samples(plain, CROPS)


def test_an_index_is_packed_without_measuring_again(
    mixed_index: dali_cr.Index, packed_index: dali_cr.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_index.save(tmp_path / "index.json")
    monkeypatch.delattr("dali_cr.index.values.frames.measure")
    pack(tmp_path / "index.json", tmp_path / "out")
    index = dali_cr.Index.load(tmp_path / "out" / "index.json")
    assert index.fingerprint == packed_index.fingerprint
    assert index.root == tmp_path / "out"
    assert [v.statistics for c in index for v in c.volumes] == [v.statistics for c in mixed_index for v in c.volumes]
    assert samples(index, CROPS) == samples(mixed_index, CROPS)
    with pytest.raises(FileNotFoundError, match="00.nii: is packed already"):
        pack(tmp_path / "out" / "index.json", tmp_path / "again")


@pytest.mark.parametrize("source", [NIBABEL, DATA / "nifti_odd"], ids=["nibabel", "odd"])
def test_every_file_comes_back(tmp_path: Path, source: Path) -> None:
    """Test all readable files; pairs are unpacked as one file. Real data in the second folder are optional."""
    files = [path.relative_to(source).as_posix() for path in nifti_files(source)]
    if not files:
        with pytest.raises(FileNotFoundError):
            pack(source, tmp_path / "packed")
        return
    done = pack(source, tmp_path / "packed")
    assert not dali_cr.unpack(tmp_path / "packed", tmp_path / "back", progress=False).problems
    assert {*(file.path for file in done.files), *(problem.path for problem in done.problems)} == set(files)
    for problem in done.problems:
        with pytest.raises(dali_cr.VolumeError):
            dali_cr.read_volume(source / problem.path)
    for file in done.files:
        name = (
            file.path if not file.path.endswith((".hdr", ".hdr.gz")) else f"{file.target.removesuffix('.ozx')}.nii.gz"
        )
        compare(source / file.path, tmp_path / "back" / name)
    assert len(done.files) >= 6


def compare(path: Path, returned: Path) -> None:
    """Compare voxels, geometry and intensity fields of a file and its unpacked copy."""
    was, now = nib.load(path), nib.load(returned)
    np.testing.assert_array_equal(expected(path), expected(returned))
    np.testing.assert_array_equal(was.affine, now.affine)
    assert was.shape == now.shape
    assert was.get_data_dtype() == now.get_data_dtype()
    for name in was.header:
        if name not in (*originals.TEXTS, "magic", "vox_offset", "sizeof_hdr"):
            np.testing.assert_array_equal(was.header[name], now.header[name], err_msg=name)
        if name in originals.TEXTS:
            assert not bytes(np.asarray(now.header[name]).tobytes()).strip(b"\0")
    assert not now.header.extensions
    ours, theirs = (originals.read_original(place, "x").voxels.tobytes() for place in (path, returned))
    assert ours == theirs


def test_texts_are_blanked_unless_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header["descrip"], image.header["aux_file"], image.header["db_name"] = b"Doe, Jane", b"jane.txt", b"ward 3"
    image.header["cal_max"] = 33
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane was here"))
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "a.nii.gz")
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert "dropped     1 header extension of 1 file" in capsys.readouterr().out
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "kept"), "--keep-text"]) == 0
    for name, texts in (("out", (b"", b"", b"")), ("kept", (b"Doe, Jane", b"jane.txt", b"ward 3"))):
        dali_cr.unpack(tmp_path / name / "a.ozx", tmp_path / f"{name} again", progress=False)
        header = nib.load(tmp_path / f"{name} again" / "a.nii.gz").header
        assert tuple(header[field].item() for field in ("descrip", "aux_file", "db_name")) == texts
        assert header["cal_max"] == 33
        assert not header.extensions
        assert b"Jane was here" not in (tmp_path / name / "a.ozx").read_bytes()


def test_a_second_run_packs_new_and_changed_files(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "sub/c"):
        write_nifti(source / f"{name}.nii.gz", np.arange(60).reshape(3, 4, 5))
    assert [file.state for file in pack(source, out).files] == ["new"] * 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.ozx")}
    write_nifti(source / "b.nii.gz", np.arange(60).reshape(3, 4, 5)[::-1])
    os.utime(source / "b.nii.gz", ns=(0, 1))
    content = (out / "a.ozx").read_bytes()
    (out / "a.ozx").write_bytes(content[:-50])
    (out / "gone.ozx").write_bytes(content)
    done = pack(source, out, executor=ThreadPoolExecutor(1))
    assert {file.path: file.state for file in done.files} == {
        "a.nii.gz": "new", "b.nii.gz": "new", "sub/c.nii.gz": "kept",
    }  # fmt: skip
    assert (out / "sub" / "c.ozx").stat().st_mtime_ns == before[out / "sub" / "c.ozx"]
    assert [problem.path for problem in done.problems] == ["gone.ozx"]
    np.testing.assert_array_equal(dali_cr.read_volume(out / "b.ozx"), dali_cr.read_volume(source / "b.nii.gz"))


def test_files_of_one_stem_have_separate_stores(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        write_nifti(tmp_path / "in" / name, np.arange(60).reshape(3, 4, 5) + len(name))
    done = pack(tmp_path / "in", tmp_path / "out")
    assert [file.target for file in done.files] == ["a.nii.ozx", "a.nii.gz.ozx"]
    index = dali_cr.scan(tmp_path / "out", progress=False)
    assert [case.name for case in index] == ["a.nii", "a.nii.gz"]
    assert index.fingerprint == dali_cr.scan(tmp_path / "in", progress=False).fingerprint
    dali_cr.unpack(tmp_path / "out", tmp_path / "back", progress=False)
    for name in ("a.nii", "a.nii.gz"):
        compare(tmp_path / "in" / name, tmp_path / "back" / name)


def test_refused_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nifti(tmp_path / "in" / "a.nii.gz", np.arange(60).reshape(3, 4, 5))
    (tmp_path / "in" / "broken.nii").write_bytes(b"no volume")
    (tmp_path / "in" / "b.png").touch()
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "refused     broken.nii: too short for a NIfTI header" in captured.out
    assert "ignored     1 .png" in captured.out
    assert "int16              1" in captured.out
    assert captured.err.endswith("dali-cr: pack: 1 file refused, for the reasons above\n")
    index = dali_cr.scan(tmp_path / "in", progress=False)
    index.save(tmp_path / "index.json")
    write_nifti(tmp_path / "in" / "a.nii.gz", np.arange(120).reshape(6, 4, 5))
    with pytest.raises(FileNotFoundError, match=r"a.nii.gz: changed since the scan"):
        pack(tmp_path / "index.json", tmp_path / "other")
    for source, out, message in (
        (tmp_path / "in", tmp_path / "in" / "packed", "out: expected a folder outside"),
        (tmp_path / "nothing", tmp_path / "x", "nothing does not exist"),
        (tmp_path / "out", tmp_path / "x", "expected NIfTI volumes to pack, got none"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            pack(source, out)
    with pytest.raises(ValueError, match="level: expected 1 to 12, got 13"):
        pack(tmp_path / "in", tmp_path / "x", level=13)
    with pytest.raises(FileNotFoundError, match="expected brick stores"):
        dali_cr.unpack(tmp_path / "in", tmp_path / "x", progress=False)
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "x"), "--jobs", "0"]) == 2


def test_a_killed_run_leaves_whole_stores(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    rng = np.random.default_rng(0)
    for number in range(6):
        write_nifti(source / f"{number}.nii.gz", rng.integers(0, 99, (90, 90, 60)))
    for kill in range(3):
        run_and_kill(source, out, seed=kill)
        for path in out.rglob("*.ozx"):
            Store(path).verify()
    done = pack(source, out)
    assert len(done.files) == 6
    assert not done.problems
    assert not list(out.rglob("*.part"))
    for path in source.iterdir():
        np.testing.assert_array_equal(dali_cr.read_volume(path), dali_cr.read_volume(out / f"{path.name[0]}.ozx"))


def test_layout_files_are_copied(tmp_path: Path) -> None:
    """Check that a scan of the stores finds the same layout and channels as for the originals."""
    for case in ("a", "b"):
        for channel in (0, 1):
            numbers = np.random.default_rng(channel).integers(0, 99, (9, 8, 7))
            write_nifti(tmp_path / "in" / "imagesTr" / f"{case}_000{channel}.nii.gz", numbers + ord(case))
        write_nifti(tmp_path / "in" / "labelsTr" / f"{case}.nii.gz", np.arange(504).reshape(9, 8, 7) % 3)
    (tmp_path / "in" / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"x": 1}}')
    pack(tmp_path / "in", tmp_path / "out")
    plain, packed = (dali_cr.scan(tmp_path / name, progress=False) for name in ("in", "out"))
    assert packed.layout == plain.layout == "nnunet"
    assert packed.channel_names == plain.channel_names == ("T1", "T2")
    assert packed.fingerprint == plain.fingerprint
    assert packed.ignored == plain.ignored == {".nii.gz in labelsTr": 2, ".json": 1}


def test_stores_have_the_names_of_their_originals(tmp_path: Path) -> None:
    """Test lists, CSV files and patterns; a store next to its original is refused."""
    write_nifti(tmp_path / "in" / "a.nii.gz", np.arange(60).reshape(3, 4, 5))
    write_nifti(tmp_path / "in" / "b.nii", np.arange(60).reshape(3, 4, 5) * 2)
    pack(tmp_path / "in", tmp_path / "out")
    wanted = dali_cr.scan(tmp_path / "in", "*.nii.gz", progress=False).fingerprint
    assert dali_cr.scan(tmp_path / "out", "*.nii.gz", progress=False).fingerprint == wanted
    assert dali_cr.scan(files=[tmp_path / "out" / "a.ozx"], progress=False).fingerprint == wanted
    for name in ("a.nii.gz", "a.ozx"):
        (tmp_path / "out" / "list.csv").write_text(f"path\n{name}\n")
        assert dali_cr.scan(tmp_path / "out" / "list.csv", progress=False).fingerprint == wanted
    shutil.copy(tmp_path / "in" / "a.nii.gz", tmp_path / "out")
    shutil.copy(tmp_path / "out" / "b.ozx", tmp_path / "out" / "b2.ozx")
    index = dali_cr.scan(tmp_path / "out", progress=False)
    assert [case.volumes[0].data for case in index] == ["a.nii.gz", "b.ozx"]
    assert {problem.path: problem.reason for problem in index.problems} == {
        "a.ozx": "made from a.nii.gz, which also exists as a.nii.gz",
        "b2.ozx": "made from b.nii, which also exists as b.ozx",
    }


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_bits_of_nan_and_of_minus_zero_come_back(tmp_path: Path, dtype: str) -> None:
    numbers = np.random.default_rng(0).random((5, 6, 7))
    path = write_nifti(tmp_path / "in" / "a.nii", numbers, dtype=dtype, orientation="PIR")
    content = bytearray(path.read_bytes())
    voxels = np.frombuffer(memoryview(content)[352:], dtype.replace("f", "u"))
    single = (0x7FA00001, 0x7FC00123, 1 << 31)  # a signalling NaN, a quiet one with a payload, -0.0
    voxels[:3] = single if "4" in dtype else (0x7FF4 << 48 | 1, 0x7FF8 << 48 | 9, 1 << 63)
    voxels[-100:] = voxels[2]
    path.write_bytes(content)
    pack(tmp_path / "in", tmp_path / "out")
    dali_cr.unpack(tmp_path / "out", tmp_path / "back", progress=False)
    assert (tmp_path / "back" / "a.nii").read_bytes() == bytes(content)


def test_packing_with_processes(tmp_path: Path) -> None:
    for number in range(3):
        write_nifti(tmp_path / "in" / f"{number}.nii.gz", np.arange(60).reshape(3, 4, 5) * number)
    (tmp_path / "in" / "broken.nii").write_bytes(b"no volume")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        done = pack(tmp_path / "in", tmp_path / "out", executor=executor)
    assert [file.path for file in done.files] == ["0.nii.gz", "1.nii.gz", "2.nii.gz"]
    assert [problem.path for problem in done.problems] == ["broken.nii"]


def test_verify_reads_files_of_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", np.random.default_rng(ord(name)).integers(0, 99, (9, 8, 7)))
    pack(tmp_path / "in", tmp_path / "out")
    words = ["scan", str(tmp_path / "out"), "--save", str(tmp_path / "index.json")]
    assert main(words) == 0
    store = tmp_path / "out" / "a.ozx"
    content, status = bytearray(store.read_bytes()), store.stat()
    content[len(content) * 3 // 4] ^= 1
    store.write_bytes(content)
    os.utime(store, ns=(status.st_atime_ns, status.st_mtime_ns))
    capsys.readouterr()
    assert main(words) == 0
    assert "refused      0" in capsys.readouterr().out
    assert main([*words, "--verify"]) == 0
    assert "a.ozx: brick 0 of channel 0: its checksum is wrong" in capsys.readouterr().out
