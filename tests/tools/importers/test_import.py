"""Test `dali-cr import`: all formats, resuming, no patient names in stores, reasons for refused files."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import dali_cr
from dali_cr.__main__ import main
from dali_cr.index.volumes import Problem
from dali_cr.tools.importers.result import Imported
from tests.helpers.dicom import NAME, PLANTED, positions, write_enhanced, write_series
from train.data.subjects.rules import subjects_of

RNG = np.random.default_rng(0)


def voxels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 1000, shape or (3, 4, 5)).astype(np.int16)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder with a volume of each format, and other files."""
    top = tmp_path / "in"
    write_series(top / "dicom" / "planted", voxels(), positions(3))
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(top / "meta.mhd"))
    (top / "sub").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(top / "sub" / "scan.nrrd"))
    np.save(top / "array.npy", voxels())
    nib.save(nib.Nifti1Image(voxels(), np.diag([-1, 1, 2, 1])), top / "brain.nii.gz")
    (top / "notes.txt").write_text("")
    (top / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (top / ".hidden.npy").write_text("")
    return top


def stores(out: Path) -> dict[str, dict[str, Any]]:
    """Return the metadata in the stores of a folder."""
    found = {}
    for path in sorted(out.rglob("*.ozx")):
        with zipfile.ZipFile(path) as archive:
            found[path.relative_to(out).as_posix()] = json.loads(archive.read("zarr.json"))["attributes"]["dali_cr"]
    return found


def run(source: Path, out: Path, **more: Any) -> Imported:
    return dali_cr.import_volumes(source, out, progress=False, **more)


def new(imported: Imported) -> set[str]:
    """Return the stores that an import wrote."""
    return {file.target for file in imported.files if file.state == "new"}


def test_every_format_of_a_folder(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    imported = run(mixed, out, spacing=(2.0, 1.0, 1.0))
    assert not imported.problems
    assert imported.ignored == {".txt": 1, "DICOMDIR": 1, "hidden": 1}
    found = stores(out)
    assert set(found) == new(imported)
    dicom = next(name for name in found if name.startswith("sub-"))
    uid = hashlib.sha256(b"1.2.3.20210417.1").hexdigest()[:16]
    assert dicom == f"sub-{uid}/{uid}.ozx"
    assert {name: about["original"]["path"] for name, about in found.items()} == {
        "array.ozx": "array.npy",
        "brain.ozx": "brain.nii.gz",
        "meta.ozx": "meta.mhd",
        "sub/scan.ozx": "sub/scan.nrrd",
        dicom: f"sub-{uid}/{uid}.dcm",
    }
    assert {about["orientation"] for about in found.values()} == {"LPS", "XYZ", "LAS"}


def test_only_one_format(mixed: Path, tmp_path: Path) -> None:
    assert new(run(mixed, tmp_path / "out", format="nrrd", spacing=[1, 1, 1])) == {"sub/scan.ozx"}


def test_nothing_names_the_patient(tmp_path: Path) -> None:
    top = tmp_path / "in" / NAME / "2021-04-17"
    write_series(top / "Planted PID-77-1234", voxels(), positions(3), RescaleIntercept=-1024)
    for file in (top / "Planted PID-77-1234").iterdir():
        file.rename(file.with_name(f"planted_19610203_{file.name}.dcm"))
    write_enhanced(top / "PLANTED-20210417.dcm", voxels(), positions(3), series="1.2.20210417.7", PatientID="Planted")
    before = 1618617600  # 2021-04-17
    for file in top.rglob("*.dcm"):
        os.utime(file, (before, before))
    out = tmp_path / "out"
    imported = run(tmp_path / "in", out)
    assert len(imported.files) == 2
    assert not imported.problems
    forbidden = [*PLANTED, str(before), "1.2.20210417.7", "1.2.3.20210417"]
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        held = f"{path.relative_to(out)} {content.decode('latin-1')}"
        assert not [text for text in forbidden if text.lower() in held.lower()]


def test_finished_stores_are_kept(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(mixed, out, spacing=(2.0, 1.0, 1.0))
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.ozx")}
    again = run(mixed, out, spacing=(2.0, 1.0, 1.0))
    assert new(again) == set()
    assert {file.target for file in again.files} == new(first)
    os.utime(next((mixed / "dicom" / "planted").iterdir()), (1, 1))
    nib.save(nib.Nifti1Image(voxels(3, 4, 6), np.eye(4)), mixed / "brain.nii.gz")
    (out / "meta.ozx").write_bytes((out / "meta.ozx").read_bytes()[:-200])
    third = run(mixed, out, spacing=(3.0, 1.0, 1.0))  # another one for the array
    assert [file.target for file in third.files if file.state == "kept"] == ["sub/scan.ozx"]
    assert [path for path, time in times.items() if path.stat().st_mtime_ns == time] == [out / "sub" / "scan.ozx"]
    assert stores(out)["array.ozx"]["affine"][2][2] == 3.0


def test_files_that_differ_by_their_suffix_alone(mixed: Path, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(mixed / "sub" / "scan.mha"))
    found = new(run(mixed, tmp_path / "out", spacing=(1.0, 1.0, 1.0)))
    assert {"sub/scan.mha.ozx", "sub/scan.nrrd.ozx", "array.ozx"} <= found


def test_problems_are_named_and_other_files_imported(mixed: Path, tmp_path: Path) -> None:
    (mixed / "cut.nrrd").write_bytes((mixed / "sub" / "scan.nrrd").read_bytes()[:-20])
    (mixed / "odd.dcm").write_bytes(b"")
    (mixed / "gone").symlink_to(mixed / "nowhere")
    os.mkfifo(mixed / "pipe.npy")
    os.mkfifo(mixed / "pipe")
    imported = run(mixed, tmp_path / "out", spacing=(2.0, 1.0, 1.0))
    problems = {problem.path: problem.reason for problem in imported.problems}
    assert problems.pop("gone").startswith("cannot be opened: No such file or directory (it is a link to ")
    assert problems.pop("pipe") == problems.pop("pipe.npy") == "cannot be opened: it is a pipe, not a file"
    assert problems.pop("odd.dcm") == "not a DICOM file: DICM is missing at byte 128"
    assert problems.pop("cut.nrrd").startswith("SimpleITK cannot read it: ")
    assert not problems
    assert len(imported.files) == 5


def test_stores_that_cannot_be_written_are_named(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").write_text("in the way")
    problems = {problem.path: problem.reason for problem in run(mixed, out, format="nrrd").problems}
    assert problems == {"sub/scan.nrrd": "cannot be written: File exists"}


class Recording(ThreadPoolExecutor):
    """Executor that records its calls."""

    asked = 0

    def submit(self, *words: Any, **more: Any) -> Future[Any]:
        type(self).asked += 1
        return super().submit(*words, **more)


def test_any_executor(mixed: Path, tmp_path: Path) -> None:
    executor: Executor = Recording(1)
    with executor:
        imported = run(mixed, tmp_path / "out", executor=executor)
    assert Recording.asked == 3 + len(imported.files)


def test_the_command(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mixed / "odd.dcm").write_bytes(b"")
    out, report = tmp_path / "out", tmp_path / "report.json"
    words = ["import", str(mixed), str(out), "--jobs", "1", "--report", str(report), "--spacing", "2", "1", "1"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "int16              5" in text
    assert "ignored     1 hidden, 1 DICOMDIR, 1 .txt" in text
    assert "odd.dcm: not a DICOM file" in text
    content = json.loads(report.read_text())
    assert {"path": "array.npy", "target": "array.ozx"}.items() <= content["files"][0].items()
    assert sorted(file["target"] for file in content["files"]) == sorted(stores(out))
    assert main([*words, "--format", "npy"]) == 0
    assert "kept        1 file of an earlier run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["gone", "out"], "gone: expected a folder of volumes, nothing is there"),
        (["empty", "out"], "empty: expected files of dicom, mha, nrrd, npy, b2nd, nifti, got no file"),
        (["refused", "out"], "import: expected at least one volume, all were refused for the reasons above"),
        (["refused", "out", "--spacing", "1", "0", "1"], "spacing: expected three positive numbers in mm"),
        (["refused", "refused/out"], "out: expected a folder outside of "),
        (["refused", "out", "--jobs", "0"], "jobs: expected at least 1, got 0"),
    ],
)
def test_sources_that_cannot_be_imported(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("refused").mkdir()
    np.save("refused/a.npy", voxels())
    assert main(["import", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_scan_proposes_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="got 1 .dcm; dali-cr import converts volumes of other formats"):
        dali_cr.scan(tmp_path, progress=False)
    (tmp_path / "a.dcm").rename(tmp_path / "IM0001")
    with pytest.raises(FileNotFoundError, match="got 1 without a suffix; if they are DICOM, dali-cr import"):
        dali_cr.scan(tmp_path, progress=False)


def test_many_remarks_of_one_kind() -> None:
    remarks = [Problem(f"{n}.dcm", f"MONOCHROME{n}") for n in range(5)] + [Problem("a", "float32")]
    text = str(Imported((), (), {}, tuple(remarks)))
    assert text.count("remark      ") == 5
    assert "remark      2 more of this kind" in text


def test_a_missing_library_is_named_in_one_line(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pydicom", "SimpleITK"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            assert main(["import", str(mixed), str(tmp_path / "out")]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "missing" in line]
        assert line.startswith(f"dali_cr: {name} is missing")
        assert line.endswith('pip install ".[formats]" in the checkout of dali-cr')


def test_decoders_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    name = "MR_small_jpeg_ls_lossless.dcm"
    content = Path(pydicom.__path__[0], "data", "test_files", name).read_bytes()
    (tmp_path / "in" / name).write_bytes(content)
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    monkeypatch.setitem(sys.modules, "gdcm", None)
    (problem,) = run(tmp_path / "in", tmp_path / "out").problems
    assert problem.reason.endswith('; gdcm is missing; pip install ".[formats]" in the checkout of dali-cr')


def test_an_imported_folder_is_data(tmp_path: Path) -> None:
    raw = voxels(8, 12, 16)
    for n, patient in enumerate(["p", "q", "q"]):
        more = {"series": f"1.2.3.{n}", "PatientID": patient, "RescaleSlope": 0.5, "RescaleIntercept": n}
        write_series(tmp_path / "in", raw + n, positions(8), first=8 * n, **more)
    run(tmp_path / "in", tmp_path / "out")
    index = dali_cr.scan(tmp_path / "out", progress=False)
    assert not index.problems
    assert sorted(map(len, subjects_of([case.name for case in index.cases]).values())) == [1, 2]
    values = [dali_cr.read_volume(index.root / case.volumes[0].path)[0, :, ::-1, ::-1] for case in index.cases]
    for n, value in enumerate(sorted(values, key=np.sum)):
        np.testing.assert_array_equal(value, ((raw + n) * 0.5 + n).astype(np.float32))
    recipe = dali_cr.Restoration(crop=(4, 8, 8), swap=dali_cr.Swap(iterations=2, patch=(2, 3)))
    loader = dali_cr.Loader(index, recipe, batch_size=2, device="cpu", seed=0)
    for _, batch in zip(range(2), loader.stream(), strict=False):
        assert tuple(batch["input"].shape) == (2, 1, 4, 8, 8)
        assert set(batch["case"]) <= {case.name for case in index.cases}
