"""Predictions: on the grid of the input, equal to what was scored, and errors for unsuitable data."""

import csv
import errno
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import dali_cr
from tests.helpers.finetuning import classify, dice, localize, read_csv, run_pretraining, segment
from tests.helpers.volumes import ORIENTATIONS, write_nifti
from train import finetune, predict
from train.data import masks as masks_module
from train.data.boxes import box_of, to_canonical
from train.data.masks import write_mask
from train.data.split.make import load_split
from train.data.volumes import pad_evenly, read_case
from train.networks.weights import export_weights, read_weights
from train.predict import PredictConfig, open_run
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
    return predict.main(PredictConfig(run=run, out=out, **(settings | changes)))


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
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*cases, "predict.json"}
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
    predict.main(PredictConfig(run=run, data=(tmp_path / "padded",), out=tmp_path / "out", device="cpu"))

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
        assert off == pytest.approx(float(row["face_mm"]), abs=1e-4)
        affine = nib.load(data / "images" / row["case"]).affine
        centre = affine[:3, :3] @ ((np.array(found["lo"]) + found["hi"]) / 2 - 0.5) + affine[:3, 3]
        np.testing.assert_allclose(centre, found["centroid_mm"], atol=1e-3)


@pytest.mark.parametrize("name", ["classify", "several"])
def test_classes_are_what_was_scored(data, runs, tmp_path, name):
    predicted(data, runs / name, tmp_path / "out")
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        found = {row["case"]: row for row in csv.DictReader(file)}
    for row in read_csv(runs / name / "scores.csv"):
        assert found[row["case"]]["class"] == row["predicted"]
        for column in row:
            if column.startswith("p "):
                assert float(found[row["case"]][column]) == pytest.approx(float(row[column]), abs=1e-6)
    if name == "classify":
        for row in found.values():
            assert sum(float(row[f"p {one}"]) for one in ("even", "odd")) == pytest.approx(1, abs=1e-5)


def test_all_of_the_data_without_a_split(data, runs, tmp_path, capsys):
    run = runs / "classify"
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "images" / "damaged.nii.gz").write_bytes(b"")
    report = predicted(tmp_path / "data", run, tmp_path / "out", split=None)
    assert (report["cases"], report["refused"]) == (8, 1)
    count = len(load_split(data / "splits.json").train)
    warning = f"warning    {count} of these 8 cases are in the training part of the run; for the test cases alone give"
    assert f"{warning} --split {run / 'splits.json'}\n" in capsys.readouterr().out


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
        predict.main(PredictConfig(run=run, out=tmp_path / "out", **({"data": (data / "images",)} | paths)))
    assert not (tmp_path / "out").exists()


