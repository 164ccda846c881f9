"""Baselines of segmentation: masks that are averages of the labelled cases' masks."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.finetuning import write_data
from tests.train.study.test_study import FILE
from train.study import __main__ as study
from train.study.file import read_study
from train.study.probe import baselines
from train.study.probe.masks import MaskData, open_masks, score_masks
from train.study.runs import probing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("bodies"))


def open_data(folder: Path, tmp_path: Path, old: str = "", new: str = "") -> MaskData | None:
    file = tmp_path / "tiny.toml"
    file.write_text(FILE.replace(old, new) if old else FILE)
    config = study.StudyConfig(file=file, data=(f"bodies={folder}",), device="cpu", runs=tmp_path / "runs")
    queue = study.open_queue(config, read_study(file))
    return open_masks(queue, probing(queue.study, "parts", "random", 0), baselines.COMPONENTS)


def test_the_trivial_baseline_is_the_most_frequent_class_of_each_voxel(folder: Path, tmp_path: Path) -> None:
    data = open_data(folder, tmp_path)
    assert data is not None

    def labels(name: str) -> np.ndarray:
        image = nib.load(next((folder / "labels").glob(f"{Path(name).name}*")))
        return nib.as_closest_canonical(image).get_fdata().astype(int)

    places = [0, 1, 3]
    labelled = np.stack([labels(data.train.cases[place].name) for place in places])
    votes = np.stack([(labelled == value).sum(0) for value in range(4)])
    said, scores = votes.argmax(0), []
    for case in data.test.cases:
        true = labels(case.name)
        for value in (1, 2, 3):
            one, other = said == value, true == value
            size = one.sum() + other.sum()
            scores.append(2 * (one & other).sum() / size if size else 1.0)
    trivial, linear = score_masks(data, places)
    assert trivial == pytest.approx(np.mean(scores))
    assert 0 < linear <= 1
    # A single labelled case is the prediction for all.
    assert len(set(score_masks(data, [2]))) == 1


def test_classes_that_are_not_annotated_do_not_count(folder: Path, tmp_path: Path) -> None:
    whole = open_data(folder, tmp_path)
    part = open_data(folder, tmp_path, '"{data}/names.json" }', '"{data}/names.json", absent = "unlabelled" }')
    assert whole is not None
    assert part is not None
    # All classes are in all cases, so nothing changes.
    assert score_masks(whole, [0, 1, 2]) == pytest.approx(score_masks(part, [0, 1, 2]))
    read = part.task.read
    first = part.train.cases[0].name
    part.task.read = lambda case: np.where(read(case) == 1, 0, read(case)) if case.name == first else read(case)  # type: ignore[method-assign]
    # The first case lacks a class: its votes for that class are left out, not counted against it.
    masks = np.stack([part.task.masks(part.task.read(part.train.cases[place])) for place in (0, 1)])
    assert not masks[0, 0].any()
    assert score_masks(part, [0, 1])[0] >= score_masks(whole, [0, 1])[0] - 0.2
    assert score_masks(part, [0])[0] < score_masks(part, [0, 1])[0]


def test_images_of_several_grids_have_no_such_baseline(folder: Path, tmp_path: Path) -> None:
    assert open_data(folder, tmp_path, "filters = 2\n[data", "filters = 2\nspacing = [20, 20, 20]\n[data") is None
