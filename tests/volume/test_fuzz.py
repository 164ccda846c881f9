"""A quick share of the fuzzing; `python -m tests.manual.fuzz` does more of it by hand."""

from pathlib import Path

import pytest

from tests.manual import fuzz

COUNT = 1000


@pytest.mark.parametrize("first", [0, COUNT])
def test_damaged_files_are_read_rightly_or_refused(tmp_path: Path, first: int) -> None:
    outcomes = fuzz.run(tmp_path, seed=0, first=first, count=COUNT)
    assert outcomes.total() == COUNT
    # Most damage is refused and much does not matter: were it otherwise, nothing would have been tried.
    assert outcomes["read"] > COUNT / 5
    assert outcomes["damaged gzip stream"] > COUNT / 20
    assert outcomes["ends early"] > COUNT / 50
    assert outcomes["only ours"] < COUNT / 20
