"""2-D images: pre-training, three tasks, prediction, overlays, and errors."""

import csv
import json
import shutil
from dataclasses import replace

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import dali_cr
from tests.helpers.finetuning import prepared, read_csv, write_data
from tests.helpers.finetuning import segment as segment_volumes
from tests.helpers.images import IMAGES, SHAPE, classify, localize, pretraining, segment, write_images
from tests.helpers.runs import stop_at
from train import finetune, overlay, predict, pretrain
from train.data.boxes import read_boxes
from train.data.split.make import load_split, split_of_table
from train.networks.build import build_network
from train.run.exits import Refused
from train.tasks.task import run_network

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def inits(data, tmp_path_factory):
    """A pre-training run of each network."""
    folder = tmp_path_factory.mktemp("runs")
    for network in ("dynunet", "sononet64"):
        pretrain.main(pretraining(data, folder / network, network=network))
    return folder


def predicted(data, run, out, **changes):
    settings = {"data": (data / "images",), "pattern": IMAGES, "split": data / "splits.json", "device": "cpu"}
    return predict.main(predict.PredictConfig(run=run, out=out, **(settings | changes)))


def drawn(data, predictions, out, **more):
    where = {"data": (data / "images",), "pattern": IMAGES, "split": data / "splits.json"}
    return overlay.main(overlay.OverlayConfig(predictions=predictions, out=out, **where, **more))


@pytest.mark.parametrize("make", [segment, localize, classify], ids=lambda make: make.__name__)
@pytest.mark.parametrize("network", ["dynunet", "sononet64"])
def test_images_from_pretraining_to_prediction(data, inits, tmp_path, make, network):
    init = inits / network
    run = prepared(make(data, tmp_path / "looked_at", init=str(init), network=network))
    before = load_file(init / "encoder.safetensors")
    state = run.module.state_dict()
    prefix = "" if make is segment else "features."
    assert before
    assert all(torch.equal(tensor, state[prefix + name]) for name, tensor in before.items())

    out = tmp_path / "run"
    report = finetune.main(make(data, out, init=str(init), network=network))
    json.dumps(report, allow_nan=False)
    assert (report["task"], report["cases"]) == (make.__name__, 4)
    assert predicted(data, out, tmp_path / "predicted")["cases"] == 2


def test_masks_are_images_of_the_images_size_and_what_was_scored(data, tmp_path):
    run = tmp_path / "run"
    finetune.main(segment(data, run, steps=40, lr=1e-2))
    predicted(data, run, tmp_path / "predicted")
    scores = {row["case"]: float(row["dice"]) for row in read_csv(run / "scores.csv")}
    assert max(scores.values()) > 0.3
    for name, dice in scores.items():
        with Image.open(tmp_path / "predicted" / name) as file:
            assert (file.mode, file.size) == ("L", SHAPE[::-1])
            mask = np.asarray(file) > 0
        with Image.open(data / "masks" / name) as file:
            truth = np.asarray(file) > 0
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) == pytest.approx(dice, abs=1e-6)
    report = drawn(data, tmp_path / "predicted", tmp_path / "pictures")
    assert (report["pictures"], report["targets"]) == (len(scores), 0)
    picture = matplotlib.image.imread(tmp_path / "pictures" / min(scores))[:, :, :3]
    drawn_on = picture.min(2) < 0.99  # not the margins with title and legend
    rows = drawn_on.mean(1) > 0.5
    picture = picture[rows][:, drawn_on[rows].mean(0) > 0.5]
    height, width = picture.shape[:2]
    with Image.open(tmp_path / "predicted" / min(scores)) as file:
        mask = np.asarray(file.resize((width, height), Image.Resampling.NEAREST)) > 0
    # Where the mask is, the picture has a colour, and it lies the right way up.
    coloured = np.ptp(picture, axis=2) > 0.1
    assert (coloured == mask).mean() > 0.95


