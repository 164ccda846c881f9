"""Test damaged files: random ones, and files that failed earlier; `python -m tests.manual.explore` tests more."""

import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tests.manual import fuzz

COUNT = 1000


def test_damaged_files_are_read_rightly_or_refused(tmp_path: Path) -> None:
    outcomes = fuzz.run(tmp_path, seed=0, first=0, count=COUNT)
    assert outcomes.total() == COUNT
    # Most damage is refused and much of it is harmless; otherwise the test would be empty.
    assert outcomes["read"] > COUNT / 5
    assert outcomes["damaged gzip stream"] > COUNT / 20
    assert outcomes["ends early"] > COUNT / 50
    assert outcomes["only ours"] < COUNT / 20


def test_kept_files_are_read_rightly_or_refused(tmp_path: Path) -> None:
    fuzz.warm_up(tmp_path)
    tracemalloc.start(1)
    try:
        outcomes = Counter(fuzz.check(path) for path in sorted(fuzz.KEPT.iterdir()))
    finally:
        tracemalloc.stop()
    assert {"read", "damaged gzip stream", "ends early"} <= set(outcomes)


def test_a_file_that_fails_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(fuzz, "check", lambda path, seconds: 1 / 0 if path.stat().st_size % 2 else "read")
    with pytest.raises(AssertionError, match="seed 0, case .*ZeroDivisionError"):
        fuzz.run(tmp_path, seed=0, first=0, count=20)
    outcomes = fuzz.run(tmp_path, seed=0, first=0, count=20, kept=tmp_path / "kept")
    files = list((tmp_path / "kept").iterdir())
    assert outcomes["FAILED"] == len(files) > 0
    assert all(path.stat().st_size % 2 for path in files)