def test_refuses_what_the_network_was_not_made_for(data, runs, tmp_path):
    random = np.random.default_rng(0)
    for name, shape in (("big", (30, 20, 20)), ("two", (20, 20, 20, 2))):
        (tmp_path / name).mkdir()
        image = nib.Nifti1Image(random.integers(0, 999, shape).astype("i2"), np.eye(4))
        nib.save(image, tmp_path / name / "x.nii.gz")
    with pytest.raises(Refused, match="expected 1 channels, as in training, got 2"):
        predict.main(PredictConfig(run=runs / "segment", data=(tmp_path / "two",), out=tmp_path / "out"))
    with pytest.raises(Refused, match="contains every volume, 20 20 30 or more"):
        predict.main(PredictConfig(run=runs / "localize", data=(tmp_path / "big",), out=tmp_path / "out"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(Refused, match=r"new or empty folder, got .* with thesis\.txt"):
        predict.main(PredictConfig(run=runs / "segment", data=(data / "images",), out=tmp_path / "full"))


def test_a_pretraining_run_predicts_nothing(data, tmp_path):
    run = run_pretraining(data, tmp_path / "pre")
    with pytest.raises(Refused, match="pre is one of pre-training"):
        predict.main(PredictConfig(run=run, data=(data / "images",), out=tmp_path / "out"))


def test_command(data, runs, tmp_path, capsys):
    words = [str(runs / "classify"), "--data", str(data / "images"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert predict.command_line(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cases"] == 8
    assert predict.command_line(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("predict: out: expected a new or empty folder")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def settings(folder):
    return json.loads((folder / "predict.json").read_text())


def test_settings_lie_beside_the_masks(data, runs, tmp_path):
    run = runs / "segment"
    predicted(data, run, tmp_path / "out", batch_size=3)
    kept = settings(tmp_path / "out")
    assert kept["finished"]
    assert (kept["config"]["batch_size"], kept["config"]["data"]) == (3, [str(data / "images")])
    assert kept["weights"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert kept["network"]["task"]["classes"] == ["trunk", "right lung", "left lung"]
    assert sorted([*kept["outputs"]["masks"].values(), "predict.json"]) == names(tmp_path / "out")
    assert {"versions", "commit", "device"} <= set(kept)


@pytest.mark.parametrize("name", ["segment", "regions"])
@pytest.mark.parametrize("factor", [None, 0.8], ids=["own", "resampled"])
def test_probabilities_say_what_the_masks_say(data, runs, tmp_path, name, factor):
    task, module, _ = open_run(runs / name)
    index = dali_cr.scan(data / "images", "*_00[0-3]*", progress=False)
    own_spacing = index.cases[0].volumes[0].spacing
    task.view = replace(task.view, spacing=factor and tuple(factor * edge for edge in own_spacing))
    module.eval()
    with torch.no_grad():
        assert len(list(task.predict(module, index, tmp_path / "a"))) == 4
        assert len(list(task.predict(module, index, tmp_path / "b", probabilities=True))) == 4
    assert sum(np.asarray(nib.load(tmp_path / "a" / case.name).dataobj).any() for case in index.cases) > 1
    for case in index.cases:
        own, image = nib.load(tmp_path / "b" / "probabilities" / case.name), nib.load(data / "images" / case.name)
        shares = np.asarray(own.dataobj)
        mask = np.asarray(nib.load(tmp_path / "b" / case.name).dataobj)
        np.testing.assert_array_equal(mask, np.asarray(nib.load(tmp_path / "a" / case.name).dataobj))
        np.testing.assert_array_equal(own.affine, image.affine)
        assert own.shape == (*image.shape, len(task.values) + (name == "segment"))
        assert own.get_data_dtype().newbyteorder("=") == np.float32
        if name == "segment":
            np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
            np.testing.assert_array_equal(np.array([0, *task.values])[shares.argmax(-1)], mask)
        else:
            wanted = np.zeros(mask.shape, np.uint8)
            for value, share in zip(task.values, np.moveaxis(shares, -1, 0), strict=True):
                wanted[share > 0.5] = value
            np.testing.assert_array_equal(wanted, mask)


def test_probabilities_are_of_masks_and_classes_not_of_boxes(data, runs, tmp_path):
    with pytest.raises(Refused, match="probabilities: expected a run of segment or classify"):
        predicted(data, runs / "localize", tmp_path / "out", probabilities=True)
    assert not (tmp_path / "out").exists()
    predicted(data, runs / "classify", tmp_path / "out", probabilities=True)
    assert names(tmp_path / "out") == ["classes.csv", "predict.json"]


def test_each_case_has_a_mask_of_its_own(data, runs, tmp_path):
    """Names that differ in their suffix, in a frame, after a dot, or in bytes that are not UTF-8."""
    images = sorted((data / "images").iterdir())
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    odd = os.fsdecode(b"gr\xfcn.nii.gz")
    for name, source in zip(("a.nii.gz", "c_1.nii.gz", "1.2.840.nii.gz", "b/a.nii.gz"), images, strict=False):
        (folder / name).write_bytes(source.read_bytes())
    nib.save(nib.load(images[4]), folder / "a.nii")
    nib.save(nib.load(images[5]), folder / "odd.nii.gz")
    os.rename(folder / "odd.nii.gz", folder / odd)
    twice = nib.load(images[6])
    voxels = np.stack([twice.get_fdata(), twice.get_fdata()[::-1]], -1)
    nib.save(nib.Nifti1Image(voxels.astype("f4"), twice.affine), folder / "c.nii.gz")
    report = predict.main(
        PredictConfig(run=runs / "segment", data=(folder,), out=tmp_path / "out", fourth_axis="cases", device="cpu")
    )
    masks = ["1.2.840.nii.gz", "a.nii", "a.nii.gz", "b/a.nii.gz", "c#0.nii.gz", "c#1.nii.gz", "c_1.nii.gz", odd]
    assert names(tmp_path / "out") == sorted([*masks, "predict.json"])
    assert report["cases"] == len(masks)
    task, module, _ = open_run(runs / "segment")
    index = dali_cr.scan(folder, fourth_axis="cases", progress=False)
    module.eval()
    for case in index.cases:
        wanted = task.segment(module, index.root, case)
        mask = nib.load(tmp_path / "out" / settings(tmp_path / "out")["outputs"]["masks"][case.name])
        np.testing.assert_array_equal(dali_cr.read_volume(mask.get_filename())[0], wanted)


def test_cut_predictions_begin_again_by_the_same_command_alone(data, runs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = [str(runs / "segment"), "--data", str(data / "images"), "--out", str(out), "--device", "cpu"]
    write, count = masks_module.write_nifti, []

    def interrupt_third(path, content):
        count.append(path)
        if len(count) == 3:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(masks_module, "write_nifti", interrupt_third)
        assert predict.command_line(words) == 130
    line = "predict: stopped by SIGINT; finished files are kept; run the same command to start again"
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert len(names(out)) == 3
    assert not settings(out)["finished"]
    for change, says in ((["--batch-size", "3"], "expected the config"), (["--probabilities"], "expected the config")):
        assert predict.command_line([*words, *change]) == 2
        assert f"{says} of the unfinished predictions in {out}" in capsys.readouterr().err
    (out / "mine.txt").touch()
    assert predict.command_line(words) == 2
    assert "also has mine.txt" in capsys.readouterr().err
    (out / "mine.txt").unlink()
    assert predict.command_line(words) == 0
    assert (len(names(out)), settings(out)["finished"]) == (9, True)
    assert predict.command_line(words) == 2


def test_a_full_disk_leaves_no_half_mask_and_names_the_file(data, runs, tmp_path, monkeypatch, capsys):
    def full(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("phantom_001.nii.gz.part"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    words = [str(runs / "segment"), "--data", str(data / "images"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert predict.command_line(words) == 1
    assert (
        f"predict: [Errno 28] No space left on device: '{tmp_path}/out/phantom_001.nii.gz'" in capsys.readouterr().err
    )
    assert names(tmp_path / "out") == ["phantom_000.nii.gz", "predict.json"]


@pytest.fixture(scope="module")
def channels(data, tmp_path_factory):
    """Cases with two channels of different values, their labels, and a run trained on them."""
    folder = tmp_path_factory.mktemp("channels")
    for path in sorted((data / "images").iterdir()):
        case = folder / "data" / path.name.split(".")[0]
        case.mkdir(parents=True)
        image = nib.load(path)
        nib.save(image, case / "t1.nii.gz")
        nib.save(nib.Nifti1Image(1000 - image.get_fdata(), image.affine), case / "t2.nii.gz")
    config = segment(
        data,
        folder / "run",
        data=(folder / "data",),
        pattern=("{case}/{channel}.nii.gz",),
        channels=("t2", "t1"),
        split=None,
        steps=20,
        lr=1e-2,
    )
    finetune.main(config)
    return folder


def test_data_are_read_as_the_training_read_them(channels, tmp_path, capsys):
    predict.main(PredictConfig(run=channels / "run", data=(channels / "data",), out=tmp_path / "out", device="cpu"))
    told = capsys.readouterr().out
    assert "as trained pattern {case}/{channel}.nii.gz" in told
    assert "as trained channels t2 t1" in told
    assert names(tmp_path / "out") == [*(f"phantom_{n:03}.nii.gz" for n in range(8)), "predict.json"]
    assert settings(tmp_path / "out")["data"]["channel_names"] == ["t2", "t1"]
    task, module, _ = open_run(channels / "run")
    index = dali_cr.scan(channels / "data", "{case}/{channel}.nii.gz", channels=("t2", "t1"), progress=False)
    module.eval()
    wanted = task.segment(module, index.root, index.cases[0])
    np.testing.assert_array_equal(dali_cr.read_volume(tmp_path / "out" / "phantom_000.nii.gz")[0], wanted)


def test_a_channel_more_in_the_folders_does_not_move_the_others(channels, tmp_path):
    shutil.copytree(channels / "data", tmp_path / "data")
    for case in (tmp_path / "data").iterdir():
        shutil.copy(case / "t1.nii.gz", case / "flair.nii.gz")
    predict.main(PredictConfig(run=channels / "run", data=(tmp_path / "data",), out=tmp_path / "out", device="cpu"))
    assert settings(tmp_path / "out")["data"]["channel_names"] == ["t2", "t1"]


def test_other_channels_are_refused(channels, tmp_path):
    config = PredictConfig(run=channels / "run", data=(channels / "data",), out=tmp_path / "out", device="cpu")
    with pytest.raises(
        Refused, match="expected t2, t1, in the order of the training; got t1, t2. Give --channels in this order"
    ):
        predict.main(replace(config, channels=("t1", "t2")))
    shutil.copytree(channels / "data", tmp_path / "data")
    for case in (tmp_path / "data").iterdir():
        (case / "t2.nii.gz").rename(case / "dwi.nii.gz")
    with pytest.raises(Refused, match="channel t2 is missing"):
        predict.main(replace(config, data=(tmp_path / "data",)))
    with pytest.raises(Refused, match="expected t2, t1, in the order of the training; got t1, dwi. Give a --pattern"):
        predict.main(replace(config, data=(tmp_path / "data",), channels=("t1", "dwi")))
    dali_cr.scan(channels / "data", "{case}/{channel}.nii.gz", progress=False).save(tmp_path / "index.json")
    with pytest.raises(Refused, match="got t1, t2"):
        predict.main(replace(config, data=(), index=tmp_path / "index.json"))
    assert not (tmp_path / "out").exists()


def test_an_older_run_says_it_in_its_folder(channels, tmp_path):
    shutil.copytree(channels / "run", tmp_path / "run")
    tensors, about = read_weights(tmp_path / "run" / "model.safetensors")
    about.pop("data")
    export_weights(tmp_path / "run" / "model.safetensors", tensors, tensors, about)
    config = PredictConfig(run=tmp_path / "run", data=(channels / "data",), out=tmp_path / "out", device="cpu")
    with pytest.raises(Refused, match="got t1, t2"):
        predict.main(replace(config, channels=("t1", "t2")))
    assert predict.main(config)["cases"] == 8