def test_boxes_are_what_was_scored(data, tmp_path):
    run = tmp_path / "run"
    finetune.main(localize(data, run, steps=5))
    predicted(data, run, tmp_path / "predicted")
    found = json.loads((tmp_path / "predicted" / "boxes.json").read_text())
    truth = {row["case"]: row for row in read_csv(data / "boxes.csv")}
    rows = read_csv(run / "scores.csv")
    assert len(rows) == len(found) == 2
    for row in rows:
        box, true = found[row["case"]]["box"], truth[row["case"]]
        assert (box["lo"][2], box["hi"][2]) == (0, 1)
        off = [box["lo"][0] - float(true["x0"]), box["lo"][1] - float(true["y0"])]
        off += [box["hi"][0] - float(true["x1"]), box["hi"][1] - float(true["y1"])]
        assert np.abs(off).mean() == pytest.approx(float(row["face_mm"]), abs=1e-4)
        assert np.hypot(off[0] + off[2], off[1] + off[3]) / 2 == pytest.approx(float(row["centroid_mm"]), abs=1e-4)
    report = drawn(data, tmp_path / "predicted", tmp_path / "pictures", labels=data / "boxes.csv")
    assert (report["pictures"], report["targets"]) == (2, 2)


def test_a_network_learns_where_things_are_in_images(data, tmp_path):
    report = finetune.main(localize(data, tmp_path / "run", filters=4, steps=120, lr=1e-2, shift=0, score="val"))
    trained = finetune.main(localize(data, tmp_path / "short", filters=4, steps=1, shift=0, score="val"))
    assert report["face_mm"] < 0.9 * trained["baseline_face_mm"]
    assert trained["face_mm"] == pytest.approx(trained["baseline_face_mm"], rel=0.1)


def test_moves_stay_in_the_plane(data, tmp_path):
    run = prepared(localize(data, tmp_path / "run", shift=3))
    plans = list(run.batches.loader._planner.plan(np.arange(50)))
    shifts = np.stack([run.task.target(plan)["shift"] for plan in plans])
    assert not shifts[:, 0].any()
    assert shifts[:, 1:].min() == -3
    assert run.task.target(plans[0])["boxes"].shape == (1, 2, 2)


def test_a_network_of_images_goes_through_a_volume_slice_by_slice(tmp_path):
    module = build_network("dynunet", 2, (1, 16, 16), filters=2, outputs=3, dims=2).module.eval()
    volumes = torch.randn(2, 2, 5, 16, 16)
    with torch.no_grad():
        answer = run_network(module, volumes, 2)
        assert answer.shape == (2, 3, 5, 16, 16)
        for place in range(5):
            torch.testing.assert_close(answer[:, :, place], module(volumes[:, :, place]))

    folder = write_data(tmp_path / "volumes")
    run = tmp_path / "run"
    report = finetune.main(segment_volumes(folder, run, dims=2, crop=(1, 16, 16), filters=4, steps=3))
    assert report["dice"] is not None
    predict.main(
        predict.PredictConfig(
            run=run, data=(folder / "images",), split=folder / "splits.json", out=tmp_path / "p", device="cpu"
        )
    )
    for path in (tmp_path / "p").glob("*.nii*"):
        assert nib.load(path).shape == nib.load(folder / "images" / path.name).shape


def test_slices_of_volumes_pretrain_a_network_of_images(tmp_path):
    folder = write_data(tmp_path / "volumes")
    settings = {"data": (folder / "images",), "pattern": ("**/*.nii.gz",), "crop": (1, 16, 16), "split": None}
    config = pretraining(folder, tmp_path / "run", slices="H", every=3, **settings)
    run = pretrain.prepare(config)
    run.loader.close()
    assert run.method.recipe.slices == dali_cr.Slices("H", every=3)
    report = pretrain.train(run)
    assert report["restoration_gain"] is not None
    with pytest.raises(Refused, match="--every was 3, got 2"):
        pretrain.main(replace(config, every=2, resume=True, steps=9))
    assert load_file(tmp_path / "run" / "model.safetensors")["input_block.conv1.conv.weight"].ndim == 4


