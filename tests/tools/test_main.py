"""Test the command line: tables, images, phantoms, and errors in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dali_cr
from dali_cr.__main__ import main
from dali_cr.tools.phantom_files import write_phantoms

ROOT = Path(__file__).parents[2]
SMALL = ["--crop", "12", "16", "12", "--patch", "2", "4", "--iterations", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, count=3, shape=(20, 24, 22))
    return folder / "images"


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"dali-cr {dali_cr.__version__}\n")


def test_scan_prints_a_summary(folder, capsys):
    assert main(["scan", str(folder)]) == 0
    words = {line[:12].strip(): line[13:] for line in capsys.readouterr().out.splitlines()}
    assert words["root"] == str(folder)
    assert (words["cases"], words["channels"], words["shape"], words["refused"]) == ("3", "1", "20 × 24 × 22", "0")
    assert words["dtype"] == "int16 (1), uint8 (1), float32 (1)"
    assert words["orientation"] == "RAS (1), LPS (1), LAS (1)"
    assert words["spacing"].endswith(" mm")


def test_scan_names_refused_files(folder, tmp_path, capsys):
    (tmp_path / "good.nii.gz").write_bytes((folder / "phantom_000.nii.gz").read_bytes())
    (tmp_path / "empty.nii").touch()
    assert main(["scan", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "refused      1\n             empty.nii: empty file" in out


def test_scan_of_refused_files_only_is_an_error(tmp_path, capsys):
    (tmp_path / "empty.nii").touch()
    assert main(["scan", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "empty.nii: empty file" in captured.out
    assert "every file was refused" in captured.err


def test_invalid_arguments_are_refused_before_files_are_read(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.delattr("dali_cr.index.scan.read_volumes")
    (tmp_path / "file").touch()
    preview = ["preview", str(folder), "-o"]
    for words, message in (
        ([*preview, str(tmp_path / "p.png"), "--foreground", "2"], "foreground: expected a probability"),
        ([*preview, str(tmp_path / "p.png"), "--sample", "-1"], "samples: expected sample numbers"),
        ([*preview, str(tmp_path / "p.nii")], "out: expected a file name that ends in one of"),
        (["scan", str(folder), "--qc", str(tmp_path / "file" / "qc.csv")], "file"),
        (["scan", str(folder), "--save-nnssl", str(tmp_path / "file" / "pretrain_data.json")], "file"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err


def test_many_shapes_are_given_as_a_range(tmp_path, capsys):
    for edge in range(16, 26):
        write_phantoms(tmp_path / str(edge), count=1, shape=(edge, 16, 18))
    assert main(["scan", str(tmp_path), "--pattern", "*/images/*.nii.gz"]) == 0
    assert "shape        16 to 25 × 16 × 18 voxels\n" in capsys.readouterr().out


def test_scan_saves_the_index(folder, tmp_path):
    assert main(["scan", str(folder), "--save", str(tmp_path / "new" / "index.json")]) == 0
    saved = dali_cr.Index.load(tmp_path / "new" / "index.json")
    assert saved.fingerprint == dali_cr.scan(folder, progress=False).fingerprint


def test_scan_accepts_several_folders_channels_and_globs(folder, tmp_path, capsys):
    for case in ("a", "b"):
        (tmp_path / case).mkdir()
        for channel in ("t1", "t2"):
            (tmp_path / case / f"{channel}.nii.gz").write_bytes((folder / "phantom_000.nii.gz").read_bytes())
    folders = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path)]
    arguments = ["scan", *folders, "--pattern", "{case}/{channel}.nii.gz"]
    assert main([*arguments, "--channels", "t2", "t1", "--exclude", "b/*"]) == 0
    out = capsys.readouterr().out
    assert "cases        1\nchannels     2\n             t2 t1\n" in out


@pytest.mark.parametrize(
    "more",
    [
        "",
        "--sample 3 1 --each-patch-once",
        "--pretext mae --mask-block 2 --normalize zscore-image",
        "--normalize window 0 500 --seed 9",
    ],
)
def test_preview_draws(folder, tmp_path, capsys, more):
    out = tmp_path / "new" / "preview.png"
    assert main(["preview", str(folder), "-o", str(out), *SMALL, *more.split()]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"{out}\n"


@pytest.mark.parametrize("patch", [["3"], ["2", "4"], ["2", "3", "4"], ["2", "3", "2", "4", "1", "4"]], ids=" ".join)
def test_preview_accepts_a_patch_of_one_two_three_or_six_numbers(folder, tmp_path, patch):
    arguments = ["preview", str(folder), "-o", str(tmp_path / "p.png"), *SMALL]
    assert main([*arguments, "--sample", "0", "--patch", *patch]) == 0


@pytest.mark.parametrize("more", ["", "--slices-every 3 --slices-empty"])
@pytest.mark.parametrize("axis", "DHW")
def test_preview_draws_slices(folder, tmp_path, axis, more):
    slices = ["--crop", "1", "16", "12", "--patch", "2", "4", "--slices-axis", axis, *more.split()]
    assert main(["preview", str(folder), "-o", str(tmp_path / "p.png"), *slices, "--sample", "0"]) == 0


def test_images_from_beginning_to_end(tmp_path, capsys):
    assert main(["phantom", str(tmp_path), "--images", "--count", "2", "--shape", "1", "30", "40"]) == 0
    arguments = [str(tmp_path), "--pattern", "**/*.png"]
    assert main(["scan", *arguments]) == 0
    out = capsys.readouterr().out
    assert "shape        1 × 30 × 40\n" in out
    assert "labels       2 excluded" in out
    crop = ["--crop", "1", "24", "32", "--patch", "2", "6", "--sample", "0"]
    assert main(["preview", *arguments, "-o", str(tmp_path / "p.png"), *crop]) == 0


def test_phantom_writes_volumes(tmp_path, capsys):
    assert main(["phantom", str(tmp_path / "p"), "--count", "2", "--shape", "16", "18", "20", "--seed", "5"]) == 0
    index = dali_cr.scan(tmp_path / "p" / "images", progress=False)
    assert [case.shape for case in index.cases] == [(16, 18, 20)] * 2
    assert capsys.readouterr().out == f"{tmp_path / 'p'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "/nowhere"], "/nowhere: expected a folder"),
        (["scan", "{folder}", "--pattern", "*.mha"], r"expected files that match *.mha"),
        (["preview", "{folder}", "-o", "{tmp}/p.png", "--crop", "4", "4", "4"], "do not fit into a crop of (4, 4, 4)"),
        (
            ["preview", "{folder}", "-o", "{tmp}/p.png", *SMALL, "--sample", "-1"],
            "expected sample numbers of at least 0",
        ),
        (["preview", "{folder}", "-o", "{tmp}/p.png", *SMALL, "--normalize", "window", "3"], "window LOW HIGH"),
        (["preview", "{folder}", "-o", "{tmp}/p.png", *SMALL, "--patch", "1", "2", "3", "4"], "patch: expected"),
        (["preview", "{folder}", "-o", "{tmp}/p.nosuch", *SMALL], "nosuch"),
        (
            ["preview", "{folder}", "-o", "{tmp}/p.png", *SMALL, "--slices-axis", "D"],
            "expected (1, rows, columns) with",
        ),
        (
            ["preview", "{folder}", "-o", "{tmp}/p.png", *SMALL, "--slices-every", "2"],
            "--slices-axis: expected D, H or W",
        ),
        (["phantom", "{tmp}/p", "--shape", "0", "4", "4"], "three positive lengths"),
        (["phantom", "{tmp}/p", "--images", "--shape", "1", "0", "4"], "three positive lengths"),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, list) else "",
)
def test_a_users_error_is_one_line_and_exit_code_2(folder, tmp_path, capsys, arguments, message):
    assert main([word.format(folder=folder, tmp=tmp_path) for word in arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("dali-cr: ")
    assert message in last


def test_runs_as_a_module_without_a_traceback(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dali_cr", "scan", "no such folder"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("dali-cr: ")
    assert done.stderr.count("\n") == 1
