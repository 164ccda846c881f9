"""Test a user without a name and home: commands run, and write nothing into a folder called ~."""

import os
import pwd
from pathlib import Path

import pytest

from dali_cr.system import account
from dali_cr.system.account import complete_account, user_name
from dali_cr.tools.checks import machine


@pytest.fixture
def unnamed_user(monkeypatch, tmp_path):
    def unknown(_):
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(account.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(account.tempfile, "tempdir", str(tmp_path))
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        # Set first, so that monkeypatch restores the values that the tested code sets.
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)


def test_a_name_and_a_home_are_set_where_there_are_none(unnamed_user, tmp_path):
    assert user_name() is None
    complete_account()
    assert os.environ["USER"] == user_name() == f"uid{os.getuid()}"
    home = Path(os.environ["HOME"])
    assert home.parent == tmp_path
    assert home.stat().st_mode & 0o777 == 0o700
    found = machine._account()
    assert f"USER=uid{os.getuid()}" in found.text


def test_a_home_of_another_user_is_not_used(unnamed_user, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"dali-cr-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    complete_account()
    home = Path(os.environ["HOME"])
    assert home.resolve() == home
    assert home.is_dir()
    assert home.name.startswith("dali-cr-")


def test_existing_values_are_kept(unnamed_user, monkeypatch):
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("HOME", "/somewhere")
    complete_account()
    assert (os.environ["USER"], os.environ["HOME"]) == ("ann", "/somewhere")
