"""Predictions: on the grid of the input, what was scored, and nothing where it cannot be."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import dali_cr
from tests.helpers.finetuning import classify, dice, localize, read_csv, run_pretraining, segment
from tests.helpers.volumes import ORIENTATIONS, write_nifti
from train import finetune, predict
from train.data.boxes import box_of, to_canonical
from train.data.masks import write_mask
from train.data.split import load_split
from train.data.volumes import pad_evenly, read_case
from train.predict import Config, open_run
from train.run.exits import Refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """A run of each task, trained for a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    finetune.main(segment(data, folder / "segment", steps=40, lr=1e-2, foreground=0.9))
    finetune.main(segment(data, folder / "regions", regions=("all=1+2+3", "2", "3"), steps=40, lr=1e-2))
    finetune.main(localize(data, folder / "localize"))
    finetune.main(classify(data, folder / "classify"))
    finetune.main(classify(data, folder / "several", multilabel=True, columns=("even", "third")))
    return folder


def predicted(data, run, out, **changes):
    settings = {"data": (data / "images",), "split": run / "splits.json", "device": "cpu"}
    return predict.main(Config(run=run, out=out, **(settings | changes)))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mask_lies_on_the_files_own_grid(tmp_path, orientation):
    canonical = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    path = write_nifti(tmp_path / "in" / "a" / "x.nii.gz", canonical, orientation=orientation, spacing=(1, 2.5, 4))
    index = dali_cr.scan(tmp_path / "in", progress=False)
    labels = (dali_cr.read_volume(path)[0] % 250).astype(np.uint8)
    written = write_mask(labels, index.root, index.cases[0], tmp_path / "out")
    assert written == tmp_path / "out" / "a" / "x.nii.gz"
    source, mask = nib.load(path), nib.load(written)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), source.get_fdata() % 250)
    np.testing.assert_array_equal(mask.affine, source.affine)
    assert (mask.shape, mask.get_data_dtype()) == (source.shape, np.uint8)
    for code in ("sform_code", "qform_code"):
        assert mask.header[code] == source.header[code]


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Image, nib.Nifti1Image], ids=lambda kind: kind.__name__)
def test_a_mask_of_any_kind_of_file(tmp_path, kind):
    header = kind.header_class()
    header["cal_max"] = 40
    header.set_slope_inter(0.5, -3)
    image = kind(np.random.default_rng(0).integers(0, 99, (4, 5, 6, 2)).astype(">i2"), np.diag([2, 2, 3, 1.0]), header)
    nib.save(image, tmp_path / ("x.hdr" if kind is nib.Nifti1Pair else "x.nii"))
    index = dali_cr.scan(tmp_path, progress=False)
    labels = np.arange(120, dtype=np.uint8).reshape(6, 5, 4)
    mask = nib.load(write_mask(labels, index.root, index.cases[0], tmp_path / "out"))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), labels.transpose(2, 1, 0))
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.header["cal_max"] == 0


