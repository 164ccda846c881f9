"""Trivial and linear baselines of fine-tuning runs: scores, comparison with the run's own baseline, errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.finetuning import classify as classify_volumes
from tests.helpers.finetuning import localize as localize_volumes
from tests.helpers.finetuning import prepared, segment, write_data
from tests.helpers.images import classify, localize, write_images
from train.baseline import BaselineConfig, command_line, main, read_labelled
from train.linear.model import constant_outputs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 48)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("volumes"), 12)


def scored(config: Any, out: Path, **changes: Any) -> dict[str, Any]:
    """Return the file of the baselines of a run that was only prepared, after a look at what is printed."""
    prepared(config)
    report = main(BaselineConfig(run=config.out, out=out, **changes))
    found: dict[str, Any] = json.loads(out.read_text())
    assert report["score"] == getattr(config, "metric", "face_mm")
    for name in ("trivial", "linear"):
        assert report[name] == found[name]["report"][report["score"]]
    assert report["run"] is None
    return found


def test_a_linear_model_tells_bright_from_brighter_images(images: Path, tmp_path: Path) -> None:
    config = classify(images, tmp_path / "run", normalize=("window", 0, 255), metric="auroc")
    found = scored(config, tmp_path / "found.json", voxels=200)
    assert found["linear"]["report"]["f1"] > found["trivial"]["report"]["f1"] + 0.3
    assert found["trivial"]["report"]["auroc"] == 0.5
    assert found["linear"]["block"] == [3, 3]
    assert found["scored"] == {"part": "test", "cases": 12}
    low, high = (found["linear"]["over_cases"]["f1"][end] for end in ("low", "high"))
    assert 0 <= low <= found["linear"]["report"]["f1"] <= high <= 1
    assert str(tmp_path) not in json.dumps(found)


def test_a_linear_model_finds_boxes_better_than_the_mean_box(images: Path, tmp_path: Path) -> None:
    found = scored(localize(images, tmp_path / "run"), tmp_path / "found.json")
    trivial, linear = (found[name]["over_cases"] for name in ("trivial", "linear"))
    assert linear["face_mm"]["mean"] < 0.8 * trivial["face_mm"]["mean"]
    # The trivial baseline is the one of the run's own report.
    assert trivial["face_mm"]["mean"] == pytest.approx(trivial["baseline_face_mm"]["mean"], abs=1e-4)
    assert len(found["linear"]["penalties"]) == 4


def test_labels_of_too_few_subjects_get_a_constant(volumes: Path, tmp_path: Path) -> None:
    config = classify_volumes(volumes, tmp_path / "run", columns=("even", "third"), multilabel=True, cases=2)
    found = scored(config, tmp_path / "found.json", components=1)
    assert found["linear"]["components"] == 1
    assert found["linear"]["penalties"] == [None, None]
    for one, other in zip(found["linear"]["by_class"].values(), found["trivial"]["by_class"].values(), strict=True):
        assert one == other


def test_organs_that_are_not_contoured_are_left_out(volumes: Path, tmp_path: Path) -> None:
    organs = ("trunk", "left lung")
    left_out = json.loads((volumes / "splits.json").read_text())["train"][0]
    with open(volumes / "boxes.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", *[f"{o}_{end}{axis}" for o in organs for end in ("lo", "hi") for axis in "ijk"]])
        for path in sorted((volumes / "images").iterdir()):
            lung = [""] * 6 if path.name.startswith(left_out) else [2, 2, 2, 9, 9, 9]
            table.writerow([path.name, 1, 1, 1, 18, 18, 18, *lung])
    config = localize_volumes(volumes, tmp_path / "run", labels=volumes / "boxes.csv", names=None)
    prepared(config)
    labelled = read_labelled(config.out)
    targets = labelled.task.whole_targets(labelled.training)
    assert np.isnan(targets).any(1).sum() == 1
    np.testing.assert_allclose(constant_outputs(labelled.task, targets), np.nanmean(targets, 0), atol=1e-12)
    main(BaselineConfig(run=config.out, out=tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert None not in found["linear"]["penalties"]
    assert all(np.isfinite(scores["face_mm"]["mean"]) for scores in found["linear"]["by_class"].values())


def test_refusals(volumes: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"

    def refused(run: Path) -> str:
        assert command_line([str(run), "--out", str(out)]) == 2
        assert not out.exists()
        return capsys.readouterr().err

    assert "config.json is missing" in refused(tmp_path)
    prepared(segment(volumes, tmp_path / "segment"))
    assert "expected a run of finetune classify or localize" in refused(tmp_path / "segment")
    config = classify(images, tmp_path / "run", labels=tmp_path / "classes.csv")
    text = (images / "classes.csv").read_text()
    config.labels.write_text(text)
    prepared(config)
    with pytest.raises(ValueError, match="--components: expected 1 or more, got 0"):
        BaselineConfig(run=config.out, out=out, components=0)
    case = json.loads((images / "splits.json").read_text())["train"][0]
    kind = "odd" if f"{case}.png,even" in text else "even"
    config.labels.write_text(text.replace(f"{case}.png,{'even' if kind == 'odd' else 'odd'}", f"{case}.png,{kind}"))
    assert "has changed since" in refused(config.out)
