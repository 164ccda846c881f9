"""Test the recipe for LUNA16 on scans of its layout, and FROC against an example by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tests.helpers.finetuning import read_csv
from tests.helpers.recipe_runs import commands_of, content_of, run_all
from train.recipes.luna16 import froc
from train.recipes.luna16.crops import cut_crop
from train.recipes.luna16.curve import froc_curve, match_candidates, sensitivities
from train.recipes.luna16.marks import Mark
from train.recipes.luna16.prepare import PrepareConfig, main

SHAPE, SPACING, ORIGIN = (14, 30, 30), (2.5, 1.0, 1.0), (-15.0, -10.0, -20.0)
"""(D, H, W) of a scan; the origin is (x, y, z) in mm, LPS."""

PLACES = [(0.0, 4.0, -5.0), (-10.0, -8.0, -12.0), (5.0, 10.0, 0.0), (8.0, 0.0, -2.0)]
"""Candidates of each scan, LPS; the first is a nodule."""


def uid(subset: int) -> str:
    return f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{1000 + subset}"


def write_tree(folder: Path) -> Path:
    """Write a scan in each subset; the value of a voxel is its position along the patient's left, and noise."""
    random = np.random.default_rng(0)
    candidates, nodules = ["seriesuid,coordX,coordY,coordZ,class"], ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    excluded = list(nodules)
    for subset in range(10):
        (folder / f"subset{subset}").mkdir(parents=True)
        left = ORIGIN[0] + SPACING[2] * np.arange(SHAPE[2])
        voxels = 10 * left + random.integers(0, 3, SHAPE)
        image = sitk.GetImageFromArray(voxels.astype(np.int16))
        image.SetSpacing(SPACING[::-1])
        image.SetOrigin(ORIGIN)
        sitk.WriteImage(image, str(folder / f"subset{subset}" / f"{uid(subset)}.mhd"))
        candidates += [f"{uid(subset)},{x},{y},{z},{int(not n)}" for n, (x, y, z) in enumerate(PLACES)]
        nodules.append(f"{uid(subset)},0.5,4.0,-5.0,6.0")
        excluded.append(f"{uid(subset)},-10.0,-8.0,-11.0,-1.0")
    script = folder / "evaluationScript" / "annotations"
    script.mkdir(parents=True)
    (folder / "candidates_V2.csv").write_text("\n".join(candidates) + "\n")
    (folder / "annotations.csv").write_text("\n".join(nodules) + "\n")
    (script / "annotations.csv").write_text("\n".join(nodules) + "\n")
    (script / "annotations_excluded.csv").write_text("\n".join(excluded) + "\n")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("luna16"))


