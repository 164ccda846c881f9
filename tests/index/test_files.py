"""Test scans of unreadable files, links, pipes and odd names: each is reported, and the scan continues."""

import os
import socket
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.index.values import frames
from dali_cr.volume import access, igzip, reader
from tests.helpers.volumes import write_nifti


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "good.nii.gz", np.random.default_rng(0).integers(0, 999, (7, 6, 5)))
    return tmp_path


def problems(folder: Path) -> dict[str, str]:
    index = dali_cr.scan(folder, progress=False)
    assert [case.name for case in index.cases] == ["good.nii.gz"]
    return {problem.path: problem.reason for problem in index.problems}


def test_entries_that_are_not_files(folder: Path) -> None:
    (folder / "nowhere.nii").symlink_to("gone.nii")
    (folder / "itself.nii").symlink_to("itself.nii")
    (folder / "zeros.nii").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.nii.gz")
    (folder / "folder.nii.gz").mkdir()
    with socket.socket(socket.AF_UNIX) as its:
        its.bind(os.path.relpath(folder / "socket.nii"))
        assert problems(folder) == {
            "itself.nii": "cannot be opened: Too many levels of symbolic links (it is a link to itself.nii)",
            "nowhere.nii": "cannot be opened: No such file or directory (it is a link to gone.nii)",
            "pipe.nii.gz": "cannot be opened: it is a pipe, not a file",
            "socket.nii": "cannot be opened: it is a socket, not a file",
            "zeros.nii": "cannot be opened: it is a device, not a file",
        }
    with pytest.raises(dali_cr.VolumeError, match="it is a folder, not a file"):
        dali_cr.read_volume(folder / "folder.nii.gz")


def test_a_pipe_that_takes_a_files_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe.nii")
    monkeypatch.setattr(access, "read_status", lambda path: None)
    with pytest.raises(dali_cr.VolumeError, match="pipe.nii"):
        dali_cr.read_volume(folder / "pipe.nii")


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secret.nii").write_bytes(b"secret")
    really = os.open

    def guarded(path: object, *arguments: int) -> int:
        if str(path).endswith("secret.nii"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", guarded)
    assert problems(folder) == {"secret.nii": "cannot be opened: Permission denied"}


def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nifti(folder / "a" / "secret" / "v.nii", np.arange(60).reshape(5, 4, 3))
    really = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert problems(folder) == {"a/secret": "folder that cannot be read: Permission denied"}
    with pytest.raises(FileNotFoundError, match="secret: folder that cannot be read: Permission denied"):
        dali_cr.scan(folder / "a", progress=False)


def test_a_file_deleted_between_walk_and_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nifti(folder / "soon gone.nii", np.arange(60).reshape(5, 4, 3))
    really = reader.read_header

    def late(path: Path) -> object:
        if path.name == "soon gone.nii":
            path.unlink()
        return really(path)

    monkeypatch.setattr(reader, "read_header", late)
    assert problems(folder) == {"soon gone.nii": "cannot be opened: No such file or directory"}


def test_a_voxel_file_deleted_after_its_header_was_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nifti(folder / "soon gone.nii", np.arange(60).reshape(5, 4, 3))
    really = reader.read_header

    def early(path: Path) -> object:
        answer = really(path)
        if path.name == "soon gone.nii":
            path.unlink()
        return answer

    monkeypatch.setattr(reader, "read_header", early)
    assert problems(folder) == {"soon gone.nii": "cannot be opened: No such file or directory"}


@pytest.mark.parametrize("where", ["read", "measured"])
def test_a_volume_too_large_for_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    write_nifti(folder / "large.nii.gz", np.arange(990).reshape(11, 10, 9))
    large, small = 990 * 2 + 352, 210 * 2 + 352
    really = igzip.scratch

    def limited(name: str, size: int) -> memoryview:
        if name == "decompressed" and size == large:
            raise MemoryError
        return really(name, size)

    if where == "read":
        monkeypatch.setattr(igzip, "scratch", limited)
    else:
        measure = frames.measure

        def starved(path: object, raw: np.ndarray, geometry: object) -> object:
            if raw.nbytes > small:
                raise MemoryError
            return measure(path, raw, geometry)

        monkeypatch.setattr(frames, "measure", starved)
    assert list(problems(folder)) == ["large.nii.gz"]
    assert "not enough memory" in problems(folder)["large.nii.gz"]


def test_odd_names(folder: Path, tmp_path: Path) -> None:
    odd = ["é ü 脳.nii", "new\nline.nii", "x" * 240 + ".nii", os.fsdecode(b"latin-\xe9.nii"), "'\"$(rm).nii", " .nii"]
    deep = "/".join(["d" * 200] * 15) + "/v.nii"
    for name in (*odd, deep):
        write_nifti(folder / name, np.arange(60).reshape(5, 4, 3))
    index = dali_cr.scan(folder, progress=False)
    assert {case.name for case in index.cases} == {*odd, deep, "good.nii.gz"}
    index.save(tmp_path / "index.json")
    again = dali_cr.Index.load(tmp_path / "index.json")
    assert (again.fingerprint, again.changed()) == (index.fingerprint, ())
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert dali_cr.scan(folder, executor=executor, progress=False).fingerprint == index.fingerprint


def test_many_small_files(folder: Path) -> None:
    content = (folder / "good.nii.gz").read_bytes()
    for i in range(400):
        (folder / f"{i % 7}").mkdir(exist_ok=True)
        (folder / f"{i % 7}" / f"{i}.nii.gz").write_bytes(content)
    assert len(dali_cr.scan(folder, progress=False)) == 401