@pytest.mark.parametrize("network", ["dynunet", "sononet64"])
def test_a_resumed_run_on_images_has_the_same_bytes(data, tmp_path, monkeypatch, network):
    config = pretraining(data, tmp_path / "whole", network=network, steps=6)
    pretrain.main(config)
    stop_at(monkeypatch, 3)
    stopped = replace(config, out=tmp_path / "stopped")
    with pytest.raises(pretrain.Stopped):
        pretrain.main(stopped)
    monkeypatch.undo()
    pretrain.main(replace(stopped, resume=True))
    for name in ("model.safetensors", "encoder.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    if network == "sononet64":
        assert load_file(tmp_path / "whole" / "encoder.safetensors")["analysis.0.0.norm.num_batches_tracked"] == 6


def changed_masks(data, tmp_path, change):
    """Copy the masks and change the first of train; return the folder and the file's name."""
    masks = tmp_path / "masks"
    shutil.copytree(data / "masks", masks)
    path = masks / f"{min(load_split(data / 'splits.json').train)}.png"
    with Image.open(path) as file:
        values = change(np.asarray(file).copy())
    if values is None:
        path.unlink()
    else:
        Image.fromarray(values).save(path)
    return masks, path.name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda mask: None, "{name}: image without a label"),
        (lambda mask: mask[1:], "{name}: on another grid: expected (1, 28, 44)"),
        (lambda mask: mask * 0, "{name}: empty: expected a labelled voxel"),
    ],
    ids=["missing", "size", "empty"],
)
def test_masks_that_do_not_fit_are_refused_by_name(data, tmp_path, change, says):
    masks, name = changed_masks(data, tmp_path, change)
    with pytest.raises(Refused) as refusal:
        finetune.main(segment(data, tmp_path / "run", labels=masks))
    assert says.format(name=name) in str(refusal.value)


def test_a_mask_without_an_image_is_refused(data, tmp_path):
    masks, name = changed_masks(data, tmp_path, lambda mask: mask)
    shutil.copy(masks / name, masks / "stranger.png")
    with pytest.raises(Refused, match=r"stranger\.png: label without an image"):
        finetune.main(segment(data, tmp_path / "run", labels=masks))


def test_a_class_that_train_lacks_is_refused(data, tmp_path):
    masks, _ = changed_masks(data, tmp_path, lambda mask: mask)
    name = f"{min(load_split(data / 'splits.json').test)}.png"
    with Image.open(masks / name) as file:
        other = np.asarray(file) // 255 * 7
    Image.fromarray(other).save(masks / name)
    with pytest.raises(Refused, match=f"label 7 is in {name} of test and in no case of train"):
        finetune.main(segment(data, tmp_path / "run", labels=masks))


def test_an_init_of_another_kind_is_refused(data, inits, tmp_path):
    init = str(inits / "sononet64")
    with pytest.raises(Refused, match="expected a dynunet, .* has a sononet64; use --network sononet64"):
        finetune.main(segment(data, tmp_path / "run", init=init))
    with pytest.raises(Refused, match="expected a network of --dims 3, .* has --dims 2; use --dims 2"):
        finetune.main(segment(data, tmp_path / "run", init=init, network="sononet64", dims=3))
    with pytest.raises(Refused, match=r"analysis.0.0.conv.weight: expected shape \(4, 1, 3, 3\), got \(2, 1, 3, 3\)"):
        finetune.main(segment(data, tmp_path / "run", init=init, network="sononet64", filters=4))


def test_colours_are_channels_and_other_channels_are_refused(data, inits, tmp_path):
    coloured = tmp_path / "coloured"
    coloured.mkdir()
    for path in (data / "images").iterdir():
        with Image.open(path) as file:
            Image.merge("RGB", (file, file.point(lambda value: 255 - value), file)).save(coloured / path.name)
    with pytest.raises(Refused, match="expected 3 channels, as the data have, .* has 1"):
        finetune.main(segment(data, tmp_path / "run", data=(coloured,), init=str(inits / "dynunet")))
    assert finetune.main(segment(data, tmp_path / "rgb", data=(coloured,)))["steps"] == 2
    with pytest.raises(Refused, match="channels: expected 3, as in training, got 1"):
        predicted(data, tmp_path / "rgb", tmp_path / "predicted")


def test_weights_that_saw_a_test_image_are_refused(data, tmp_path):
    pretrain.main(pretraining(data, tmp_path / "all", split=None))
    with pytest.raises(Refused, match=r"all was trained on \d+\.png, which is in (val|test)"):
        finetune.main(segment(data, tmp_path / "run", init=str(tmp_path / "all")))


