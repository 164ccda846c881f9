"""Test that `make fuzz` saves failures: a planted fault becomes an example in the test's source."""

import shutil
from pathlib import Path

import pytest

from tests.manual import explore

CONFTEST = """
from hypothesis import settings

settings.register_profile("explore", database=None)
"""
PLANTED = """
from hypothesis import given, settings
from hypothesis import strategies as st


@given(number=st.integers(0, 1000))
@settings(max_examples=100)
def test_small(number: int) -> None:
    assert number < 10
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, which writes the examples")
def test_a_planted_fault_becomes_an_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explore, "ROOT", tmp_path)
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    path = folder / "test_planted.py"
    path.write_text(PLANTED)
    assert explore.modules() == [path]
    assert not explore.explore_module(path)
    kept = path.read_text()
    assert "number=10" in kept
    assert kept.count("@example(") == 1
    assert "from hypothesis import example, given, settings\nfrom hypothesis import strategies as st\n" in kept
    assert "tests/test_planted.py: the failing arguments are kept as @example" in capsys.readouterr().out
    path.write_text(kept.replace("number < 10", "number < 2000"))
    assert explore.explore_module(path)


def test_every_property_test_is_explored() -> None:
    names = {path.name for path in explore.modules()}
    assert {"test_noise.py", "test_gather.py", "test_swaps.py"} <= names
    assert "test_explore.py" not in names  # the one above is a string


def test_arguments_can_be_written_as_examples() -> None:
    assert all("st.data()" not in path.read_text() for path in explore.modules())
