"""Atomic files, and weights with the same bytes from every process."""

import errno
import json
import os
import pickle
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from train.networks.weights import export_weights
from train.output.files import write_text, write_whole
from train.run.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[3]


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path):
    (tmp_path / "file.part").write_bytes(b"left by a killed run, and longer than what comes")
    for content in (b"old", b"new"):
        write_whole(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("dies_at", ["fsync", "replace"])
def test_dying_while_writing_leaves_the_old_file(tmp_path, monkeypatch, dies_at):
    write_whole(tmp_path / "file", b"old")

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, dies_at, die)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_file_and_folder_are_forced_to_the_disk_around_the_rename(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(number):
        done.append(os.readlink(f"/proc/self/fd/{number}"))
        fsync(number)

    def note_replace(old, new):
        done.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_whole(tmp_path / "file", b"content")
    assert done == [str(tmp_path / "file.part"), "rename", str(tmp_path)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_forced_to_the_disk_is_no_error(tmp_path, monkeypatch, number):
    fsync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_whole(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("of", ["file", "folder"])
def test_what_the_disk_refuses_names_the_file(tmp_path, monkeypatch, number, of):
    write_whole(tmp_path / "file", b"old")

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (of == "folder"):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "file"))) as raised:
        write_whole(tmp_path / "file", b"new")
    assert raised.value.errno == number
    assert (tmp_path / "file").read_bytes() == (b"old" if of == "file" else b"new")
    assert os.listdir(tmp_path) == ["file"]


def test_the_longest_name_that_a_file_may_have(tmp_path):
    name = os.fsdecode(b"\xe4" * 251 + b".png")
    write_whole(tmp_path / name, b"content")
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match="too long"):
        write_whole(tmp_path / ("n" * 256), b"content")


def test_text_keeps_the_bytes_of_names(tmp_path):
    write_text(tmp_path / "scores.csv", os.fsdecode(b"gr\xfcn.nii.gz,1\n"))
    assert (tmp_path / "scores.csv").read_bytes() == b"gr\xfcn.nii.gz,1\n"


def test_a_checkpoint_comes_back(tmp_path):
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = {"step": 7, "network": module.state_dict(), "optimizer": optimizer.state_dict(), "loader": {"next": 2**40}}
    save_checkpoint(tmp_path / "checkpoint.pt", {**state, "random": torch.get_rng_state()})
    back = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (back["step"], back["loader"]) == (7, {"next": 2**40})
    assert all(torch.equal(back["network"][name], tensor) for name, tensor in state["network"].items())
    assert torch.equal(back["random"], torch.get_rng_state())
    optimizer.load_state_dict(back["optimizer"])


class _Runs:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "half"])
def test_refuses_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"tensor": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)
    with pytest.raises(ValueError, match=r"expected a checkpoint, .*checkpoint\.pt cannot be read"):
        load_checkpoint(path)


def test_runs_no_code_of_a_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"step": _Runs()}, path, pickle_module=pickle)
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(path)


def test_weights_have_the_asked_names_and_say_what_they_are(tmp_path):
    tensors = {"a": torch.randn(2, 3), "b": torch.randn(4)}
    tensors["alias"] = tensors["a"]
    export_weights(tmp_path / "w.safetensors", tensors, ["b", "a"], {"network": "dynunet", "filters": 16})
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert set(file.keys()) == {"a", "b"}
        assert torch.equal(file.get_tensor("a"), tensors["a"])
        assert json.loads(file.metadata()["about"]) == {"network": "dynunet", "filters": 16}


def test_weights_have_the_same_bytes_from_every_process(tmp_path):
    code = (
        "import sys, torch; from train.networks.weights import export_weights;"
        "export_weights(sys.argv[1], {n: torch.ones(3) for n in 'dbca'}, set('abcd'), {'x': 1, 'y': 2, 'z': 3})"
    )
    files = [tmp_path / "0", tmp_path / "1"]
    for file in files:
        environment = {**os.environ, "PYTHONHASHSEED": file.name}
        subprocess.run([sys.executable, "-c", code, file], cwd=ROOT, env=environment, check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
