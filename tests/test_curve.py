"""What is kept of a run names no place on a machine, and needs the run to be finished."""

import json
from pathlib import Path

import matplotlib.image
import pytest

from train.curve import Config, main


def write_run(folder: Path) -> Path:
    folder.mkdir()
    settings = {
        "data": ["/home/somebody/data/msd/images", "/scratch/ct"],
        "out": "/home/somebody/run",
        "index": None,
        "lr": 1e-3,
    }
    about = {"config": settings, "network": {}, "versions": {}, "commit": None, "device": {"type": "cpu"}}
    (folder / "config.json").write_text(json.dumps(about))
    lines = [
        {"step": 0, "restoration_gain": -3.0, "changed_share": 0.2},
        {"step": 1, "loss": 1.5, "loss_of_idling": 0.2},
        {"step": 2, "loss": 0.5, "loss_of_idling": 0.3},
        {"step": 2, "restoration_gain": 0.4, "changed_share": 0.2},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "report.json").write_text(json.dumps({"run": "/home/somebody/run", "steps": 2, "restoration_gain": 0.4}))
    return folder


def test_keeps_numbers_and_draws_them(tmp_path: Path) -> None:
    assert main(Config(run=write_run(tmp_path / "run"), out=tmp_path / "kept" / "first")) == 0
    text = (tmp_path / "kept" / "first.json").read_text()
    assert "somebody" not in text
    assert "scratch" not in text
    story = json.loads(text)
    assert story["settings"]["data"] == ["msd/images", "ct"]
    assert len(story["measurements"]) == 4
    assert story["report"]["restoration_gain"] == 0.4
    assert matplotlib.image.imread(tmp_path / "kept" / "first.png").shape[:2] == (330, 880)


@pytest.mark.parametrize("missing", ["config.json", "metrics.jsonl", "report.json"])
def test_refuses_an_unfinished_run(tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    (run / missing).unlink()
    assert main(Config(run=run, out=tmp_path / "first")) == 2
    assert f"lacks {missing}" in capsys.readouterr().err