@pytest.mark.parametrize("name", ["segment", "regions"])
def test_masks_are_what_was_scored(data, runs, tmp_path, name):
    run = runs / name
    report = predicted(data, run, tmp_path / "out")
    rows = read_csv(run / "scores.csv")
    cases = {row["case"] for row in rows}
    assert report == {
        "run": str(run), "task": "segment", "out": str(tmp_path / "out"), "cases": len(cases), "device": "cpu",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == cases
    members = {"all": (1, 2, 3), "2": (2,), "3": (3,), "trunk": (1,), "right lung": (2,), "left lung": (3,)}
    some = 0
    for row in rows:
        mask, truth, image = (
            nib.load(folder / row["case"]) for folder in (tmp_path / "out", data / "labels", data / "images")
        )
        assert mask.shape == image.shape
        np.testing.assert_array_equal(mask.affine, image.affine)
        one, other = (np.isin(np.asarray(volume.dataobj), members[row["class"]]) for volume in (mask, truth))
        assert dice(one, other) == pytest.approx(float(row["dice"]), abs=1e-6)
        some += int(one.sum())
    assert some > 0


def test_one_checkpoint_scores_the_same_on_padded_volumes(data, runs, tmp_path):
    run, split = runs / "segment", load_split(data / "splits.json")
    for path in (data / "images").iterdir():
        if path.name.split(".")[0] in split.test:
            image = nib.load(path)
            padded = nib.Nifti1Image(np.pad(np.asarray(image.dataobj), 30), image.affine, image.header)
            (tmp_path / "padded").mkdir(exist_ok=True)
            nib.save(padded, tmp_path / "padded" / path.name)
    predict.main(Config(run=run, data=(tmp_path / "padded",), out=tmp_path / "out", device="cpu"))

    module, index = open_run(run)[1].eval(), dali_cr.scan(tmp_path / "padded", progress=False)
    scored = {row["case"]: float(row["dice"]) for row in read_csv(run / "scores.csv") if row["class"] == "trunk"}
    assert min(scored.values()) > 0.2
    for case in index.cases:
        truth = np.pad(dali_cr.read_volume(data / "labels" / case.name)[0] == 1, 30)
        mask = dali_cr.read_volume(tmp_path / "out" / case.name)[0] == 1
        assert dice(mask, truth) == pytest.approx(scored[case.name], abs=0.005)
        # Shown all of the padded volume at once, the same weights say something else.
        whole = read_case(index.root, case, "zscore")
        with torch.no_grad():
            answer = module(torch.from_numpy(pad_evenly(whole, (96, 96, 96), [0.0])[0])[None])[0].argmax(0).numpy()
        inner = tuple(slice((96 - n) // 2, (96 - n) // 2 + n) for n in truth.shape)
        assert dice(answer[inner] == 1, truth) < scored[case.name] - 0.1


def test_boxes_are_what_was_scored(data, runs, tmp_path):
    predicted(data, runs / "localize", tmp_path / "out")
    boxes = json.loads((tmp_path / "out" / "boxes.json").read_text())
    index = dali_cr.scan(data / "images", progress=False)
    rows = read_csv(runs / "localize" / "scores.csv")
    assert {row["case"] for row in rows} == set(boxes)
    for row in rows:
        geometry = next(case for case in index.cases if case.name == row["case"]).volumes[0].geometry
        found = boxes[row["case"]][row["class"]]
        box = to_canonical(np.array([[found["lo"], found["hi"]]]), geometry)[0]
        label = {"trunk": 1, "right lung": 2, "left lung": 3}[row["class"]]
        truth = box_of(dali_cr.read_volume(data / "labels" / row["case"]) == label)[0]
        off = np.abs((box - truth) * geometry.spacing).mean()
        assert off == pytest.approx(float(row["wall_mm"]), abs=1e-4)
        affine = nib.load(data / "images" / row["case"]).affine
        centre = affine[:3, :3] @ ((np.array(found["lo"]) + found["hi"]) / 2 - 0.5) + affine[:3, 3]
        np.testing.assert_allclose(centre, found["centroid_mm"], atol=1e-3)


@pytest.mark.parametrize("name", ["classify", "several"])
def test_classes_are_what_was_scored(data, runs, tmp_path, name):
    predicted(data, runs / name, tmp_path / "out")
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        found = {row["case"]: row for row in csv.DictReader(file)}
    for row in read_csv(runs / name / "scores.csv"):
        assert found[row["case"]]["class"] == row["said"]
        for column in row:
            if column.startswith("p "):
                assert float(found[row["case"]][column]) == pytest.approx(float(row[column]), abs=1e-6)
    if name == "classify":
        for row in found.values():
            assert sum(float(row[f"p {one}"]) for one in ("even", "odd")) == pytest.approx(1, abs=1e-5)


def test_all_of_the_data_without_a_split(data, runs, tmp_path):
    assert predicted(data, runs / "classify", tmp_path / "out", split=None)["cases"] == 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run": "nowhere"}, "nowhere/model.safetensors is missing"),
        ({"data": ("/nowhere",)}, "/nowhere"),
        ({"split": "nowhere.json"}, "nowhere.json"),
    ],
    ids=str,
)
def test_refuses_the_impossible(data, runs, tmp_path, change, says):
    paths = {name: (Path(value[0]),) if isinstance(value, tuple) else Path(value) for name, value in change.items()}
    run = paths.pop("run", runs / "segment")
    with pytest.raises((Refused, OSError), match=says):
        predict.main(Config(run=run, out=tmp_path / "out", **({"data": (data / "images",)} | paths)))
    assert not (tmp_path / "out").exists()


def test_refuses_what_the_network_was_not_made_for(data, runs, tmp_path):
    random = np.random.default_rng(0)
    for name, shape in (("big", (30, 20, 20)), ("two", (20, 20, 20, 2))):
        (tmp_path / name).mkdir()
        image = nib.Nifti1Image(random.integers(0, 999, shape).astype("i2"), np.eye(4))
        nib.save(image, tmp_path / name / "x.nii.gz")
    with pytest.raises(Refused, match="wanted 1 channels, as in training, got 2"):
        predict.main(Config(run=runs / "segment", data=(tmp_path / "two",), out=tmp_path / "out"))
    with pytest.raises(Refused, match="holds every volume, up to 20 20 30"):
        predict.main(Config(run=runs / "localize", data=(tmp_path / "big",), out=tmp_path / "out"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(Refused, match=r"new or empty folder, .* holds thesis\.txt"):
        predict.main(Config(run=runs / "segment", data=(data / "images",), out=tmp_path / "full"))


def test_a_pretraining_run_predicts_nothing(data, tmp_path):
    run = run_pretraining(data, tmp_path / "pre")
    with pytest.raises(Refused, match="pre is one of pre-training"):
        predict.main(Config(run=run, data=(data / "images",), out=tmp_path / "out"))


def test_command(data, runs, tmp_path, capsys):
    words = [str(runs / "classify"), "--data", str(data / "images"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert predict.command_line(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cases"] == 8
    assert predict.command_line(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("predict: out: wanted a new or empty folder")
