"""A resumed run keeps its initial weights: other weights are refused, another path to the same ones is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.finetuning import segment
from train.run.folder.earlier import unused_changes
from train.start.initial import check_initial, hash_weights


def run_of(option: str, was: Path, *, recorded: bool) -> dict[str, Any]:
    """Return the config.json of a run that was started from weights."""
    return {
        "config": {option: str(was)},
        "network": {option: {"sha256": hash_weights(was)} if recorded else {"transfer": "encoder"}},
    }


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "older run"])
@pytest.mark.parametrize("option", ["init", "encoder_weights"])
def test_the_content_of_the_weights_counts_and_not_their_path(tmp_path: Path, option: str, recorded: bool) -> None:
    first, moved, other = (tmp_path / name for name in ("first", "moved", "other"))
    for folder, content in ((first, b"one"), (moved, b"one"), (other, b"two")):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content)
    earlier = run_of(option, first, recorded=recorded)
    check_initial(tmp_path / "run", earlier, {option: str(moved)})
    check_initial(tmp_path / "run", earlier, {option: str(first)})
    words = f"--{option.replace('_', '-')} was {first}, SHA-256 7692c3ad3540….*; got {other}, SHA-256 3fc4ccfe7458…"
    with pytest.raises(ValueError, match=f"{words}. Give the weights of the run, or another --out"):
        check_initial(tmp_path / "run", earlier, {option: str(other)})
    with pytest.raises(ValueError, match="got /nowhere, missing"):
        check_initial(tmp_path / "run", earlier, {option: "/nowhere"})


def test_weights_that_changed_in_place_are_refused_and_removed_ones_are_not_needed(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"one")
    earlier = run_of("init", weights, recorded=True)
    weights.write_bytes(b"two")
    with pytest.raises(ValueError, match="since that file has changed"):
        check_initial(tmp_path / "run", earlier, {"init": str(weights)})
    weights.unlink()
    check_initial(tmp_path / "run", earlier, {"init": str(weights)})


@pytest.mark.parametrize(
    ("was", "now", "step", "refused"), [(0, 5, 10, True), (5, 0, 10, True), (5, 8, 4, False), (5, 5, 10, False)]
)
def test_a_freeze_that_is_over_is_not_changed(was: int, now: int, step: int, refused: bool) -> None:
    config = replace(segment(Path("/d"), Path("/o")), steps=20, freeze_encoder=now)
    if not refused:
        config.check_past({"freeze_encoder": was}, step)
        return
    with pytest.raises(ValueError, match=f"expected --freeze-encoder {was}, since step 10 .* is taken, got {now}"):
        config.check_past({"freeze_encoder": was}, step)


def test_changes_without_effect_on_a_finished_run_are_listed() -> None:
    was = {"lr": 0.001, "steps": 2, "device": "cpu", "split": None}
    lines = unused_changes(was, {"lr": 0.01, "steps": 1, "device": "cuda", "split": None, "new": 1})
    assert lines == ["--lr 0.01: the run was made with 0.001"]
