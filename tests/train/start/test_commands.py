"""All commands: locked outputs, a single process, and any characters on the terminal."""

import io
import os
import sys
from pathlib import Path

import pytest

from dali_cr.__main__ import main as library
from dali_cr.system.console import print_anything
from dali_cr.system.owner import own_file, own_folder
from tests.helpers.runs import run_ranks
from train import baseline, export, finetune, overlay, predict, pretrain, result, splits
from train.data import medmnist
from train.study import __main__ as study

ROOT = Path(__file__).parents[3]
STUDY = sorted((ROOT / "train" / "studies").rglob("*.toml"))[0]
NAME = STUDY.stem if STUDY.parent.name == "studies" else STUDY.parent.name

FOLDERS = {
    "pretrain": (pretrain.command_line, "--data DATA --out OUT"),
    "finetune": (finetune.command_line, "segment --data DATA --labels DATA --out OUT"),
    "predict": (predict.command_line, "DATA --data DATA --out OUT"),
    "overlay": (overlay.command_line, "DATA --data DATA --out OUT"),
    "medmnist": (medmnist.command_line, "DATA/x.npz --out OUT"),
    "study": (study.command_line, f"{STUDY} --runs RUNS --results RESULTS"),
    "phantom": (library, "phantom OUT"),
    "export-nnssl": (export.command_line, "nnssl DATA OUT"),
}
FILES = {
    "export": (export.command_line, "DATA --out OUT"),
    "splits": (splits.command_line, "DATA --out OUT"),
    "result": (result.command_line, "DATA --out OUT"),
    "baseline": (baseline.command_line, "DATA --out OUT"),
    "scan": (library, "scan DATA --save OUT"),
    "preview": (library, "preview DATA --out OUT"),
}


def words(line, folder, out):
    places = {"DATA": folder / "data", "OUT": out, "RUNS": out.parent, "RESULTS": folder / "results"}
    for name, place in places.items():
        line = line.replace(name, str(place))
    return line.split()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_second_process_on_a_folder_is_refused_at_once(tmp_path, name, capsys):
    command, line = FOLDERS[name]
    out = tmp_path / (NAME if name == "study" else "out")
    with own_folder(out):
        assert command(words(line, tmp_path, out)) == 2
    errors = capsys.readouterr().err
    assert f"{out} is in use by another process (process {os.getpid()} on " in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", FILES)
def test_a_second_process_on_a_file_is_refused_at_once(tmp_path, name, capsys):
    command, line = FILES[name]
    out = tmp_path / "lr0.001"
    held = out.with_name("lr0.001.json") if name == "result" else out
    with own_file(held):
        assert command(words(line, tmp_path, out)) == 2
    errors = capsys.readouterr().err
    assert f"{held} is in use by another process" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", sorted({*FOLDERS, *FILES} - {"pretrain", "phantom", "scan", "preview"}))
def test_a_command_of_one_process_refuses_torchrun(tmp_path, name, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    command, line = (FOLDERS | FILES)[name]
    assert command(words(line, tmp_path, tmp_path / "out")) == 2
    assert "expected one process, torchrun started 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_each_process_of_torchrun_says_so(tmp_path):
    line = ["-m", "train.predict", tmp_path, "--data", tmp_path, "--out", tmp_path / "out"]
    for done in run_ranks(line):
        assert done.returncode == 2
        assert "predict: expected one process, torchrun started 2" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_in_any_bytes_can_be_printed(monkeypatch, encoding):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding, errors="strict"))
    print_anything()
    print("gr\u00fcn", os.fsdecode(b"gr\xfcn"), flush=True)
    wanted = "gr\u00fcn".encode() if encoding == "utf-8" else b"gr\\xfcn"
    assert content.getvalue() == wanted + b" gr\\udcfcn\n"
