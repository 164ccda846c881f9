"""Test that one process owns an output: a second one is refused, and a killed one leaves no lock."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dali_cr.system.owner import LOCK, entries, own_file, own_folder, refuse_full

ROOT = Path(__file__).parents[2]
HOLD = "import sys, time; from pathlib import Path; from dali_cr.system.owner import own_folder\n"
HOLD += "with own_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Start another process that locks tmp_path / "out"."""
    line = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_the_first_one_named(tmp_path, holder):
    message = rf"out is in use by another process \(process {holder.pid} on "
    with pytest.raises(ValueError, match=message), own_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_dir()


def test_a_killed_process_leaves_no_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert os.listdir(tmp_path / "out") == [LOCK]
    refuse_full(tmp_path / "out")
    with own_folder(tmp_path / "out"):
        (tmp_path / "out" / "x").touch()
    assert os.listdir(tmp_path / "out") == ["x"]


def test_empty_folders_are_removed_and_others_kept(tmp_path):
    with own_folder(tmp_path / "a" / "b"):
        assert entries(tmp_path / "a" / "b") == []
    assert os.listdir(tmp_path) == []
    (tmp_path / "a").mkdir()
    with own_folder(tmp_path / "a" / "b"):
        pass
    assert os.listdir(tmp_path) == ["a"]


def test_each_file_of_a_folder_has_one_owner(tmp_path):
    with own_file(tmp_path / "new" / "x.json"), own_file(tmp_path / "new" / "y.json"):
        with pytest.raises(ValueError, match=r"x\.json is in use"), own_file(tmp_path / "new" / "x.json"):
            pass
        (tmp_path / "new" / "x.json").touch()
    assert os.listdir(tmp_path / "new") == ["x.json"]


def test_locks_and_partial_files_are_not_content(tmp_path):
    for name in (LOCK, "checkpoint.pt.part"):
        (tmp_path / name).touch()
    refuse_full(tmp_path)
    (tmp_path / ".lock.txt").touch()
    with pytest.raises(ValueError, match=r"new or empty folder, got .* with \.lock\.txt"):
        refuse_full(tmp_path)


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="expected a folder, got the file .*file"), own_folder(tmp_path / "file"):
        pass
    with pytest.raises(ValueError, match="expected a file, got the folder"), own_file(tmp_path):
        pass


@pytest.mark.parametrize(("own", "out"), [(own_folder, "file/out"), (own_file, "file/out/x.json")])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, own, out):
    (tmp_path / "file").touch()
    message = r"out: expected a folder to write into, got .*/file/out: Not a directory; give another --out"
    with pytest.raises(OSError, match=message), own(tmp_path / out):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="got .*: Read-only file system; give another"), own_folder(tmp_path):
        pass


def test_a_file_system_without_locks_is_used_and_warned_of(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with own_folder(tmp_path):
        pass
    assert "has no locks" in caplog.text


def test_a_lock_that_its_owner_has_just_removed_is_made_anew(tmp_path, monkeypatch):
    really, removed = fcntl.flock, []

    def remove_first(descriptor, how):
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        return really(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with own_folder(tmp_path):
        assert (tmp_path / LOCK).exists()
