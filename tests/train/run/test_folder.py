"""Test which settings a resumed run may have, without a run."""

from __future__ import annotations

from pathlib import Path

import pytest

import dali_cr
from train.output.files import write_json
from train.run.folder.earlier import earlier_run


@pytest.mark.parametrize(
    ("was", "now", "refused"),
    [
        ("random", "/runs/first", "--init was random, got /runs/first"),
        ("/runs/first", "random", "--init was /runs/first, got random"),
        ("/runs/first", "/moved/first", None),
        ("random", "random", None),
    ],
)
def test_a_resumed_run_keeps_its_kind_of_initialisation(
    tmp_path: Path, was: str, now: str, refused: str | None
) -> None:
    network = {"task": {"name": "segment"}}
    about = {"config": {"init": was}, "versions": {"dali-cr": dali_cr.__version__}, "network": network}
    write_json(tmp_path / "config.json", about)
    write_json(tmp_path / "report.json", {})
    if refused:
        with pytest.raises(ValueError, match=refused):
            earlier_run(tmp_path, True, "segment", {"init": now}, ())
    else:
        assert earlier_run(tmp_path, True, "segment", {"init": now}, ()) == about
