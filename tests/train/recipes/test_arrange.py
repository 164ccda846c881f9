"""Test that arranged volumes are what the recipes of the published layouts prepare."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.finetuning import read_csv
from tests.helpers.recipe_runs import content_of
from train.recipes import arrange
from train.recipes.brats2018 import prepare as brats
from train.recipes.lits import prepare as lits

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(6):
        labels = random.integers(0, 5, (8, 9, 10), dtype=np.uint8)
        for kind, array in (("images", labels.astype(np.int16) * 20), ("labels", labels)):
            (tmp_path / kind).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / kind / f"p{number}.nii.gz")
    return tmp_path


def run(source: Path, layout: str, *values: str) -> int:
    line = [layout, "--images", str(source / "images"), "--labels", str(source / "labels")]
    return arrange.command_line([*line, "--values", *values, "--out", str(source / "published")])


def test_lits(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(source, "lits", "3=1", "1=2") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cases"] == 6
    written = content_of(source / "published")
    assert run(source, "lits", "3=1", "1=2") == 0
    assert content_of(source / "published") == written
    report = lits.main(lits.PrepareConfig(source=source / "published", out=source / "data"))
    assert sum(report["cases"].values()) == 6
    rows = read_csv(source / "published" / "sources.csv")
    assert rows[2] == {"case": "volume-2", "image": str(source / "images" / "p2.nii.gz")}
    old, new = (
        np.asarray(nib.load(path).dataobj)
        for path in (source / "labels" / "p2.nii.gz", source / "data" / "labels" / "volume-2.nii.gz")
    )
    np.testing.assert_array_equal(new, np.select([old == 3, old == 1], [1, 2], 0))


def test_brats2018(source: Path) -> None:
    assert run(source, "brats2018", "1=1", "2=2", "4=4") == 0
    report = brats.main(brats.PrepareConfig(source=source / "published", out=source / "data"))
    assert {grade: sum(part[grade] for part in report["cases"].values()) for grade in brats.GRADES} == {
        "HGG": 3,
        "LGG": 3,
    }
    rows = read_csv(source / "data" / "images.csv")
    assert {Path(row["path"]).resolve() for row in rows if row["case"] == "Brats18_p1_1"} == {
        source / "images" / "p1.nii.gz"
    }
    assert {row["channel"] for row in rows} == set(brats.CHANNELS)


def test_wrong_input_is_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="values: expected OLD=NEW with numbers, NEW below 256, got 'liver=1'"):
        arrange.ArrangeConfig(layout="lits", images=source, labels=source, values=("liver=1",), out=source)
    (source / "labels" / "p3.nii.gz").write_bytes(b"no NIfTI")
    assert run(source, "lits", "1=1") == 2
    assert "p3.nii.gz cannot be read" in capsys.readouterr().err
    (source / "labels" / "p3.nii.gz").unlink()
    assert run(source, "lits", "1=1") == 2
    assert "for each image, 1 missing: p3.nii.gz" in capsys.readouterr().err
    assert not (source / "published").exists()