@pytest.fixture(scope="module")
def prepared(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    report = main(PrepareConfig(source=tree, out=out, negatives=2, edge=16))
    assert (report["scans"], report["missing"]) == (10, 0)
    assert report["folds"] == {0: {"train": 24, "val": 3, "test": 4}}
    return out


def test_preparing_again_writes_the_same_bytes_and_other_folds_are_added(tree: Path, prepared: Path) -> None:
    first = content_of(prepared)
    main(PrepareConfig(source=tree, out=prepared, negatives=2, edge=16))
    assert content_of(prepared) == first
    main(PrepareConfig(source=tree, out=prepared, negatives=2, edge=16, folds=(9,)))
    second = content_of(prepared)
    assert {name: second[name] for name in first} == first
    assert json.loads(second["fold9/splits.json"])["val"] == [uid(0)]
    with pytest.raises(ValueError, match=r"prepared.json .* other content"):
        main(PrepareConfig(source=tree, out=prepared, negatives=3, edge=16))


def test_crops_are_centred_on_candidates(prepared: Path) -> None:
    split = json.loads((prepared / "fold0" / "splits.json").read_text())
    assert (split["test"], split["val"], len(split["train"])) == ([uid(0)], [uid(1)], 8)
    rows = [row for row in read_csv(prepared / "fold0" / "classes.csv") if row["case"].startswith(uid(0))]
    assert [row["class"] for row in rows] == ["nodule", "other", "other", "other"]
    paths = {row["case"]: row["path"] for row in read_csv(prepared / "fold0" / "images.csv")}
    image = nib.load(paths[rows[1]["case"]])
    x, y, z = PLACES[1]
    middle = image.affine @ [7.5, 7.5, 7.5, 1]
    np.testing.assert_allclose(middle[:3], [-x, -y, z])
    values = np.asarray(image.dataobj)
    rightmost = values[:, 8, 8]  # along RAS x, that is from left -2.5 to -17.5 mm; the scan begins at -15
    np.testing.assert_array_equal(rightmost[-2:], [-1000, -1000])
    lefts = -(image.affine[0, 3] + np.arange(16))
    inside = lefts >= ORIGIN[0] + 0.5
    np.testing.assert_allclose(rightmost[inside], 10 * lefts[inside], atol=2.5)


def test_a_crop_equals_interpolation_of_a_linear_volume() -> None:
    grid = np.meshgrid(*(np.arange(n) for n in (9, 10, 11)), indexing="ij")
    volume = (100 * grid[0] + 10 * grid[1] + grid[2]).astype(np.float32)
    affine = np.diag([0.5, 2.0, 1.0, 1.0])
    affine[:3, 3] = [-3, 5, 7]
    crop = cut_crop(volume, affine, (-0.5, 13.0, 11.0), edge=3, spacing=2.0)
    wanted = [[[100 * d + 10 * h + w for w in (1, 5, 9)] for h in (3, 4, 5)] for d in (2, 4, 6)]
    np.testing.assert_array_equal(crop, wanted)
    with pytest.raises(ValueError, match="a position in the scan"):
        cut_crop(volume, affine, (-4.0, 13.0, 11.0), edge=3, spacing=2.0)
    with pytest.raises(ValueError, match="axes along those of the patient"):
        cut_crop(volume, affine + np.eye(4, k=1) * 0.1, (0.0, 13.0, 11.0), edge=3, spacing=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: (tree / "subset3" / f"{uid(3)}.mhd").unlink(), "ten subsets, 1 missing: subset3"),
        (lambda tree: (tree / "subset3" / f"{uid(3)}.mhd").rename(tree / "subset4/x.mhd"), "missing: subset3"),
        (lambda tree: (tree / "subset3" / f"{uid(3)}.raw").unlink(), rf"1 of subset3 cannot \({uid(3)}"),
        (lambda tree: (tree / "candidates_V2.csv").unlink(), "tables of LUNA16, 1 missing: candidates_V2.csv"),
        (lambda tree: edit(tree / "candidates_V2.csv", f"{uid(2)},", f"{uid(77)},"), f"1 missing: {uid(77)}"),
        (lambda tree: edit(tree / "candidates_V2.csv", ",-5.0,1", ",-5.0,2"), "valid class in line 2"),
        (
            lambda tree: edit(tree / "candidates_V2.csv", ",-5.0,1", ",500.0,1"),
            r"candidate 1.3.*_000000: .* a position",
        ),
        (lambda tree: edit(tree / "annotations.csv", "6.0", "7.0"), "expected one annotations.csv, .* differ"),
    ],
    ids=["subset", "scan", "voxels", "table", "series", "class", "place", "copies"],
)
def test_what_is_missing_or_inconsistent_is_named(tmp_path: Path, change, message: str) -> None:
    change(write_tree(tmp_path / "tree"))
    with pytest.raises(ValueError, match=message):
        main(PrepareConfig(source=tmp_path / "tree", out=tmp_path / "out", edge=8))


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_missing_scans_may_be_left(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    for subset in (1, 4, 5, 6, 7, 8, 9):
        (tree / f"subset{subset}" / f"{uid(subset)}.mhd").unlink()
    report = main(PrepareConfig(source=tree, out=tmp_path / "out", edge=8, missing="leave"))
    assert (report["scans"], report["missing"]) == (3, 7)
    assert json.loads((tmp_path / "out/fold0/splits.json").read_text())["val"] == [uid(2)]


def test_froc_of_two_scans_by_hand() -> None:
    def mark(scan: str, x: float, value: float) -> Mark:
        return Mark(scan, (x, 0.0, 0.0), value)

    nodules = [mark("a", 0, 6), mark("a", 20, 6), mark("b", 0, 6), mark("c", 0, 6)]
    excluded = [mark("a", 40, -1), mark("b", 40, 4)]
    candidates = [
        mark("a", 1, 0.9),  # hits the first nodule, as does the next
        mark("a", 2, 0.3),
        mark("a", 23, 0.8),  # on the radius: a false positive
        mark("a", 44.9, 0.7),  # hits a finding of unknown size: ignored
        mark("b", 1, 0.6),  # hits the nodule of b
        mark("b", 42.5, 0.5),  # outside of the finding's radius: a false positive
        mark("b", 60, 0.4),  # a false positive
        mark("c", 1, 0.99),  # of a scan that was not searched
    ]
    matched = match_candidates(["a", "b"], candidates, nodules, excluded)
    assert (matched.hits, matched.false, matched.nodules, matched.scans) == ([0.9, 0.6], [0.8, 0.5, 0.4], 3, 2)
    rates, curve = froc_curve(matched)
    # Thresholds above all, 0.9, 0.8, 0.6, 0.5, 0.4.
    assert rates.tolist() == [0, 0, 0.5, 0.5, 1, 1.5]
    np.testing.assert_allclose(curve, [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(sensitivities(matched), [1 / 3, 1 / 3, *[2 / 3] * 5])


def test_froc_refuses_candidates_without_a_prediction_or_with_two(prepared: Path, tmp_path: Path) -> None:
    rows = [row["case"] for row in read_csv(prepared / "fold0" / "classes.csv") if row["case"].startswith(uid(0))]
    for name, cases in (("all", rows), ("less", rows[1:])):
        (tmp_path / f"{name}.csv").write_text("case,p nodule\n" + "".join(f"{case},0.5\n" for case in cases))
    config = froc.FrocConfig(prepared=prepared, predicted=(tmp_path / "all.csv",), out=tmp_path / "froc.json")
    # The first candidate hits the nodule, the second a finding; the other two are false positives.
    assert froc.main(config)["sensitivity"]["2"] == 1
    for names, message in ((("less",), f"1 missing: {rows[0]}"), (("all", "less"), f"{rows[1]} is in several files")):
        wrong = replace(config, predicted=tuple(tmp_path / f"{name}.csv" for name in names))
        with pytest.raises(ValueError, match=message):
            froc.main(wrong)


def test_equal_probabilities_are_one_point_of_the_curve() -> None:
    nodules = [Mark("a", (0, 0, 0), 6)]
    candidates = [Mark("a", (0, 0, 0), 0.5), Mark("a", (9, 0, 0), 0.5)]
    matched = match_candidates(["a", "b"], candidates, nodules, [])
    np.testing.assert_allclose(sensitivities(matched, (0.125, 0.25, 0.5)), [0.25, 0.5, 1])


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    places = {"data/LUNA16": tree, "runs/luna16": tmp_path / "runs"}
    control = commands_of("luna16", places, tmp_path, DEVICE="cpu", INIT="random")
    commands = commands_of("luna16", places, tmp_path, DEVICE="cpu")[len(control) :]
    assert [module.removeprefix("train.") for _, module, *_ in commands] == [
        *("recipes.luna16.prepare", "dali_cr", "dali_cr", "pretrain", "finetune", "predict", "recipes.luna16.froc"),
        "result",
    ]
    assert [module for _, module, *_ in control].count("train.pretrain") == 0
    (finetuning,) = (words for _, module, *words in control if module == "train.finetune")
    assert finetuning[finetuning.index("--init") + 1] == "random"
    small = "--crop 16 16 16 --sizes 16 24 24 --local-crop 8 8 8 --local-sizes 8 8 8 --patch 2 --iterations 4"
    outputs = run_all(commands, f"{small} --evaluate-samples 2", "")
    score = json.loads(outputs[-2].splitlines()[-1])
    assert (score["scans"], score["nodules"], score["candidates"], score["nodules_with_candidate"]) == (1, 1, 4, 1)
    assert list(score["sensitivity"]) == ["0.125", "0.25", "0.5", "1", "2", "4", "8"]
    predicted = read_csv(tmp_path / "runs" / "fold0" / "predicted" / "classes.csv")
    scored = {row["case"]: row["p nodule"] for row in read_csv(tmp_path / "runs" / "fold0" / "finetune" / "scores.csv")}
    assert len(predicted) == 4
    assert all(abs(float(scored[row["case"]]) - float(row["p nodule"])) < 1e-5 for row in predicted)
    result = json.loads((tmp_path / "runs" / "fold0" / "result.json").read_text())
    assert 0 <= result["scores"]["by_class"]["nodule"]["auroc"] <= 1