def test_a_copy_of_a_test_image_in_the_pool_is_named(data, tmp_path):
    own, split = tmp_path / "own", load_split(data / "splits.json")
    shutil.copytree(data, own)
    ours, theirs = f"{min(split.train)}.png", f"{min(split.test)}.png"
    shutil.copy(own / "images" / theirs, own / "images" / ours)
    with pytest.raises(Refused, match="expected cases that hold the same image in one part"):
        pretrain.main(pretraining(own, tmp_path / "init", held_out=0.01))
    pretrain.main(pretraining(own, tmp_path / "init", held_out=0.01, exclude=(theirs,)))
    with pytest.raises(Refused, match=f"trained on {ours}, the same as {theirs}, which is in test. Give --exclude "):
        finetune.main(segment(own, tmp_path / "run", init=str(tmp_path / "init")))


def test_a_thick_crop_is_refused_for_a_network_of_images(data, tmp_path):
    with pytest.raises(ValueError, match="expected one voxel along D with --dims 2, as 1 32 32; got 32 32 32"):
        segment(data, tmp_path / "run", crop=(32, 32, 32))
    with pytest.raises(Refused, match="expected one voxel along D with --dims 2, as 1 64 64; got 64 64 64"):
        finetune.main(segment(data, tmp_path / "run", crop=None))


def test_images_that_break_are_skipped_when_asked(data, tmp_path, capsys):
    own = tmp_path / "own"
    shutil.copytree(data, own)
    config = segment(own, tmp_path / "run", steps=8, log_every=1, on_error="skip")
    run = finetune.prepare(config)
    gone = run.training.cases[0].name
    (own / "images" / gone).unlink()
    finetune.train(run)
    assert f"skipped    {gone}" in capsys.readouterr().out
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    assert [line for line in lines if "lr" in line][-1]["skipped"] == 1
    assert finetune.main(replace(config, steps=9, resume=True, on_error="raise", data=(data / "images",)))["steps"] == 9


def test_boxes_of_images_have_four_columns(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("case,head_loi,head_loj,head_hii,head_hij\na,1,2,3,5\nb,,,,\n")
    organs, boxes = read_boxes(path, ())
    assert organs == ["head"]
    assert boxes["a"].tolist() == [[[1, 2, 0], [3, 5, 1]]]
    assert np.isnan(boxes["b"]).all()
    path.write_text("case,x0,y0,x1,y1\na,1,2,3,5\n")
    organs, boxes = read_boxes(path, ())
    assert (organs, boxes["a"].tolist()) == (["box"], [[[1, 2, 0], [3, 5, 1]]])
    path.write_text("case,head_loi,head_loj,head_hii\na,1,2,3\n")
    with pytest.raises(ValueError, match="head_hij is missing"):
        read_boxes(path, ())


def test_a_table_says_the_parts(tmp_path):
    path = tmp_path / "table.csv"
    lines = [["file", "split"], ["x/a_1.png", "train"], ["a_2.png", "Train"], ["b_1.png", "val"], ["c_1.png", "test"]]

    def write(rows):
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows(rows)

    write(lines)
    names = ["x/a_1.png", "a_2.png", "b_1.png", "c_1.png"]
    split = split_of_table(names, path, "split", r"^(?:x/)?(\w)_")
    assert (split.train, split.val, split.test) == ({"a"}, {"b"}, {"c"})
    with pytest.raises(ValueError, match="d_1.png has none"):
        split_of_table([*names, "d_1.png"], path, "split")
    with pytest.raises(ValueError, match="expected some of split in .*, got part"):
        split_of_table(names, path, "part")
    write([*lines[:4], ["c_1.png", "holiday"]])
    with pytest.raises(ValueError, match="expected train, val or test as the split of c_1.png, got 'holiday'"):
        split_of_table(names, path, "split")
    write([*lines[:2], ["a_2.png", "test"], *lines[3:]])
    with pytest.raises(ValueError, match="a is in train and in test"):
        split_of_table(names, path, "split", r"^(?:x/)?(\w)_")


def test_pictures_of_nothing_are_refused(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="expected masks or boxes of these cases"):
        drawn(data, tmp_path / "empty", tmp_path / "pictures")
    line = ["overlay", str(tmp_path / "empty"), "--data", str(data / "images"), "--out", str(tmp_path / "pictures")]
    assert overlay.command_line([*line[1:], "--pattern", *IMAGES]) == 2
